"""`cli-ray train CONFIG.toml [--section.field value ...]`"""

from cli_ray.config import RunConfig
from cli_ray.config.load import load
from cli_ray.config.table import help_text
from cli_ray.errors import UserError

PROG = "cli-ray train CONFIG.toml"


def main(arguments: list[str]) -> None:
    """Trains the run that a TOML file and overrides describe; prints what came out."""
    if {"-h", "--help"} & set(arguments):
        print(help_text(RunConfig, PROG))
        return
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"name a config first: {PROG} [--section.field value ...]")
    config = load(arguments[0], arguments[1:])

    from cli_ray.places import check_run

    check_run(config)

    from cli_ray.train.trainer import train

    summary = train(config)
    print(
        f"run {summary['run']} is done: {summary['step']} steps, {summary['samples']} samples, "
        f"{summary['tokens']} tokens, {summary['bad_samples']} quarantined\n"
        f"next: cli-ray export {summary['run']} --output DIR"
    )
