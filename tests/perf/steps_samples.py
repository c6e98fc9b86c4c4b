"""Samples without pixels, as long as those of a published model, for tests.perf.steps."""

import tarfile
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from cli_ray.config.load import load
from cli_ray.costs.sizes import resolve
from cli_ray.data.cost import SampleCost
from cli_ray.data.sample import IGNORED, Encoded
from cli_ray.model.cost import step_costs
from cli_ray.model.families import family_of
from cli_ray.model.llava_onevision import GRID, pinpoints
from cli_ray.tiles import UNLIMITED
from tests.model.shapes import llava_7b, onevision
from tests.shared import SHARED

PHOTOS = SHARED / "data" / "photos"
POOL = 20_000
"""Samples that lanes draw from."""
SOURCES = ("short answers", "long answers", "text alone")


@dataclass(frozen=True, eq=False)
class Setting:
    """A model and how it is trained."""

    name: str
    config: Any
    recipe: str
    pack_tokens: int
    max_length: int

    @cached_property
    def cost(self) -> SampleCost:
        """Of its samples."""
        run = load(f"jobs/configs/{self.recipe}.toml")
        return SampleCost(**step_costs(self.config, resolve(run.injection, self.config), run))


def settings() -> list[Setting]:
    """LLaVA-1.5 7B, and OneVision in both sizes."""
    small, large = onevision(896, 4864, 24, 14, 2), onevision(3584, 18944, 28, 28, 4)
    for config in (small, large):
        config.image_grid_pinpoints = pinpoints(384, GRID)
    return [
        Setting("LLaVA-1.5 7B", llava_7b(), "llava15_7b_stage2", 4096, 2048),
        Setting("OneVision 0.5B", small, "llava_onevision_0_5b", 32768, 16384),
        Setting("OneVision 7B", large, "llava_onevision_7b", 16384, 16384),
    ]


@cache
def image_sizes() -> list[tuple[int, int]]:
    """Height and width of images."""
    found = []
    for shard in sorted(PHOTOS.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".jpg") and (file := tar.extractfile(member)):
                    with Image.open(BytesIO(file.read())) as image:
                        found.append((image.height, image.width))
    if not found:
        drawn = np.random.default_rng(0).lognormal(np.log(640), 0.35, (256, 2)).astype(int)
        found = [(int(height), int(width)) for height, width in drawn]
    return found


def pool(setting: Setting, seed: int = 0) -> list[Encoded]:
    """Samples, those left out that would be quarantined for their length."""
    draw, config = np.random.default_rng(seed), setting.config
    count = family_of(config).image_counter(config.to_dict(), UNLIMITED)
    sizes = image_sizes()
    texts = np.clip(draw.lognormal(np.log(150), 0.9, POOL).astype(int), 8, setting.max_length)
    shown, chosen = draw.random(POOL) >= 0.1, draw.integers(len(sizes), size=POOL)
    is_long = np.log(texts / 150) + draw.normal(0, 0.9, POOL) > 0
    losses = 1.2 + 0.4 * ~shown - 0.3 * is_long - 0.1 * np.log(texts / 150) + draw.normal(0, 0.5, POOL)
    rows = []
    for i in range(POOL):
        size = sizes[chosen[i]]
        tokens = int(count([size])) if shown[i] else 0
        tiles = tiles_of(config, size) if shown[i] else 0
        text = int(min(texts[i], setting.max_length - tokens))
        if text < 8:
            continue
        source = SOURCES[2] if not shown[i] else SOURCES[int(is_long[i])]
        rows.append(sample(f"{i} {losses[i]:.4f}", source, tokens + text, text // 2, tiles))
    return rows


def tiles_of(config: Any, size: tuple[int, int]) -> int:
    """Squares of an image that go through the tower."""
    if not hasattr(config, "image_grid_pinpoints"):
        return 1
    return int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))


def loss_of(row: Encoded) -> float:
    """What a supervised token of a sample loses."""
    return float(row.id.split()[1])


def sample(name: str, source: str, tokens: int, supervised: int, tiles: int) -> Encoded:
    """A row whose pixels are left out."""
    labels = np.zeros(tokens, np.int32)
    labels[: tokens - supervised] = IGNORED
    images = [np.zeros((tiles, 0, 0, 0), np.uint8)] * bool(tiles)
    return Encoded(name, source, labels, labels, images, np.zeros((0, 2), np.int32), labels)
