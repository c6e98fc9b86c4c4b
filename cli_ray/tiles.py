"""The tiles of LLaVA-OneVision: on which canvas of tiles an image is laid, within a budget, and the tokens it takes.

Encoding, processors, the costs of a run and the lengths that evaluation estimates ask it. It stands below `data` and
`model`, and loads no torch, for processes that read do without.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import ceil, inf, sqrt
from typing import Self

from cli_ray.config import DataConfig

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an image may take. None is no limit."""

    max_tiles: int | None = None
    """Tiles, without the thumbnail that goes with them."""
    max_tokens: int | None = None
    """Tokens in the text, with those of the thumbnail."""

    @classmethod
    def of(cls, data: DataConfig, usual_length: int) -> Self:
        """Of a run.

        Args:
            data: its section.
            usual_length: `data.max_length` where it is not given.
        """
        longest = data.max_length or usual_length if data.shrinks else None
        return cls(data.max_tiles, data.max_image_tokens or longest)

    def within(self, room: int | None) -> Self:
        """This budget, and no more than `room` tokens."""
        limits = [limit for limit in (self.max_tokens, room) if limit is not None]
        return replace(self, max_tokens=min(limits, default=None))


UNLIMITED = Budget()


@dataclass(frozen=True, slots=True)
class Laid:
    """An image on its canvas."""

    canvas: Size
    """All tiles together."""
    size: Size
    """The size by which model and processor find that canvas among all of theirs, and its tokens: the image's own, or
    of one that a budget shrank, about the size it has on the canvas."""
    tokens: int
    full_tokens: int
    """Tokens without a budget."""
    is_shrunk: bool
    """Whether a budget took a smaller canvas."""
    grid: Size
    """Patches of the image itself on the canvas, a newline token behind each row."""


