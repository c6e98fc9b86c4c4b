"""`cli-ray demo`: plain LLaVA and CLI, trained from nothing on pictures drawn in code, side by side."""

import time

from cli_ray.config.load import arguments
from cli_ray.demo.arguments import DemoArguments


def main(words: list[str]) -> None:
    """Runs the demo and prints its table."""
    settings = arguments(DemoArguments, words, "cli-ray demo")

    from cli_ray.preflight import check_output

    check_output("--output", str(settings.output))

    from cli_ray.demo.comparison import run_demo

    start = time.monotonic()
    print(f"\n{run_demo(settings)}")
    print(f"\n{(time.monotonic() - start) / 60:.1f} minutes. Shards, runs and models are in {settings.output}")
