"""`cli-ray train CONFIG.toml [--section.field value ...]`: trains a run, or goes on with it."""

from cli_ray.config import RunConfig
from cli_ray.config.load import load
from cli_ray.config.table import help_text
from cli_ray.errors import UserError

PROG = "cli-ray train CONFIG.toml"


def main(words: list[str]) -> None:
    """Trains the run that a TOML file and overrides describe, and prints its totals."""
    if {"-h", "--help"} & set(words):
        print(help_text(RunConfig, PROG))
        return
    if not words or words[0].startswith("-"):
        raise UserError(f"name a config first: {PROG} [--section.field value ...]")
    config = load(words[0], words[1:])

    from cli_ray.preflight import check_run

    check_run(config)

    from cli_ray.train.trainer import train

    summary = train(config)
    print(
        f"run {summary['run']} is done: {summary['step']} steps, {summary['samples']} samples, "
        f"{summary['tokens']} tokens, {summary['bad_samples']} quarantined\n"
        f"next: cli-ray export {summary['run']} --output DIR"
    )
