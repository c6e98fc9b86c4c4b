"""How long samples are: what a step is reckoned with, assumed, recorded by the run, or measured on some of its shards.

Called by `estimate` and by `cli-ray plan`; only measuring loads a processor, and torch with it.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from cli_ray.config import RunConfig
from cli_ray.costs.flops import Work
from cli_ray.costs.sizes import SQUARE_LENGTH, TILED_LENGTH, patches_of
from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.tiles import Budget, Tiles

TEXT_TOKENS = 128
"""Tokens of text of a sample, where nothing is known of the data."""
SUPERVISED = 0.5
"""Share of them that carry loss."""


@dataclass(frozen=True)
class Lengths:
    """Samples of a run: sums over some of them, and how many there are."""

    source: str
    """Where the numbers come from, for people."""
    seen: int
    """Samples that the sums are of."""
    work: Work
    """Of those."""
    samples: float | None = None
    """Of an epoch; None where nothing tells."""
    quarantined: int = 0
    """Samples that would be, besides those seen."""
    shrunk: int = 0
    """Samples whose image is scaled down."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Of quarantine, with the samples of each."""

    def mean(self, name: str) -> float:
        """Of a field of `Work`, a sample."""
        return float(getattr(self.work, name)) / self.seen


def tiles_of(shape: Any) -> Tiles | None:
    """How a model cuts images; None where an image is one square."""
    if not shape.image_grid_pinpoints:
        return None
    vision = shape.vision_config
    side = vision.image_size // vision.patch_size
    return Tiles.of(shape.image_grid_pinpoints, vision.image_size, side, shape.vision_aspect_ratio)


def longest(config: RunConfig, shape: Any) -> int:
    """`data.max_length` of a run, or that of the family."""
    return config.data.max_length or (TILED_LENGTH if shape.image_grid_pinpoints else SQUARE_LENGTH)


def typical_image(config: RunConfig, shape: Any) -> tuple[int, int]:
    """Squares and tokens of the image that is assumed: 3 x 3 tiles and the thumbnail where images are cut."""
    tiles = tiles_of(shape)
    if tiles is None:
        return 1, patches_of(shape.vision_config)
    laid = tiles.lay((3 * tiles.tile, 3 * tiles.tile), Budget.of(config.data, longest(config, shape)))
    return tiles.count(laid.canvas) + 1, laid.tokens


def largest_image(config: RunConfig, shape: Any, room: int) -> tuple[int, int]:
    """Squares and tokens of the image of most tiles that a run takes."""
    tiles = tiles_of(shape)
    if tiles is None:
        return 1, patches_of(shape.vision_config)
    budget = Budget.of(config.data, longest(config, shape)).within(room)
    laid = tiles.lay(tiles.largest(budget), budget)
    return tiles.count(laid.canvas) + 1, laid.tokens


def assumed(config: RunConfig, shape: Any, text_tokens: int) -> Lengths:
    """One image in each sample, and a little text."""
    tiles, visual = typical_image(config, shape)
    work = work_of(tiles, visual, visual + text_tokens, int(text_tokens * SUPERVISED), images=True)
    source = f"assumed: one image of {visual:,} tokens and {text_tokens} tokens of text a sample"
    samples, told = recorded(config)
    return Lengths(source + told, 1, work, samples)


def work_of(tiles: int, visual: int, tokens: int, supervised: int, *, images: bool) -> Work:
    """Of one sample."""
    return Work(0, tiles, visual, tokens, tokens**2, supervised, int(images), tokens * images)


def recorded(config: RunConfig) -> tuple[float | None, str]:
    """Samples of an epoch by the index in the run folder, and a word on it; None where there is none."""
    from cli_ray.data.index import Index, samples_per_epoch

    try:
        text = Folder(config.folder).read("index.json")
    except (OSError, ValueError):  # no such store from here
        return None, ""
    if text is None:
        return None, ""
    try:
        return samples_per_epoch(Index.from_json(text), config.data), "; samples counted by the index of the run folder"
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{config.folder}/index.json cannot be read: {error!r}") from error


def measured(config: RunConfig, count: int) -> Lengths:
    """Encodes the first samples of each source as training would; needs the model's processor.

    Args:
        count: samples of each source.

    Raises:
        UserError: sources, or the processor, cannot be read; or none of the samples can.
    """
    from cli_ray.data.audit import audit
    from cli_ray.data.encoder import Encoder
    from cli_ray.data.images import Limits
    from cli_ray.data.index import build_index, samples_per_epoch
    from cli_ray.data.sample import BadSample
    from cli_ray.model.build import load_processor

    processor = load_processor(config.model)
    encoder = Encoder(processor, config.data)
    works: list[Work] = []
    shrunk = 0

    def encode(sample: Any) -> Any:
        nonlocal shrunk
        row = encoder(sample)
        if not isinstance(row, BadSample):
            tiles, tokens = sum(map(len, row.images)), len(row.input_ids)
            visual = int((row.input_ids == processor.image_token_id).sum())
            works.append(work_of(tiles, visual, tokens, row.num_supervised, images=bool(row.images)))
            shrunk += row.shrunk is not None
        return row

    index = build_index(config.data)
    results = dict(audit(index, Limits.of(config.data), encode, count))
    if not works:
        raise UserError("none of the samples can be trained on: `cli-ray data check CONFIG.toml` says why")
    reasons = {reason: bad for result in results.values() for reason, bad in result.reasons.items()}
    return Lengths(
        f"measured on the first {count} samples of each source",
        len(works),
        sum(works, Work()),
        samples_per_epoch(index, config.data),
        sum(result.num_bad for result in results.values()),
        shrunk,
        reasons,
    )
