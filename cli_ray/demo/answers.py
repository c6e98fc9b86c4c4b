"""The picture that the demo ends with: held-out pictures, what was asked about them, and what each model answers."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from cli_ray.data.synthetic import SyntheticSample, Turn
from cli_ray.demo.held_out import HeldOutReply

SHOWN = 6
"""Pictures, the first ones: chosen before anybody has answered."""
COLORS = {True: "#1b7f3b", False: "#b3261e"}
"""Of right and of wrong replies."""
LINE = 0.085
"""Height of a line of text, in heights of a panel."""


def draw_answers(samples: Sequence[SyntheticSample], replies: Mapping[str, Sequence[HeldOutReply]], path: Path) -> None:
    """Writes a PNG.

    Args:
        samples: held-out ones.
        replies: by model, to every question of the samples in their order.
        path: of the file.
    """
    figure = Figure(figsize=(9, 7.2), layout="constrained")
    panels = figure.subplots(2, SHOWN // 2).flat
    firsts = accumulate((len(sample.turns) for sample in samples), initial=0)
    for panel, sample, first in zip(panels, samples, firsts, strict=False):
        panel.imshow(Image.open(BytesIO(sample.image)))
        panel.axis("off")
        for number, turn in enumerate(sample.turns):
            given = {model: of_model[first + number] for model, of_model in replies.items()}
            _write(panel, turn, given, top=-0.03 - 4 * LINE * number)
    figure.savefig(path, dpi=120)


def _write(panel: Any, turn: Turn, given: Mapping[str, HeldOutReply], top: float) -> None:
    """A question with its answer, and a line for each model."""
    lines = [(f"{turn.question} {turn.answer}", "black", "bold")]
    for model, reply in given.items():
        verdict = "right" if reply.is_right else "wrong"
        lines.append((f"{model}: {reply.text or '(nothing)'} ({verdict})", COLORS[reply.is_right], "normal"))
    for number, (text, color, weight) in enumerate(lines):
        panel.text(
            0, top - LINE * number, text, color=color, weight=weight, fontsize=9, va="top", transform=panel.transAxes
        )
