"""The section on quarantine: samples that a run left out and why, with their pictures where the data still are."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cli_ray.data.images import Limits, decode
from cli_ray.data.index import Index
from cli_ray.data.sample import BadDataError, Sample
from cli_ray.data.show.choice import places_of_id, samples_at
from cli_ray.errors import UserError
from cli_ray.evals.items.pictures import thumbnail
from cli_ray.report.samples import cut
from cli_ray.report.section import Card, Section, Table
from cli_ray.storage.lines import json_lines
from cli_ray.watch.history import RunHistory

SHOWN = 3
"""Samples of each reason, the first ones."""


def quarantine(run: RunHistory) -> Section | None:
    """The samples that were left out, by reason."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    for row in quarantined(run):
        counts[row["reason"]] += samples_of(row)
        of_reason = examples.setdefault(row["reason"], [])
        if len(of_reason) < SHOWN:
            of_reason.append(row)
    if not counts:
        return None
    totals = [[reason, f"{count:,}"] for reason, count in counts.most_common()]
    text = run.folder.read("index.json")
    index = Index.from_json(text) if text else None
    cards = [_card(run, index, row) for reason, _ in counts.most_common() for row in examples[reason]]
    return Section("quarantine", "Quarantine", [Table(["reason", "samples"], totals), cards])


def quarantined(run: RunHistory) -> Iterator[dict[str, Any]]:
    """The lines of the quarantine, each once, however many ranks wrote it."""
    seen = set()
    for name in run.folder.names("quarantine"):
        for line in (run.folder.read(f"quarantine/{name}") or "").splitlines():
            if line not in seen:
                seen.add(line)
                yield from json_lines([line])


def samples_of(row: Mapping[str, Any]) -> int:
    """Samples that are lost with a line of the quarantine."""
    return int(row.get("samples", 1))


def _card(run: RunHistory, index: Index | None, row: Mapping[str, Any]) -> Card:
    fields = [(name, cut(str(row[key]))) for name, key in (("source", "source"), ("what was wrong", "detail"))]
    picture = None if index is None or run.config is None else _picture(index, row["id"], Limits.of(run.config.data))
    return Card(f"{row['reason']}: {cut(row['id'])}", picture, fields, "bad")


def _picture(index: Index, sample_id: str, limits: Limits) -> bytes | None:
    """The first picture of a sample; None where it cannot be read, which may be why the sample is here."""
    try:
        sample = next(samples_at(index, places_of_id(index, sample_id)[:1], limits))
        return thumbnail(decode(sample.images[0], limits)) if isinstance(sample, Sample) and sample.images else None
    except (BadDataError, OSError, UserError):
        return None
