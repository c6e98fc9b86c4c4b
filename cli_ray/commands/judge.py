"""`cli-ray judge OUTPUT --judge.model NAME`: grades the stored replies of an evaluation."""

from typing import Annotated

import tyro

from cli_ray.config import JudgeConfig
from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments


class JudgeArguments(Section):
    """Puts the stored replies of an evaluation to a judge and writes the table anew. Needs neither the model nor a
    cluster; answers that could be read are not asked for again."""

    output: Annotated[Uri, tyro.conf.Positional]
    """The --output of a `cli-ray eval`."""
    judge: JudgeConfig
    """Who judges."""
    benchmark_file: Annotated[tuple[Uri, ...], tyro.conf.UseAppendAction] = ()
    """Files of own benchmarks in Python that are to be judged; definitions in TOML lie in the output."""


def main(words: list[str]) -> None:
    """Judges an evaluation and prints the table."""
    settings = arguments(JudgeArguments, words, "cli-ray judge")

    from cli_ray.evals.run import judge

    print(f"\n{judge(settings.output, settings.judge, settings.benchmark_file).table()}")
