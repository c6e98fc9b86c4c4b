"""`cli-ray train CONFIG.toml [--section.field value ...]`: trains a run, or goes on with it."""

from typing import Any

from cli_ray.commands.live import live_run
from cli_ray.config import RunConfig
from cli_ray.config.load import load
from cli_ray.config.table import help_text
from cli_ray.errors import UserError
from cli_ray.text import columns, duration, say
from cli_ray.train.checkpoint.files import name_of

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
    say(f"run {config.folder}: checking model, data and cluster")

    from cli_ray.train.trainer import train

    with live_run(config.folder):
        summary = train(config)
    print("\n".join(told(summary)))


def told(summary: dict[str, Any]) -> list[str]:
    """What a run came to, in lines.

    Args:
        summary: as `trainer.train` returns it, or as an earlier version wrote it.
    """
    run, losses = summary["run"], {"training": summary.get("loss"), "validation": summary["validation_loss"]}
    facts = [
        ("quarantined", f"{summary['bad_samples']:,} samples, see quarantine/" if summary["bad_samples"] else "none"),
        ("loss", ", ".join(f"{loss:.4f} in {name}" for name, loss in losses.items() if loss is not None)),
        ("took", f"{duration(summary['seconds'])} since its last start" if "seconds" in summary else ""),
        ("checkpoint", f"{run}/{name_of(summary['step'])}"),
        ("records", f"{run}/metrics.jsonl, {run}/events.jsonl"),
    ]
    head = f"run {run} is done: {summary['step']:,} steps, {summary['samples']:,} samples, {summary['tokens']:,} tokens"
    return [head, *columns([fact for fact in facts if fact[1]]), f"next: cli-ray export {run} --output DIR"]
