"""Curves of a report: where they lie and what names them."""

import re

import pytest

from cli_ray.report.figures import trends
from cli_ray.report.trends import Trend


def trend(values: list[float]) -> Trend:
    made = Trend()
    for step, value in enumerate(values):
        made.add(step, value)
    return made


def test_smoothing_moves_no_straight_line() -> None:
    falling = trend([float(-step) for step in range(200)])
    assert falling.smoothed() == pytest.approx([bucket.mean for bucket in falling.buckets])


def test_twenty_lines_have_a_name_and_a_colour_each_within_the_figure() -> None:
    svg = trends("many", "Many", {f"run {number:02}": trend([1.0, float(number)]) for number in range(20)}).svg
    (height,) = re.findall(r'viewBox="0 0 \S+ (\S+)"', svg)
    places = [float(y) for y in re.findall(r'<text[^>]* y="(\S+)"[^>]*>run \d\d<', svg)]
    assert len(places) == 20
    assert all(0 < place < float(height) for place in places)
    assert len(set(re.findall(r"stroke: (#[0-9a-f]{6}); stroke-width: 1.4", svg))) == 20
