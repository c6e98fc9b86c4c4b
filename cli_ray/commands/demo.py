"""`cli-ray demo`: plain LLaVA and CLI, trained from nothing on pictures drawn in code, side by side."""

import time

from cli_ray.config.load import arguments
from cli_ray.demo.arguments import DemoArguments

INTRODUCTION = (
    "Trains two small models from nothing on drawn pictures, plain LLaVA and the same with Cross-Layer Injection,\n"
    "and asks both about pictures that neither has seen. Three to five minutes on two CPU cores."
)


def main(words: list[str]) -> None:
    """Runs the demo, and prints its table and what to do next."""
    settings = arguments(DemoArguments, words, "cli-ray demo")

    from cli_ray.preflight import check_output
    from cli_ray.text import columns

    check_output("--output", str(settings.output))
    print(INTRODUCTION, flush=True)

    from cli_ray.demo.comparison import run_demo

    start = time.monotonic()
    print(f"\n{run_demo(settings)}\n")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes. To look at and to do next:")
    next_steps = [
        (f"{settings.output}/answers.png", "what both models answer to the first pictures"),
        (f"{settings.output}/report.html", "both runs and their answers side by side"),
        ("cli-ray configs", "recipes for models of real size"),
    ]
    print("\n".join(columns(next_steps)))
