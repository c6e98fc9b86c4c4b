"""The section on gates: how much of which vision layer goes into which decoder layer, in training and on benchmarks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli_ray.evals.results.injections import Summary, read_injections, summary
from cli_ray.evals.results.table import read_results
from cli_ray.report.figures import MOST_POINTS, curves, heatmap
from cli_ray.report.heat import sheet
from cli_ray.report.samples import asked, cut, picture, read_rows
from cli_ray.report.section import Card, Figure, Part, Section
from cli_ray.storage.folder import Folder
from cli_ray.watch.history import RunHistory

SHOWN = 24
"""Samples whose pictures are shown, of all benchmarks."""

Map = NDArray[np.float64]
"""[injected decoder layers, tapped vision layers]."""


def training_gates(history: RunHistory, name: str = "") -> Section | None:
    """Gates over the training of a run; None where it logged none.

    Args:
        history: of the run.
        name: of the run, where it is not the only one.
    """
    rows = _thinned(history)
    if not rows:
        return None
    first, last = rows[0], rows[-1]
    decoder, vision = _layers(history, np.shape(last["gate_mean"]))
    parts: list[Part] = [
        "A gate says how much of a vision layer is added in a decoder layer. Means are over the images of a step."
    ]
    prefix = f"{name}-" if name else ""
    for kind, key, title in (
        ("mean", "gate_mean", "Mean gate"),
        ("largest", "gate_max", "Largest magnitude of a gate"),
    ):
        begin, end = np.array(first[key], float), np.array(last[key], float)
        for suffix, values, when in (
            ("first", begin, f"at step {first['step']:,}"),
            ("last", end, f"at step {last['step']:,}"),
            ("change", end - begin, f"change from step {first['step']:,} to {last['step']:,}"),
        ):
            parts.append(_map(f"{prefix}gates-{kind}-{suffix}", f"{title} {when}", values, decoder, vision))
    magnitude = np.abs(np.array([row["gate_mean"] for row in rows], float)).mean(2)
    lines = {f"decoder layer {layer}": magnitude[:, slot].tolist() for slot, layer in enumerate(decoder)}
    title = "Magnitude of mean gates, averaged over vision layers"
    parts.append(curves(f"{prefix}gates-over-training", title, [row["step"] for row in rows], lines, "step"))
    return Section("gates", f"Gates of {name}" if name else "Gates", parts)


def benchmark_gates(folder: str) -> Section | None:
    """Gates, injected shares and heat maps of an evaluation; None where it recorded none.

    Args:
        folder: output of `cli-ray eval --gates`.
    """
    results = read_results(folder)
    found = {
        row.benchmark: (row.title, total) for row in results.rows if (total := summary(Folder(folder), row.benchmark))
    }
    if not found:
        return None
    parts: list[Part] = [
        "The injected share is the norm of what is added at the positions of the images, by the norm of the hidden "
        "states there before it, averaged over samples."
    ]
    model = results.model_hash[:8]
    parts.append(_shares(f"injected-share-{model}", [*found.values()]))
    for name, (title, total) in found.items():
        about = f"{title}, {total.samples:,} samples"
        for kind, values in (("mean", total.gate_mean), ("largest", total.gate_max)):
            label = f"{'Mean gate' if kind == 'mean' else 'Largest magnitude of a gate'}: {about}"
            parts.append(_map(f"gates-{model}-{name}-{kind}", label, values, total.decoder_layers, total.vision_layers))
    cards = [card for name, (title, _) in found.items() for card in _cards(folder, name, title, SHOWN // len(found))]
    if cards:
        parts.append(
            "Where injection changed the hidden states most, layer by layer: red grows with the norm of what is added "
            "by that of the hidden state, up to the largest of the layer."
        )
        parts.append(cards[:SHOWN])
    return Section(f"gates-{model}", f"Gates of {results.model.rstrip('/').rpartition('/')[2]} on benchmarks", parts)


def _thinned(history: RunHistory) -> list[dict[str, Any]]:
    """The steps with gates, the first and the last of them included, evenly thinned as they are read."""
    kept: list[dict[str, Any]] = []
    last: dict[str, Any] | None = None
    stride, number = 1, 0
    for row in history.metrics():
        if not row.get("gate_mean"):
            continue
        last = {name: row[name] for name in ("step", "gate_mean", "gate_max")}
        if number % stride == 0:
            kept.append(last)
        number += 1
        if len(kept) == MOST_POINTS:
            kept, stride = kept[::2], 2 * stride
    return kept if last is None or kept[-1] is last else [*kept, last]


def _layers(history: RunHistory, shape: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """The decoder and vision layers of a run; their numbers in order where its events do not name them."""
    for event in history.events:
        injection = event.get("injection") if event["event"] == "begin" else None
        if injection:
            return injection["decoder_layers"]["layers"], injection["vision_layers"]["layers"]
    return range(shape[0]), range(shape[1])


def _map(name: str, title: str, values: Map, decoder: Sequence[int], vision: Sequence[int]) -> Figure:
    return heatmap(
        name,
        title,
        values.tolist(),
        rows=[f"{layer}" for layer in decoder],
        columns=[f"{layer}" for layer in vision],
        row_title="decoder layer",
        column_title="vision layer",
        signed=bool((values < 0).any()),
    )


def _shares(name: str, found: Sequence[tuple[str, Summary]]) -> Figure:
    decoder = found[0][1].decoder_layers
    return heatmap(
        name,
        "Injected share of the hidden states",
        [total.share.tolist() for _, total in found],
        rows=[title for title, _ in found],
        columns=[f"{layer}" for layer in decoder],
        row_title="benchmark",
        column_title="decoder layer",
    )


def _cards(folder: str, benchmark: str, title: str, most: int) -> list[Card]:
    """Samples with heat maps whose picture is there, as many."""
    heated = dict(read_injections(Folder(folder), benchmark, shown_only=True))
    cards: list[Card] = []
    for row in read_rows(folder, benchmark):
        if len(cards) >= max(1, most):
            break
        small, one = picture(row), heated.get(row["sample_id"])
        if small and one and one.heat:
            shown = sheet(small, one.heat, one.decoder_layers)
            shares = ", ".join(
                f"{layer}: {share:.1%}" for layer, share in zip(one.decoder_layers, one.share, strict=True)
            )
            largest = max(map(max, one.gate_max))
            fields = [*asked(row), ("reply", cut(row["reply"])), ("injected share by decoder layer", shares)]
            fields += [("largest gate", f"{largest:.3g}"), ("largest change of a patch", f"{one.heat.top:.1%}")]
            cards.append(Card(f"{title} {cut(row['sample_id'])}", shown, fields))
    return cards
