"""When a run stops for its bad samples, by the stream's own order and without a model."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch.distributed as dist

from cli_ray.config import DataConfig, ModelConfig, RunConfig
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, build_index
from cli_ray.data.quarantine import TooManyBadSamplesError
from cli_ray.data.reading import Task
from cli_ray.data.sample import BadSample, Encoded, Row
from cli_ray.data.stream import Stream
from cli_ray.errors import UserError
from cli_ray.train.callbacks.quarantiner import Quarantiner
from cli_ray.train.checkpoint.files import Progress
from cli_ray.train.loop import TrainLoop
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.trainer import prepare_index
from tests.data.shards import data_config

SAMPLES = 2000
BATCH = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    path = tmp_path_factory.mktemp("data") / "x.jsonl"
    path.write_text("".join(json.dumps({"id": number}) + "\n" for number in range(SAMPLES)))
    return data_config(path, unit_samples=32, window_samples=256, max_bad_share=0.01)


@pytest.fixture(scope="module")
def index(data: DataConfig) -> Index:
    return build_index(data)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank."""

    def gather(ranks: list[Any], own: Any) -> None:
        ranks[0] = own

    monkeypatch.setattr(dist, "all_gather_object", gather)


def read(windows: Iterable[list[Task]], bad: set[int]) -> Iterator[list[Row]]:
    """Rows without text; those of the bad numbers as holes."""
    ids = np.arange(4, dtype=np.int32)
    sizes = np.zeros((0, 2), np.int32)
    for tasks in windows:
        numbers = [task.first + i for task in tasks for i in range(task.low, task.high)]
        yield [
            BadSample(f"x#{number}", "s0", "x", "messages", "no answer")
            if number in bad
            else Encoded(f"x#{number}", "s0", ids, ids, [], sizes, np.zeros_like(ids))
            for number in numbers
        ]


def steps_of(
    data: DataConfig,
    index: Index,
    folder: Path,
    bad: set[int],
    seed: int,
    progress: Progress | None = None,
    epochs: int = 1,
) -> Progress:
    """Trains nothing for some epochs; where the run stands when it stops or they are over."""
    encoder = cast(Encoder, SimpleNamespace(pad_token_id=0, tiled=False))
    stream = Stream(
        index,
        data,
        encoder,
        seed=seed,
        lanes=2,
        rank=0,
        world_size=1,
        micro_batch_size=BATCH // 2,
        global_batch_size=BATCH,
        read=partial(read, bad=bad),
    )
    progress = progress or Progress()
    stream.epoch, stream.epoch_step = divmod(progress.step, stream.steps_per_epoch)
    config = RunConfig(name="run", model=ModelConfig(checkpoint="tiny"), data=data)
    loop = SimpleNamespace(
        config=config, folder=RunFolder(str(folder)), progress=progress, stream=stream, rank=0, world_size=1
    )
    callback = Quarantiner()
    callback.on_start(cast(TrainLoop, loop))
    for share in islice(stream, epochs * stream.steps_per_epoch - progress.step):
        loop.progress = loop.progress.after_step(len(share.ids), 0, share.num_bad, share.num_shrunk)
        callback.on_step(cast(TrainLoop, loop), share, None)
    return cast(Progress, loop.progress)


def draw(count: int, seed: int, run: int) -> set[int]:
    """So many of the numbers, in runs of neighbours."""
    starts = np.random.default_rng(seed).choice(SAMPLES // run, count // run, replace=False)
    return {int(start) * run + i for start in starts for i in range(run)}


@pytest.mark.parametrize(("count", "run", "seeds"), [(10, 1, 100), (10, 10, 20), (20, 1, 20), (20, 20, 20)])
def test_a_run_within_the_limit_never_stops(
    data: DataConfig, index: Index, tmp_path: Path, count: int, run: int, seeds: int
) -> None:
    """0.5 % and exactly 1 % bad at a limit of 1 %; scattered, and side by side."""
    bad = draw(count, seed=0, run=run)
    for seed in range(seeds):
        assert steps_of(data, index, tmp_path / str(seed), bad, seed).bad_samples == count


def test_a_run_with_too_much_lost_does_not_start(tmp_path: Path) -> None:
    """Said by the driver as it makes the index, and for held-out data too; nothing is left to resume from."""
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text('{"id": 1}\n' * 50)
    (tmp_path / "b.jsonl").write_text("version https://git-lfs.github.com/spec/v1\nsize 5000\n")
    folder = RunFolder(str(tmp_path / "run"))
    with pytest.raises(UserError, match=r"about 50 of 150 samples are lost.*\n.*a git-lfs pointer.*: about 50 samples"):
        prepare_index(folder, "validation-index.json", data_config(tmp_path))
    assert folder.read("validation-index.json") is None
    assert len(prepare_index(folder, "index.json", data_config(tmp_path, max_bad_share=0.34)).damages) == 1


def test_one_more_than_the_limit_always_stops(data: DataConfig, index: Index, tmp_path: Path) -> None:
    bad = draw(21, seed=0, run=1)
    for seed in range(5):
        with pytest.raises(TooManyBadSamplesError, match=r"21 samples are bad so far.* allows 20 of the 2,000 samples"):
            steps_of(data, index, tmp_path / str(seed), bad, seed)


def test_a_really_bad_source_stops_early(data: DataConfig, index: Index, tmp_path: Path) -> None:
    """30 % bad: at the step in which the 21st comes, among the first of 63."""
    bad = draw(600, seed=0, run=1)
    for seed in range(100):
        folder = tmp_path / str(seed)
        with pytest.raises(TooManyBadSamplesError):
            steps_of(data, index, folder, bad, seed)
        lines = (folder / "quarantine/rank0.jsonl").read_text().splitlines()
        assert 20 < len(lines) <= 20 + BATCH


def test_a_resumed_run_stops_where_an_undisturbed_one_does(data: DataConfig, index: Index, tmp_path: Path) -> None:
    """In the second epoch, with what was bad in the first; its counts by reason are those of all starts."""
    bad = draw(20, seed=0, run=1)
    first = steps_of(data, index, tmp_path / "resumed", bad, seed=0)
    more = bad | {number + 1 for number in bad}
    with pytest.raises(TooManyBadSamplesError) as undisturbed:
        steps_of(data, index, tmp_path / "whole", more, 0, first, epochs=2)
    middle = first.model_copy(update={"step": first.step, "samples": first.samples})
    with pytest.raises(TooManyBadSamplesError) as resumed:
        steps_of(data, index, tmp_path / "resumed", more, 0, middle, epochs=2)
    assert "allows 40 of the 4,000 samples of 2 epochs" in str(resumed.value)
    assert "By reason: messages 3" in str(resumed.value)
    assert str(undisturbed.value).split(",")[0] == str(resumed.value).split(",")[0]
