"""`cli-ray eval --model DIR_OR_RUN [--suite NAME]`: evaluates a model on benchmarks, or goes on with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from cli_ray.config import EvaluationConfig
from cli_ray.config.evaluation import OPENAI
from cli_ray.config.load import arguments
from cli_ray.config.run import absolute
from cli_ray.errors import UserError
from cli_ray.text import grid
from cli_ray.train.checkpoint.exported import exported_model, is_run


class EvalArguments(EvaluationConfig):
    """Evaluates a model on a suite of benchmarks, with one pool of replicas on the Ray cluster or through an endpoint.
    The same command again resumes."""

    model: str = ""
    """Exported folder, run folder (its newest checkpoint is exported first), folder or hub id of any image-text-to-text
    model of transformers, or `openai:NAME`, a model behind an endpoint."""
    as_list: Annotated[bool, tyro.conf.arg(name="list")] = False
    """List the benchmarks and suites, and stop."""
    check: bool = False
    """Say what of the data is there, missing or miscounted, reading all of it, and stop."""


def main(words: list[str]) -> None:
    """Evaluates a model and prints the table."""
    settings = arguments(EvalArguments, words, "cli-ray eval")
    if settings.as_list:
        print(listing(settings.benchmark_file))
    elif settings.check:
        check(settings)
    else:
        run(settings)


def listing(files: Sequence[str]) -> str:
    """The benchmarks, with those of installed packages and of files, and the suites."""
    from cli_ray.evals.items.survey import LISTING, listing
    from cli_ray.evals.suite import BENCHMARKS, SUITES, brought, plugged_in

    benchmarks = (BENCHMARKS | plugged_in() | brought(files)).values()
    suites = [f"{name}: {', '.join(names)}" for name, names in SUITES.items()]
    return "\n\n".join([grid(LISTING, listing(benchmarks), left=len(LISTING)), *suites])


def check(settings: EvalArguments) -> None:
    """Prints what of the data is there.

    Raises:
        UserError: some of it is not as it should be.
    """
    from cli_ray.evals.items.survey import survey
    from cli_ray.evals.suite import chosen

    benchmarks = chosen(settings.suite, settings.benchmarks, files=settings.benchmark_file, prompts=settings.prompts)
    findings = []
    for benchmark in benchmarks:
        findings += survey(
            [benchmark],
            settings.data_root,
            settings.miniature,
            thorough=True,
            allow_partial=settings.allow_partial,
        )
        print(f"{findings[-1].state:<13} {findings[-1]}", flush=True)
    bad = [finding.benchmark for finding in findings if finding.stands_in_the_way(settings.allow_partial)]
    if bad:
        raise UserError(
            f"the data of {len(bad)} of {len(findings)} benchmarks are not as they should be: {', '.join(bad)}"
        )


def run(settings: EvalArguments) -> None:
    """Evaluates.

    Raises:
        UserError: there is no model to evaluate, and all that `evaluate` raises.
    """
    from cli_ray.evals.run import evaluate
    from cli_ray.preflight import check_data_root, check_output

    if not settings.model:
        raise UserError("name a model: cli-ray eval --model DIR_OR_RUN (--list shows the benchmarks)")
    model = exported_model(settings.model)
    output = settings.output or default_output(settings.model, model)
    check_output("--output", output)
    check_data_root(settings.data_root)
    fields = settings.model_dump(exclude={"as_list", "check", "model", "output", "data_root"})
    result = evaluate(EvaluationConfig(model=model, output=output, data_root=absolute(settings.data_root), **fields))
    print(f"\n{result.table()}\nSamples, records and results are in {result.folder.uri}")


def default_output(named: str, model: str) -> str:
    """Where an evaluation goes by default: into the folder of the run, or to `results/`.

    Args:
        named: as the command names the model.
        model: that is loaded for it.
    """
    if named.startswith(OPENAI):
        return f"results/{Path(named.removeprefix(OPENAI)).name}"
    folder = Path(named)
    return str(folder / "evals" / Path(model).name) if is_run(folder) else f"results/{folder.name}"
