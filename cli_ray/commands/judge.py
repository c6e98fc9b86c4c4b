"""`cli-ray judge OUTPUT --judge.model NAME [--judge.base-url URL]`"""

from typing import Annotated

import tyro

from cli_ray.config import JudgeConfig
from cli_ray.config.base import Section


class JudgeArguments(Section):
    """Puts the stored replies of an evaluation to a judge and writes the table anew. Needs neither the model nor a
    cluster; what was judged before is not asked again."""

    output: Annotated[str, tyro.conf.Positional]
    """The --output of a `cli-ray eval`."""
    judge: JudgeConfig
    """Who judges."""


def main(arguments: list[str]) -> None:
    """Judges an evaluation and prints the table."""
    settings = tyro.cli(JudgeArguments, args=arguments, prog="cli-ray judge")

    from evals.run import judge

    print(f"\n{judge(settings.output, settings.judge).table()}")
