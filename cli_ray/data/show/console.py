"""Shown samples in a terminal or a pipe: a gutter says what is supervised, colours say it again, pictures are drawn."""

from collections.abc import Iterable, Iterator

from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text

from cli_ray.data.show.view import Kind, Piece, View

_GUTTERS: dict[Kind, tuple[str, str]] = {
    "context": ("   | ", ""),
    "supervised": (" + | ", "bold green"),
    "image": (" # | ", "cyan"),
    "message": ("   | ", ""),
}
"""What stands before each line of a piece, and the style of its text. No text of a sample can begin a line."""
_LEFT_OUT = (" ~ | ", "italic yellow")
LEGEND = "+ supervised   # image   ~ shortened here   ↵ a line end of the text"
_PICTURE_SIZE = (64, 40)
"""Columns, and pixels in height: two in each line."""


def print_views(views: Iterable[View], console: Console) -> None:
    """Prints samples, one after the other."""
    console.print(LEGEND, style="dim", markup=False, highlight=False)
    for view in views:
        console.print()
        for line in lines_of(view, console.width if console.is_terminal else None):
            console.print(line, highlight=False, soft_wrap=True)


def lines_of(view: View, width: int | None) -> Iterator[Text]:
    """The lines of a sample.

    Args:
        width: in which the chat is wrapped and pictures are drawn, columns; None in a pipe.
    """
    yield Text(view.id, style="bold")
    yield Text(f"  {view.source}: {view.where}", style="dim")
    if view.fault:
        yield Text(f"  would be quarantined: {view.fault}", style="bold red")
    for name, value in view.facts:
        yield Text(f"  {name}: {value}")
    for number, picture in enumerate(view.pictures, start=1):
        yield Text(f"  image {number}: {'; '.join(picture.facts)}")
        if width is not None and picture.image is not None:
            yield from drawn(picture.image, min(width - 5, _PICTURE_SIZE[0]))
    if view.more_pictures:
        yield Text(f"  and {view.more_pictures:,} more images", style=_LEFT_OUT[1])
    for piece in view.pieces:
        yield from _piece(piece, width)
    if view.more_pieces:
        yield Text(f"{_LEFT_OUT[0]}{view.more_pieces:,} more pieces of the chat are not shown", style=_LEFT_OUT[1])


def drawn(image: Image.Image, columns: int) -> Iterator[Text]:
    """A picture in half blocks: each character has the colours of two pixels."""
    small = image.copy()
    small.thumbnail((columns, _PICTURE_SIZE[1]))
    if small.height % 2:
        small = small.crop((0, 0, small.width, small.height + 1))
    for y in range(0, small.height, 2):
        line = Text("     ")
        for x in range(small.width):
            upper, lower = (f"rgb{small.getpixel((x, row))}".replace(" ", "") for row in (y, y + 1))
            line.append("▀", Style.parse(f"{upper} on {lower}"))
        yield line


def _piece(piece: Piece, width: int | None) -> Iterator[Text]:
    gutter, style = _GUTTERS[piece.kind]
    if piece.kind == "image":
        yield Text.assemble(gutter, (f"{piece.head} x {piece.tokens:,}", style))
        return
    yield from _lines(piece.head, gutter, style, width)
    if piece.left_out:
        yield Text(f"{_LEFT_OUT[0]}{piece.left_out:,} characters are not shown", style=_LEFT_OUT[1])
        yield from _lines(piece.tail, gutter, style, width)


def _lines(text: str, gutter: str, style: str, width: int | None) -> Iterator[Text]:
    """Lines of a text behind its gutter, with a mark where the text ends one."""
    *ended, last = text.split("\n")
    for line in [f"{line}↵" for line in ended] + [last] * bool(last):
        text_ = Text(line, style=style)
        for part in [text_] if width is None else text_.wrap(_PLAIN, max(10, width - len(gutter)), no_wrap=False):
            yield Text.assemble(gutter, part)


_PLAIN = Console()
