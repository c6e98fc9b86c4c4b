"""What is told of the ranks of a step, and the work that FLOP/s are made of."""

import pytest
import torch
from transformers import ProcessorMixin

from cli_ray.config import DataConfig
from cli_ray.costs.flops import Work
from cli_ray.costs.gpus import peak_of
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import Encoded, Message, Sample
from cli_ray.train.rank_table import SPREAD, spread
from cli_ray.train.throughput import work_of
from tests.model.batches import cli_model
from tests.train.callbacks.test_slow_rank import table
from tests.train.scenario import samples


def test_the_slowest_rank_is_named_beside_the_median_rank() -> None:
    assert spread("compute_ms", torch.tensor([5.0, 9.0, 2.0, 7.0])) == {
        "compute_ms/min": 2.0, "compute_ms/median": 5.0, "compute_ms/max": 9.0, "compute_ms/rank": 1,
    }  # fmt: skip


def test_a_step_takes_as_long_as_the_rank_that_took_longest_with_its_data() -> None:
    ranks = table(data_wait_ms=[500, 0], step_ms=[1000, 1400], positions=[1, 1])
    assert ranks.seconds == 1.5


def test_metrics_are_flat_numbers_in_few_bytes() -> None:
    metrics = table(
        data_wait_ms=[0, 4], step_ms=[96, 96], rank_wait_ms=[32, 0], peak_GiB=[1, 2], real_tokens=[90, 60],
        image_tokens=[16, 0], positions=[100, 100], packs=[4, 4], flops=[4e11, 1e11], peak_flops=[1e13, 1e13],
    ).metrics()  # fmt: skip
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert (metrics["data_wait_ms"], metrics["step_ms"], metrics["peak_GiB"], metrics["packs"]) == (4, 96, 2, 8)
    assert metrics["padding_share"] == pytest.approx(0.25)
    assert metrics["TFLOP/s"] == pytest.approx(2.5)
    assert metrics["mfu"] == pytest.approx(0.25)
    assert (metrics["compute_ms/min"], metrics["compute_ms/max"], metrics["compute_ms/rank"]) == (64, 96, 1)
    assert (metrics["real_tokens/max"], metrics["real_tokens/rank"], metrics["image_tokens/min"]) == (90, 0, 0)
    assert len(metrics) == 7 + 4 * len(SPREAD)


def test_there_is_no_mfu_where_the_peak_of_a_gpu_is_unknown() -> None:
    assert "mfu" not in table(step_ms=[96, 96], positions=[1, 1], peak_flops=[1e13, 0]).metrics()


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA B200", 2250),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("AMD Instinct MI300X", 1307),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 0),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 0),
        ("NVIDIA L40", 0),
        ("NVIDIA GH200 480GB", 0),
        ("NVIDIA H20", 0),
        ("Tesla T4", 0),
    ],
)
def test_peaks_by_the_names_that_torch_gives(name: str, tera: float) -> None:
    assert peak_of(name) == tera * 1e12


def test_work_is_what_the_samples_need_without_padding_and_dummies(family: str, processor: ProcessorMixin) -> None:
    encoder = Encoder(processor, DataConfig.model_validate({"sources": [{"path": "x"}], "max_length": 2048}))
    two = Sample("two", two_images(), [Message("user", "<image><image>?"), Message("assistant", "b")], "demo", "")
    rows = [row for row in map(encoder, [*samples(step=1), two]) if isinstance(row, Encoded)]
    assert len(rows) == 9
    model = cli_model(family)
    with_images = [row for row in rows if row.images]
    assert work_of(rows, 2, model.config.image_token_id) == Work(
        passes=2,
        tiles=sum(len(image) for row in rows for image in row.images),
        visual_tokens=sum(int((row.input_ids == model.config.image_token_id).sum()) for row in rows),
        tokens=sum(len(row.input_ids) for row in rows),
        pairs=sum(len(row.input_ids) ** 2 for row in rows),
        supervised=sum(int((row.labels[1:] != -100).sum()) for row in rows),
        contexts=len(with_images),
        context_tokens=sum(len(row.input_ids) for row in with_images),
    )


def two_images() -> list[bytes]:
    """Two encoded images."""
    return [sample.images[0] for sample in samples(step=0)[:2]]
