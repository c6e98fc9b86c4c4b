"""Records say what was injected: gates, shares, and where in the picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cli_ray.evals.generation.job import Batch
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.injections import read_injections, write_injections
from cli_ray.inference.injected import Injected
from cli_ray.inference.traces import MOST_PATCHES, heat_map, injected, ranges
from cli_ray.model.injection import InjectionTrace
from cli_ray.storage.folder import Folder
from cli_ray.tiles import View
from tests.evals.generation.charts import TOKENS, entries_of, job_of, row, save_model, write_rows
from tests.model.batches import cli_model


def trace_of(added_MR: Tensor, hidden_MR: Tensor, image_R: Tensor) -> InjectionTrace:
    images = int(image_R.max()) + 1
    return InjectionTrace(
        torch.tensor([[[0.25, -0.5]], [[0.0, 1.0]]]).expand(2, images, 2), added_MR, hidden_MR, image_R
    )


def test_gates_and_shares_are_those_of_the_items_own_images() -> None:
    trace = trace_of(torch.tensor([[3.0, 4.0, 9.0]] * 2), torch.tensor([[6.0, 8.0, 1.0]] * 2), torch.tensor([0, 0, 1]))
    assert ranges([1, 0, 1]) == [range(1), range(1, 1), range(1, 2)]
    one = injected(trace, ((1, 3), (0, 2)), range(1))
    assert one == Injected(
        vision_layers=(1, 3),
        decoder_layers=(0, 2),
        gate_mean=((0.25, -0.5), (0.0, 1.0)),
        gate_max=((0.25, 0.5), (0.0, 1.0)),
        share=(0.5, 0.5),
    )
    assert injected(trace, ((1, 3), (0, 2)), range(1, 1)) is None


def test_a_heat_map_leaves_thumbnail_and_newlines_out() -> None:
    change_R = torch.tensor([7.0, 1.0, 2.0, 0.0, 3.0, 4.0, 0.0])  # a thumbnail of one patch, 2 x 2 patches, newlines
    trace = trace_of(change_R.expand(2, -1), torch.full((2, 7), 8.0), torch.zeros(7, dtype=torch.long))
    heat = heat_map(trace, 0, View(1, (2, 2), 3))
    assert (heat.grid, heat.top) == ((2, 2), 0.5)
    assert list(heat.values) == [64, 128, 191, 255] * 2


def test_a_fine_heat_map_is_made_coarse() -> None:
    rows = 90 * 60
    trace = trace_of(torch.ones(2, rows), torch.ones(2, rows), torch.zeros(rows, dtype=torch.long))
    heat = heat_map(trace, 0, View(0, (90, 60), 60))
    assert heat.grid == (MOST_PATCHES, 21)
    assert set(heat.values) == {255}


def test_records_and_tables_give_back_what_was_injected(tmp_path: Path) -> None:
    trace = trace_of(torch.rand(2, 4), torch.full((2, 4), float("nan")), torch.zeros(4, dtype=torch.long))
    one = injected(trace, ((1, 3), (0, 2)), range(1))
    assert one
    one = one.model_copy(update={"heat": heat_map(trace, 0, View(0, (2, 2), 2))})
    record = ReplyRecord(
        key="k", benchmark="toy", sample_id="s", prompt_hash="", image_hash="", decoding="", model="", reply="",
        finish="stop", injected=one,
    )  # fmt: skip
    stored = ReplyRecord.model_validate_json(record.model_dump_json())
    assert stored.injected
    assert str(stored.injected) == str(one)  # where NaN is equal to itself
    folder = Folder(str(tmp_path))
    write_injections(folder, "toy", [record, record.model_copy(update={"injected": None})])
    ((name, read),) = read_injections(folder, "toy")
    assert (name, read.heat and read.heat.values) == ("s", one.heat and one.heat.values)
    np.testing.assert_allclose(read.gate_mean, one.gate_mean)
    assert list(read_injections(folder, "other")) == []


@pytest.mark.slow
def test_replies_are_the_same_with_gates(family: str, tmp_path: Path) -> None:
    location = write_rows(tmp_path / "data", [row(seed, images) for seed, images in enumerate((1, 1, 2, 1))], group=16)
    model = save_model(tmp_path / "model", family, cli_model(family))
    job = job_of(model, location)
    batch = Batch(location.benchmark.name, location.parts[0], tuple(entries_of(location)), TOKENS, 1.0)
    plain, traced = (
        {record.sample_id: record for records in Predictor(each).predict(batch) for record in records}
        for each in (job, replace(job, gates=True))
    )
    assert len(traced) == 4
    for name, record in traced.items():
        assert record.injected
        assert record.injected.heat
        assert np.shape(record.injected.gate_mean) == (3, 3)
        assert all(share > 0 for share in record.injected.share)
        height, width = record.injected.heat.grid
        assert len(record.injected.heat.values) == 3 * height * width
        assert max(record.injected.heat.values) == 255
        assert plain[name].injected is None
        assert record.model_copy(update={"injected": None, "seconds": 0.0}) == plain[name].model_copy(
            update={"seconds": 0.0}
        )
