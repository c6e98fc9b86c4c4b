"""`cli-ray pipeline CONFIG.toml --output DIR`: trains, exports and evaluates, or goes on with what is not complete."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cli_ray.commands.live import live_run
from cli_ray.config import EvaluationConfig, JudgeConfig, RunConfig
from cli_ray.config.evaluation import SuiteConfig
from cli_ray.config.load import arguments, load
from cli_ray.config.run import absolute, with_absolute_paths
from cli_ray.config.table import help_text
from cli_ray.errors import UserError
from cli_ray.text import say
from cli_ray.train.checkpoint.exported import shown_export

if TYPE_CHECKING:
    from cli_ray.train.run_folder import RunFolder

PROG = "cli-ray pipeline CONFIG.toml"
MODEL, SOURCE, EVALUATION = "model", "model.json", "evaluation"
"""Of the output folder: the exported model, the checkpoint that it comes from, and what it is evaluated to."""
Result = TypeVar("Result")


class PipelineArguments(RunConfig, SuiteConfig):
    """Trains a run, exports its last checkpoint and evaluates that. The same command goes on with the first stage that
    is not complete. The fields of the config change it as in `cli-ray train`; what is evaluated and how is what its
    `[evaluation]` says, or flags such as `--benchmarks`, without that prefix, which come first."""

    output: Path
    """Folder for the model (`model/`) and its evaluation (`evaluation/`); shared by all nodes."""
    judge: JudgeConfig = JudgeConfig()


def main(words: list[str]) -> None:
    """Runs the stages that are not complete, and prints the table."""
    if {"-h", "--help"} & set(words):
        print(help_text(PipelineArguments, f"{PROG} --output DIR"))
        return
    if not words or words[0].startswith("-"):
        raise UserError(f"name a config first: {PROG} --output DIR [--section.field value ...]")
    settings = _override(load(words[0]), words[1:])

    from cli_ray.train.run_folder import RunFolder

    run = RunConfig.model_validate({name: getattr(settings, name) for name in RunConfig.model_fields})
    check(settings, run)
    check_cluster(settings, run)
    folder = RunFolder(run.folder)
    stage("train", lambda: train(run, folder))
    stage("export", lambda: export(folder, settings.output))
    table = stage("evaluate", lambda: evaluate(settings))
    print(f"\n{table}\nThe model is in {settings.output / MODEL}, its results in {settings.output / EVALUATION}")


def check(settings: PipelineArguments, run: RunConfig) -> None:
    """Looks at what the stages need and no cluster decides, so that none fails for it after Ray has started, or after a
    training.

    Raises:
        UserError: folders cannot be written or hold something else, benchmarks or their data are not there, or the
            model does not fit its config.
    """
    from cli_ray.evals.items.survey import require
    from cli_ray.evals.suite import chosen
    from cli_ray.model.attention import check_attention
    from cli_ray.preflight import check_data_root, check_output, check_run
    from cli_ray.train.checks import check_start
    from cli_ray.train.run_folder import RunFolder

    check_run(run)
    check_output("--output", str(settings.output))
    check_data_root(settings.data_root)
    folder = RunFolder(run.folder)
    source, uri = settings.output / SOURCE, folder.uri
    if (settings.output / MODEL).exists() and (not source.exists() or json.loads(source.read_text())["run"] != uri):
        raise UserError(f"{settings.output / MODEL} is not the model of {uri}: name another --output")
    benchmarks = chosen(settings.suite, settings.benchmarks, files=settings.benchmark_file, prompts=settings.prompts)
    data_root = absolute(settings.data_root)
    require(benchmarks, data_root, settings.miniature, settings.limit, allow_partial=settings.allow_partial)
    check_attention(settings.replica.attention, "replica.attention")
    if folder.outcome(with_absolute_paths(run)) is None:
        check_start(with_absolute_paths(run), folder)


def check_cluster(settings: PipelineArguments, run: RunConfig) -> None:
    """Raises UserError when no node that the cluster has, or can grow by, could ever hold a replica."""
    from cli_ray.capacity import refuse_hopeless
    from cli_ray.cluster import connect
    from cli_ray.evals.generation.size import no_room, place_of

    connect(run.cluster.max_workers * run.cluster.cpus_per_worker)
    refuse_hopeless(place_of(settings.replica), no_room(settings.replica))


def stage(name: str, run: Callable[[], Result]) -> Result:
    """Runs a stage.

    Raises:
        UserError: it failed; the last line says where and why.
    """
    try:
        return run()
    except UserError as error:
        raise UserError(f"{name} failed, the same command goes on there: {error}") from error


def train(config: RunConfig, folder: "RunFolder") -> None:
    """Trains, unless the run has ended.

    Raises:
        UserError: all that training raises.
    """
    from cli_ray.train import trainer

    is_complete = folder.outcome(with_absolute_paths(config)) is not None
    if not is_complete:
        say(f"train: {folder.uri}")
    with live_run(folder.uri):
        end = trainer.train(config)
    state = f"{folder.uri} is complete" if is_complete else "done"
    say(f"train: {state}, {end['step']} steps")


def export(folder: "RunFolder", output: Path) -> None:
    """Exports the newest checkpoint, unless that is there.

    Raises:
        UserError: there is the model of another checkpoint.
    """
    from cli_ray.train.checkpoint.files import MARKER, complete_checkpoints

    complete = complete_checkpoints(folder)
    if not complete:
        raise UserError(f"{folder.uri} has no complete checkpoint")
    name, model, source_file = complete[-1].name, output / MODEL, output / SOURCE
    checksum = sha256((folder.read(f"{name}/{MARKER}") or "").encode()).hexdigest()
    source = json.dumps({"run": folder.uri, "checkpoint": name, "sha256": checksum})
    if model.exists():
        if not source_file.exists() or source_file.read_text() != source:
            raise UserError(f"{model} is not the model of {folder.uri}/{name}: name another --output")
        say(f"export: {model} is complete, {name}")
        return
    say(f"export: {folder.uri}/{name}")
    output.mkdir(parents=True, exist_ok=True)
    source_file.write_text(source)  # before the model, which comes as a whole
    shown_export(folder.uri, model, complete[-1].progress.step)
    say(f"export: done, {model}")


def evaluate(settings: PipelineArguments) -> str:
    """Evaluates the exported model; returns the table."""
    from cli_ray.evals import run

    values = {name: getattr(settings, name) for name in (*SuiteConfig.model_fields, "judge")}
    values["data_root"] = absolute(settings.data_root)
    model, output = (absolute(str(settings.output / name)) for name in (MODEL, EVALUATION))
    say(f"evaluate: {output}")
    return run.evaluate(EvaluationConfig(model=model, output=output, **values)).table()


def _override(config: RunConfig, words: list[str]) -> PipelineArguments:
    """The arguments on top of a config, which leaves `--output` to be given."""
    run = dict(config)
    first = arguments(PipelineArguments, words, PROG, default=PipelineArguments.model_construct(**run))
    suite = {name: getattr(first.evaluation, name) for name in SuiteConfig.model_fields}
    return arguments(PipelineArguments, words, PROG, default=PipelineArguments.model_construct(**run, **suite))
