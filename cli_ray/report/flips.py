"""Samples on which two models score differently, as cards with both replies and the rules that read them."""

from typing import Any

from cli_ray.evals.results.compare import Comparison, Flip
from cli_ray.report.samples import asked, cut, draw, picture, read_rows
from cli_ray.report.section import Card


def flip_cards(comparison: Comparison, most: int) -> list[Card]:
    """Cards of flips, as many for each benchmark, gains and losses in turn, those with a picture first.

    Args:
        most: cards at most.
    """
    flipped = [row for row in comparison.contrasts if row.wins or row.losses]
    cards = []
    for contrast in flipped:
        flips = [flip for flip in comparison.flips if flip.benchmark == contrast.benchmark]
        cards += _cards(comparison, contrast.title, flips, max(1, most // len(flipped)))
    return cards[:most]


def _cards(comparison: Comparison, title: str, flips: list[Flip], most: int) -> list[Card]:
    """Which are shown is decided before their rows are read, so that these few are in memory alone."""
    name = flips[0].benchmark
    pictured = {row["sample_id"] for row in read_rows(comparison.a, name, ("sample_id", "thumbnail")) if picture(row)}
    flips = sorted(flips, key=lambda flip: (flip.sample_id not in pictured, draw(flip.sample_id)))
    gains = [flip for flip in flips if flip.score_b > flip.score_a]
    losses = [flip for flip in flips if flip.score_b < flip.score_a]
    few = min(len(losses), max(most // 2, most - len(gains)))
    kept = gains[: most - few] + losses[:few]
    ids = {flip.sample_id for flip in kept}
    a, b = (
        {row["sample_id"]: row for row in read_rows(folder, name) if row["sample_id"] in ids}
        for folder in (comparison.a, comparison.b)
    )
    return [_card(comparison, title, flip, a[flip.sample_id], b[flip.sample_id]) for flip in kept]


def _card(comparison: Comparison, title: str, flip: Flip, a: dict[str, Any], b: dict[str, Any]) -> Card:
    fields = asked(a)
    for model, row in ((comparison.model_a, a), (comparison.model_b, b)):
        fields += [
            (model, cut(row["reply"])),
            ("score", f"{row['score']:g}: read as {cut(row['parsed'])!r} by {row['rule']}"),
        ]
    gains = flip.score_b > flip.score_a
    change = f"{flip.score_a:g} to {flip.score_b:g}"
    return Card(f"{title} {cut(flip.sample_id)}: {change}", picture(a), fields, "good" if gains else "bad")
