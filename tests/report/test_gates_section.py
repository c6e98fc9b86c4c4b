"""The section on gates: over training, on benchmarks, and in pictures."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_ray.evals.items.pictures import thumbnail
from cli_ray.evals.results.injections import summary, write_injections
from cli_ray.evals.results.samples import AskedItem
from cli_ray.evals.suite import BENCHMARKS
from cli_ray.inference.injected import HeatMap, Injected
from cli_ray.report.figures import MOST_POINTS
from cli_ray.report.gates import benchmark_gates, training_gates
from cli_ray.report.heat import SIDE, sheet
from cli_ray.report.section import Figure
from cli_ray.storage.folder import Folder
from cli_ray.watch.history import read_run
from tests.evals.results.outputs import made, record, samples, write_output

HEAT = HeatMap(grid=(1, 2), area=(0.0, 0.0, 1.0, 1.0), top=0.5, values=bytes([0, 255, 255, 0]))


def log(folder: Path, steps: int, events: str = "") -> None:
    lines: list[dict[str, Any]] = [{"step": 1, "loss": 1.0}]  # a step without images
    lines += [
        {"step": step, "loss": 1.0, "gate_mean": [[step / 1e4, 0.0]] * 2, "gate_max": [[0.5, 0.25]] * 2}
        for step in range(2, steps + 2)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "events.jsonl").write_text(events)


def test_gates_over_training_are_those_of_the_first_and_the_last_step(tmp_path: Path) -> None:
    injection = {"decoder_layers": {"layers": [0, 8]}, "vision_layers": {"layers": [3, 23]}}
    begin = json.dumps({"event": "begin", "time": "2026-01-01T00:00:00.000", "injection": injection})
    log(tmp_path, 3_000, begin + "\n")
    section = training_gates(read_run(str(tmp_path)))
    assert section
    figures = {part.name: part for part in section.parts if isinstance(part, Figure)}
    first, last, change = (figures[f"gates-mean-{name}"].table for name in ("first", "last", "change"))
    assert first.head == ["decoder layer", "3", "23"]
    assert [list(table.rows[1]) for table in (first, last, change)] == [
        ["8", "0.0002", "0"],
        ["8", "0.3001", "0"],
        ["8", "0.2999", "0"],
    ]
    drawn = figures["gates-over-training"].table.rows
    assert MOST_POINTS / 2 < len(drawn) <= MOST_POINTS
    assert (drawn[0][0], drawn[-1][0]) == ("2", "3001")


def test_a_run_without_gates_has_no_such_section(tmp_path: Path) -> None:
    assert training_gates(read_run(str(tmp_path))) is None
    log(tmp_path, 0)
    assert training_gates(read_run(str(tmp_path))) is None


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(BENCHMARKS, "toy", made())
    found = samples([1.0, 0.0, 1.0])
    asked = AskedItem("what?", "what?", "yes", (), thumbnail(Image.new("RGB", (64, 32), "blue")))
    write_output(tmp_path, "m", {"toy": (made(), found)}, asked=asked)
    injected = [
        Injected(
            decoder_layers=(0, 8), vision_layers=(3, 23), gate_mean=((0.1, -0.2), (gate, 0.0)),
            gate_max=((0.1, 0.2), (gate, 0.0)), share=(0.01, gate), heat=HEAT if gate else None,
        )
        for gate in (0.0, 0.3, 0.6)
    ]  # fmt: skip
    records = [record("toy", one, "m", injected=each) for one, each in zip(found, injected, strict=True)]
    write_injections(Folder(str(tmp_path)), "toy", records)
    return tmp_path


def test_averages_are_over_samples(evaluated: Path) -> None:
    total = summary(Folder(str(evaluated)), "toy")
    assert total
    assert (total.samples, total.decoder_layers, total.vision_layers) == (3, [0, 8], [3, 23])
    np.testing.assert_allclose(total.gate_mean, [[0.1, -0.2], [0.3, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(total.gate_max, [[0.1, 0.2], [0.6, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(total.share, [0.01, 0.3], rtol=1e-6)


def test_gates_on_benchmarks_show_maps_shares_and_pictures(evaluated: Path) -> None:
    section = benchmark_gates(str(evaluated))
    assert section
    figures = {part.name: part for part in section.parts if isinstance(part, Figure)}
    assert figures.keys() == {"injected-share-hash of ", "gates-hash of -toy-mean", "gates-hash of -toy-largest"}
    assert figures["injected-share-hash of "].table.rows == [["TOY", "0.01", "0.3"]]
    (cards,) = (part for part in section.parts if isinstance(part, list))
    assert [card.title for card in cards] == ["TOY 0001", "TOY 0002"]
    assert ("injected share by decoder layer", "0: 1.0%, 8: 30.0%") in cards[0].fields
    assert cards[0].picture
    assert len(cards[0].picture) < 20_000


def test_results_without_gates_have_no_such_section(tmp_path: Path) -> None:
    write_output(tmp_path, "m", {"toy": (made(), samples([1.0, 0.0]))})
    assert benchmark_gates(str(tmp_path)) is None


def test_heat_lies_over_the_part_of_the_picture_that_the_model_saw() -> None:
    picture = thumbnail(Image.new("RGB", (160, 80), "blue"))
    shown = sheet(picture, HEAT.model_copy(update={"area": (0.25, 0.0, 0.75, 1.0)}), (0, 8))
    assert shown
    page = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)
    red = page[..., 0] - page[..., 2]
    first, second = (red[50, start : start + 160] for start in (164, 328))
    assert first[115] > 100 > first[45]  # the right half of the middle
    assert second[45] > 100 > second[115]
    assert max(first[20], first[140], second[20], second[140]) < 20  # beside it


@pytest.mark.parametrize("size", [(1, 1), (200, 1), (256, 256)])
def test_sheets_are_small_whatever_the_picture(size: tuple[int, int]) -> None:
    shown = sheet(thumbnail(Image.new("RGB", size)), HEAT, (0, 8))
    assert shown
    assert Image.open(io.BytesIO(shown)).width < 3 * (SIDE + 4)


def test_a_damaged_thumbnail_has_no_sheet() -> None:
    assert sheet(b"RIFF", HEAT, (0, 8)) is None
