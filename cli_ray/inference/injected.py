"""What injection did for a reply: the gates, the share of what was added, and where in the picture it was.

Made by `traces`; stands in answers of the engine and in the records of evaluations, and is drawn by reports.
"""

from pydantic import BaseModel, ConfigDict

RECORD = ConfigDict(
    frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
)
"""How records are written as JSON."""


class HeatMap(BaseModel):
    """Where in a picture injection changed the hidden states how much: norm of what was added by norm before it."""

    model_config = RECORD

    grid: tuple[int, int]
    """Patches, height and width."""
    area: tuple[float, float, float, float]
    """Of the picture: left, top, right, bottom in its widths and heights; beyond 0 and 1 where it was padded."""
    top: float
    """The largest change, which 255 stands for."""
    values: bytes
    """UInt8[injected decoder layers, height, width]."""


class Injected(BaseModel):
    """What was injected into the decoder for the images of a sample. M injected decoder layers, N tapped vision
    layers."""

    model_config = RECORD

    decoder_layers: tuple[int, ...]
    """The first is 0."""
    vision_layers: tuple[int, ...]
    """The first is 1."""
    gate_mean: tuple[tuple[float, ...], ...]
    """[M, N] over the images."""
    gate_max: tuple[tuple[float, ...], ...]
    """[M, N], the largest magnitude."""
    share: tuple[float, ...]
    """[M], norm of all that was added by the norm of the hidden states there before it."""
    heat: HeatMap | None = None
    """Of the first image; None of samples that are not shown."""
