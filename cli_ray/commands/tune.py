"""`cli-ray tune SWEEP.toml [--field value ...]`: searches hyperparameters, or goes on with a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING

from cli_ray.commands.live import live_sweep
from cli_ray.config import RunConfig, SweepConfig
from cli_ray.config.load import arguments, load, read_toml
from cli_ray.config.table import help_text
from cli_ray.errors import RunFailedError, UserError
from cli_ray.text import NOTHING, grid

if TYPE_CHECKING:
    from cli_ray.tune.results import TrialResult

PROG = "cli-ray tune SWEEP.toml"


def main(words: list[str]) -> None:
    """Runs the sweep that a TOML file describes; prints its trials and where the best config is."""
    if {"-h", "--help"} & set(words):
        print(help_text(SweepConfig, PROG))
        return
    if not words or words[0].startswith("-"):
        raise UserError(f"name a sweep first: {PROG} [--field value ...]")
    config, base = load_sweep(words[0], words[1:])

    from cli_ray.preflight import check_output, check_run

    check_output("--sweeps-dir", config.sweeps_dir)
    check_run(base.model_copy(update={"runs_dir": config.sweeps_dir}))

    from cli_ray.tune.results import front
    from cli_ray.tune.sweep import sweep

    with live_sweep(config.folder):
        results = sweep(config, base)
    print(f"\n{table(config, results)}\n")
    if not front(config, results):
        unmeasured = f"{' or '.join(config.objectives)} was not measured, which events.jsonl of its run explains"
        reason = next((result.reason for result in reversed(results) if result.reason), unmeasured)
        raise RunFailedError(f"no trial of {config.folder} finished with a score: {reason}")
    print(f"next: cli-ray train {config.folder}/best.toml")


def load_sweep(path: str, overrides: list[str]) -> tuple[SweepConfig, RunConfig]:
    """A sweep and the run that its trials change.

    Raises:
        ConfigError: one of them cannot be read or breaks a rule.
    """
    config = read_toml(SweepConfig, path)
    if overrides:
        config = arguments(SweepConfig, overrides, PROG, default=config)
    return config, load(str(Path(path).parent / config.base))


def table(config: SweepConfig, results: "list[TrialResult]") -> str:
    """A Markdown table of the trials."""
    fields = list(config.domains)
    head = ["trial", "state", *fields, "step", *config.objectives]
    body = [
        [
            result.trial,
            result.state,
            *(_cell(result.draw[field]) for field in fields),
            str(result.step),
            *(_cell(result.values.get(objective)) for objective in config.objectives),
        ]
        for result in results
    ]
    failed = [f"{result.trial} failed: {result.reason}" for result in results if result.state == "failed"]
    return "\n".join([grid(head, body, left=2 + len(fields)), *failed])


def _cell(value: object) -> str:
    return NOTHING if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
