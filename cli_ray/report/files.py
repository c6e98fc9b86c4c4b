"""The files of a report: the page, and figures with the numbers behind them. Called by `cli-ray report` and demo."""

import io

import pyarrow as pa
from pyarrow import parquet

from cli_ray.errors import UserError
from cli_ray.report.page import Report, render
from cli_ray.report.section import Figure, Table
from cli_ray.storage.folder import Folder

NAME = "report.html"


def write_page(report: Report, output: str, folder: str) -> tuple[str, int]:
    """Writes the page.

    Args:
        report: to write.
        output: the file; empty for `NAME` in `folder`, or in the working directory where that is on no mounted
            filesystem.
        folder: the first one that is reported on.

    Returns:
        Where it lies, and its bytes.

    Raises:
        UserError: it cannot be written.
    """
    place = output or (f"{folder.rstrip('/')}/{NAME}" if Folder(folder).is_local else NAME)
    above, _, name = place.rpartition("/")
    content = render(report).encode()
    try:
        Folder(above or ("/" if place.startswith("/") else ".")).write_bytes(name, content)
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error}; name another file with --output") from error
    return place, len(content)


def write_figures(report: Report, uri: str) -> int:
    """Writes each figure as SVG and the numbers behind it as Parquet; how many figures there are."""
    folder = Folder(uri)
    figures = [part for section in report.sections for part in section.parts if isinstance(part, Figure)]
    for figure in figures:
        folder.write(f"{figure.name}.svg", figure.svg)
        content = io.BytesIO()
        parquet.write_table(to_arrow(figure.table), content)
        folder.write_bytes(f"{figure.name}.parquet", content.getvalue())
    return len(figures)


def to_arrow(table: Table) -> pa.Table:
    """A table with a column of numbers wherever all its texts are numbers."""
    columns = [[row[place] for row in table.rows] for place in range(len(table.head))]
    names = [name or f"column {place}" for place, name in enumerate(table.head)]
    return pa.table([_column(texts) for texts in columns], names=names)


def _column(texts: list[str]) -> pa.Array:
    try:
        return pa.array([float(text.replace(",", "")) if text else None for text in texts], pa.float64())
    except ValueError:
        return pa.array(texts)
