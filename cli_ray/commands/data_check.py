"""`cli-ray data check PATH`: what a dataset holds and what of it would be quarantined, before training on it."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import Field

from cli_ray.commands.dataset import DEFAULTS, DatasetArguments, data_config, encoder_of, run_config
from cli_ray.config import DataConfig
from cli_ray.config.load import arguments
from cli_ray.console import progress_bar

if TYPE_CHECKING:
    from cli_ray.data.audit import SourceAudit
    from cli_ray.data.encoder import Encoder
    from cli_ray.data.index import Index


class DataCheckArguments(DatasetArguments):
    """Counts, measures and audits a dataset. It is read the way training reads it, sample by sample, on CPU; ends with
    exit code 1 when training would stop at it."""

    max_bad_share: float = Field(default=DEFAULTS.max_bad_share, ge=0, le=1)
    """Share of the samples that may be bad."""
    limit: int | None = Field(default=None, ge=1)
    """Look at this many samples of each source only, the first ones; the rest is taken to be like them."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print the report as JSON."""


def main(words: list[str]) -> None:
    """Audits a dataset and prints the report; exits with 1 when training would stop at it."""
    settings = arguments(DataCheckArguments, words, "cli-ray data check")
    config = run_config(settings)
    data = data_config(settings) if config is None else config.data

    from cli_ray.data.audit import judge
    from cli_ray.data.audit_report import print_report
    from cli_ray.data.index import build_index
    from cli_ray.data.quarantine import refuse_lost

    encoder = None if config is None else encoder_of(config)
    audits = _audit(build_index(data), data, encoder, settings.limit)
    verdict = judge(list(audits.values()), data)
    if config is not None and config.validation.sources:
        index = build_index(config.validation_data)
        refuse_lost(index, config.validation_data)
        held_out = _audit(index, config.validation_data, encoder, settings.limit)
        audits |= {f"validation: {label}": result for label, result in held_out.items()}
    if settings.as_json:
        print(json.dumps({label: result.to_dict() for label, result in audits.items()}, indent=2))
    else:
        print_report(audits, verdict, data.max_bad_share, "characters" if encoder is None else "tokens")
    if verdict.stops:
        sys.exit(1)


def _audit(index: "Index", data: DataConfig, encoder: "Encoder | None", limit: int | None) -> dict[str, "SourceAudit"]:
    """What each source holds, by label. Shows progress on a terminal."""
    from cli_ray.data.audit import audit
    from cli_ray.data.images import Limits

    audits = {}
    with progress_bar() as bar:
        task = bar.add_task("reading", total=len(index))
        for label, result in audit(index, Limits.of(data), encoder, limit):
            audits[label] = result
            samples, bad = (sum(getattr(audit, name) for audit in audits.values()) for name in ("samples", "num_bad"))
            bar.update(task, advance=1, description=f"{samples:,} samples read, {bad:,} to be quarantined")
    return audits