@dataclass(frozen=True, slots=True)
class View:
    """Where rows of an image's features lie in the picture: a grid of patches, line by line."""

    first: int
    """Row of the upper left patch."""
    grid: Size
    """Patches."""
    stride: int
    """Rows from one line to the next."""
    area: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Of the picture: left, top, right, bottom in its widths and heights; beyond 0 and 1 where it was padded."""


@dataclass(frozen=True)
class Tiles:
    """The canvases of a model.

    A budget takes those of most tiles away until the image fits. What is left is chosen from as by transformers, so
    that an image is laid as by a processor whose `image_grid_pinpoints` are those of at most so many tiles.
    """

    pinpoints: tuple[Size, ...]
    """The canvases, `image_grid_pinpoints`."""
    tile: int
    """Side of a tile, pixels."""
    side: int
    """Patches along the side of a tile."""
    most: int
    """An image of more patches than those of about so many tiles is scaled down to them, `anyres_max_9`."""

    @classmethod
    def of(cls, pinpoints: Iterable[Iterable[int]], tile: int, side: int, aspect_ratio: str) -> Self:
        """From the fields that configs and processors hold."""
        sizes = ((height, width) for height, width in pinpoints)
        return cls(tuple(sizes), tile, side, int(aspect_ratio.removeprefix("anyres_max_")))

    @cached_property
    def fewest(self) -> int:
        """Tiles of the smallest canvas."""
        return min(map(self.count, self.pinpoints))

    @property
    def least_tokens(self) -> int:
        """Tokens that any image can be shrunk to."""
        smallest = [canvas for canvas in self.pinpoints if self.count(canvas) == self.fewest]
        return max(self._tokens(canvas, canvas) for canvas in smallest)

    def count(self, canvas: Size) -> int:
        """Tiles of a canvas."""
        return (canvas[0] // self.tile) * (canvas[1] // self.tile)

    def lay(self, size: Size, budget: Budget) -> Laid:
        """The best canvas of the most tiles that the budget allows; one of the fewest where it allows none."""
        full = self._best(size, inf)
        canvas = full if budget.max_tiles is None else self._best(size, budget.max_tiles)
        limit = inf if budget.max_tokens is None else budget.max_tokens
        while self._tokens(size, canvas) > limit and self.count(canvas) > self.fewest:
            canvas = self._best(size, self.count(canvas) - 1)
        is_shrunk = canvas != full
        shown = self._filling(size, canvas) if is_shrunk else size
        tokens, full_tokens = self._tokens(size, canvas), self._tokens(size, full)
        return Laid(canvas, shown, tokens, full_tokens, is_shrunk, self._grid(size, canvas))

    def view(self, size: Size, budget: Budget) -> View:
        """The tiles of an image without their padding, behind the thumbnail."""
        grid = self.lay(size, budget).grid
        return View(self.side**2, grid, grid[1] + 1)

    def largest(self, budget: Budget) -> Size:
        """The size of an image of most tiles within a budget.

        Of the images that are laid on a canvas, the full one takes most tokens, and those a pixel too large for the
        next smaller canvas the fewest. No image that a budget shrinks takes more tiles than one of these.
        """
        sizes = [size for height, width in self.pinpoints for size in product(self._ends(height), self._ends(width))]
        limit = inf if budget.max_tokens is None else budget.max_tokens
        laid = (self.lay(size, budget) for size in sizes)
        return max(laid, key=lambda one: (one.tokens <= limit, self.count(one.canvas), one.tokens, one.size)).size

    def _ends(self, side: int) -> Size:
        """Longest and shortest side of an image that needs a side so long of its canvas; one that occurs."""
        return side, side - self.tile + 1 if side > self.tile else self.tile // 8

    def _best(self, size: Size, max_tiles: float) -> Size:
        canvases = (canvas for canvas in self.pinpoints if self.count(canvas) <= max_tiles)
        return max(canvases, key=lambda canvas: _shown(size, canvas))

    def _tokens(self, size: Size, canvas: Size) -> int:
        """Tokens of the thumbnail and of the tiles after the padding is cut off, one newline token a row."""
        rows, columns = self._grid(size, canvas)
        return self.side**2 + rows * columns + rows

    def _grid(self, size: Size, canvas: Size) -> Size:
        """Patches of an image after the padding is cut off."""
        rows, columns = self._patches(canvas)
        if _is_wide(size, canvas):
            rows -= (rows - self._covered(size[0], size[1], columns)) // 2 * 2
        else:
            columns -= (columns - self._covered(size[1], size[0], rows)) // 2 * 2
        ratio = sqrt(rows * columns / (self.most * self.side**2))
        if ratio > 1.1:
            rows, columns = int(rows // ratio), int(columns // ratio)
        return rows, columns

    def _filling(self, size: Size, canvas: Size) -> Size:
        """The size of an image that fills a canvas as this one, and that is laid on it out of all canvases.

        An image that is not larger than its canvas is laid on the smallest that holds it. It covers as many patches as
        this one once its ratio of sides is near enough, which one of two neighbouring whole numbers always is.
        """
        rows, columns = self._patches(canvas)
        if _is_wide(size, canvas):
            return self._side_on(size[0], size[1], canvas[1], columns), canvas[1]
        return canvas[0], self._side_on(size[1], size[0], canvas[0], rows)

    def _side_on(self, short: int, long: int, pixels: int, patches: int) -> int:
        side = ceil(short * pixels / long)
        return side - (self._covered(side, pixels, patches) > self._covered(short, long, patches))

    @staticmethod
    def _covered(short: int, long: int, patches: int) -> int:
        """Patches along one side of an image whose other side covers `patches`."""
        return int(round(short * (patches / long), 7))

    def _patches(self, canvas: Size) -> tuple[int, int]:
        return canvas[0] // self.tile * self.side, canvas[1] // self.tile * self.side


@dataclass(frozen=True, slots=True)
class Shrinker:
    """Keeps images within a budget."""

    tiles: Tiles
    budget: Budget
    """Of each image."""

    def shrunk(self, size: Size, room: int | None = None) -> Laid | None:
        """How an image is laid on fewer tiles than it would fill; None where it needs no budget for that.

        Args:
            size: height and width in pixels.
            room: tokens that the text leaves to the image; None is no limit.
        """
        laid = self.tiles.lay(size, self.budget.within(room))
        return laid if laid.is_shrunk else None

    def largest(self, room: int) -> Size:
        """The size of an image of most tiles among those that take at most `room` tokens within the budget."""
        return self.tiles.largest(self.budget.within(room))


def _shown(size: Size, canvas: Size) -> Size:
    """Pixels of an image that a canvas shows, and less its other pixels: the more the better, as
    `select_best_resolution` of transformers compares canvases."""
    scale = min(canvas[1] / size[1], canvas[0] / size[0])
    shown = min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])
    return shown, shown - canvas[0] * canvas[1]


def _is_wide(size: Size, canvas: Size) -> bool:
    """Whether an image on its canvas has the padding above and below it."""
    return size[1] / size[0] > canvas[1] / canvas[0]
