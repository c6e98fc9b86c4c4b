"""Images within a budget are laid and counted as by transformers with fewer `image_grid_pinpoints`."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import LlavaOnevisionProcessor
from transformers.image_processing_utils import select_best_resolution

from cli_ray.tiles import UNLIMITED, Budget, Size, Tiles

GRIDS = {
    "published": [(rows, columns) for rows in range(1, 7) for columns in range(1, 7)],
    "with gaps": [(1, 2), (2, 1), (2, 2), (1, 3), (3, 1)],
}


def tiles_of(name: str, tile: int = 384, side: int = 27) -> Tiles:
    """The canvases of a grid."""
    return Tiles.of([(rows * tile, columns * tile) for rows, columns in GRIDS[name]], tile, side, "anyres_max_9")


def shapes(count: int, most: int = 3000) -> list[Size]:
    """Heights and widths of all kinds: near whole tiles, square, and very long."""
    draw = random.Random(0)
    free = [(draw.randint(1, most), draw.randint(1, most)) for _ in range(count)]
    near = [(384 * draw.randint(1, 8) + draw.randint(-1, 1), 384 * draw.randint(1, 8)) for _ in range(count)]
    long = [(draw.randint(1, 40), draw.randint(1, most)) for _ in range(count)]
    return [*free, *near, *long, *((width, height) for height, width in long)]


def counted_by_transformers(tiles: Tiles, size: Size, canvases: list[Size]) -> int:
    """Tokens of an image by the processor of transformers with those canvases."""
    processor: Any = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=canvases),
        num_image_tokens=tiles.side**2,
        vision_aspect_ratio=f"anyres_max_{tiles.most}",
        _get_unpadded_features=lambda *sizes: LlavaOnevisionProcessor._get_unpadded_features(processor, *sizes),
    )
    tokens: int = LlavaOnevisionProcessor._get_number_of_features(processor, *size, tiles.tile, tiles.tile)
    return tokens


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("tile", "side"), [(384, 27), (32, 4)])
@pytest.mark.parametrize(
    "budget", [UNLIMITED, Budget(2), Budget(5), Budget(None, 2214), Budget(None, 100), Budget(9, 5000)]
)
def test_a_budget_is_a_shorter_list_of_canvases(name: str, tile: int, side: int, budget: Budget) -> None:
    """And the size that is shown finds the same canvas and tokens in the whole list."""
    tiles = tiles_of(name, tile, side)
    every = list(tiles.pinpoints)
    for size in shapes(30):
        laid = tiles.lay(size, budget)
        allowed = [canvas for canvas in every if tiles.count(canvas) <= tiles.count(laid.canvas)]
        assert select_best_resolution(size, allowed) == laid.canvas == select_best_resolution(laid.size, every)
        assert laid.tokens == counted_by_transformers(tiles, size, allowed)
        assert laid.tokens == counted_by_transformers(tiles, laid.size, every)
        assert laid.full_tokens == counted_by_transformers(tiles, size, every)
        assert laid.is_shrunk or laid.size == size


@pytest.mark.parametrize("tokens", [1485, 2214, 3000, 4096, 6000])
def test_an_image_takes_the_most_tiles_that_the_budget_allows(tokens: int) -> None:
    tiles = tiles_of("published")
    for size in shapes(30):
        laid = tiles.lay(size, Budget(None, tokens))
        assert laid.tokens <= tokens
        more = [Budget(count) for count in range(tiles.count(laid.canvas) + 1, 37)]
        assert all(other.tokens > tokens for other in (tiles.lay(size, b) for b in more) if other.canvas != laid.canvas)


def test_published_counts() -> None:
    """Of photographs of 1200 x 1600 and 480 x 640 pixels."""
    tiles = tiles_of("published")
    assert (tiles.fewest, tiles.least_tokens) == (1, 1485)
    counts = [tiles.lay((1200, 1600), Budget(most)).tokens for most in (None, 6, 4, 2, 1)]
    assert counts == [7309, 4725, 2929, 1728, 1317]
    assert tiles.lay((480, 640), Budget(None, 4096)).canvas == (768, 768)
    assert tiles.lay((480, 640), Budget(None, 1)).tokens == 1317


@pytest.mark.parametrize("budget", [Budget(4), Budget(None, 1485), Budget(None, 3000), Budget(None, 4096), UNLIMITED])
def test_no_image_takes_more_tiles_than_the_largest(budget: Budget) -> None:
    tiles = tiles_of("published")
    largest = tiles.lay(tiles.largest(budget), budget)
    assert not largest.is_shrunk
    assert max(tiles.count(tiles.lay(size, budget).canvas) for size in shapes(150)) <= tiles.count(largest.canvas)
