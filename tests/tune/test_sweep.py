"""A whole sweep on a Ray cluster: one trial finishes, one is stopped early, one fails."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import ray
from pyarrow import parquet
from ray.util import placement_group_table

from cli_ray.config import RunConfig, SweepConfig
from cli_ray.config.load import load, validated
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.errors import StoppedError, UserError
from cli_ray.storage.folder import Folder
from cli_ray.train.run_folder import RunFolder
from cli_ray.tune.sweep import Halt, has_begun, prepare_indices, stop_signals, sweep
from cli_ray.tune.trial import STOP, share_indices
from tests.free import await_cpus


def base_of(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "base",
        "model": {"checkpoint": "tiny"},
        "injection": {"vision_layers": [2, 4], "decoder_layers": [0, 2], "agf": {"num_heads": 2, "hidden_size": 8}},
        "data": {"sources": [{"path": str(data / "shards")}], "max_length": 256},
        "optim": {"llm": {"lr": 1e-3}},
        "train": {"global_batch_size": 4, "micro_batch_size": 4, "max_steps": 6, "epochs": 9, "precision": "fp32"},
        "validation": {"sources": [{"path": str(data / "held-out")}], "every": 2},
        "cluster": {"gpus_per_worker": 0},
    }
    return validated(RunConfig, values | changes, "base")


def sweep_of(folder: Path, **changes: Any) -> SweepConfig:
    values = {
        "name": "rates",
        "base": "run.toml",
        "sweeps_dir": str(folder),
        "space": {"optim.llm.lr": [1e-2, 1e-9, 1e12]},
        "search": "grid",
        "asha": {"reduction": 2},
        "max_concurrent": 1,  # so that which trial is stopped does not depend on which is faster
    }
    return validated(SweepConfig, values | changes, "sweep.toml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tar(synthesize(16, seed=0, split="train"), folder / "shards", shard_size=16)
    write_tar(synthesize(4, seed=0, split="held_out"), folder / "held-out", shard_size=4)
    return folder


def test_a_sweep_keeps_the_good_trial_and_says_what_came_of_the_others(
    cluster: None, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, base = sweep_of(tmp_path), base_of(data)
    free = ray.available_resources()["CPU"]
    good, poor, broken = sweep(config, base)
    assert (good.state, good.step, good.reason) == ("finished", 6, "")
    assert (poor.state, poor.step) == ("stopped", 2)
    assert broken.state == "failed"
    assert "is not finite" in broken.reason
    assert good.values["validation_loss"] < poor.values["validation_loss"]

    told = capsys.readouterr().out
    assert f"trial {poor.trial}: stopped early at step 2" in told
    assert f"trial {broken.trial}: step" in told
    folder = tmp_path / "rates"
    assert [row["trial"] for row in parquet.read_table(folder / "trials.parquet").to_pylist()] == [
        good.trial,
        poor.trial,
        broken.trial,
    ]
    best = load(str(folder / "best.toml"))
    assert best.optim.llm.lr == 1e-2
    assert best.model_copy(update={"name": base.name, "optim": base.optim}) == base
    assert {path.name for path in (folder / "figures").iterdir()} == {"trials.svg"}

    # Nothing of the trials is left in the cluster.
    assert {one["state"] for one in placement_group_table().values()} == {"REMOVED"}
    assert await_cpus(free) == free

    events = {path: path.read_text() for path in folder.glob("trials/*/events.jsonl")}
    assert len(events) == 3
    assert sweep(config, base) == [good, poor, broken]
    assert {path: path.read_text() for path in events} == events
    with pytest.raises(UserError, match=r"another sweep; these differ: sweep\.seed\. Give the new one another name"):
        sweep(config.model_copy(update={"seed": 1}), base)
    with pytest.raises(UserError, match=r"these differ: base\.train"):
        sweep(config, base_of(data, train=base.train.model_dump() | {"max_steps": 7}))


@pytest.mark.parametrize(
    ("changes", "base_changes", "message"),
    [
        ({}, {"validation": {}}, r"no validation\.sources"),
        ({"objectives": ["eval/ai2d"], "scheduler": "none"}, {}, r"evaluation\.every = 0"),
        ({"objectives": ["step_ms"]}, {}, r"step_ms comes at their end"),
        (
            {"max_concurrent": 0},
            {"cluster": {"num_workers": 1, "cpus_per_worker": 99, "gpus_per_worker": 0}},
            r"100 C",
        ),
        ({"max_concurrent": 0}, {"cluster": {"num_workers": 1}}, r"1 GPUs, the cluster has 6 and 0: lower"),
        (
            {"space": {"injection.vision_layers": [[2, 99]]}},
            {},
            r"space: injection\.vision_layers = \[2, 99\]: inj",
        ),
    ],
)
def test_a_sweep_that_cannot_work_says_so_before_it_starts(
    cluster: None, data: Path, tmp_path: Path, changes: dict[str, Any], base_changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        sweep(sweep_of(tmp_path, **changes), base_of(data, **base_changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_sweep_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT is Ctrl-C, SIGTERM what `ray job stop` sends; SIGUSR1 is what Ray Tune heeds while it runs."""
    before = {one: signal.getsignal(one) for one in (number, signal.SIGUSR1)}
    passed_on: list[int] = []
    runs = Folder(str(tmp_path))
    with pytest.raises(StoppedError, match=f"stopped by {number.name}"), stop_signals(runs) as received:
        signal.raise_signal(number)
    assert received == [number]
    runs.write(STOP, "of an earlier driver")
    with stop_signals(runs) as received:
        assert not runs.exists(STOP)
        signal.signal(signal.SIGUSR1, lambda which, frame: passed_on.append(which))
        signal.raise_signal(number)
        assert json.loads(runs.read(STOP) or "") == {"signal": number.name}
    assert (received, passed_on) == ([number], [signal.SIGUSR1])
    assert {one: signal.getsignal(one) for one in before} == before


def test_a_sweep_goes_on_from_the_newest_state_and_not_from_a_part_of_one(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert not has_begun(folder)
    folder.write("tune/tuner.pkl", "written before the first trial")
    assert not has_begun(folder)
    folder.write("tune/experiment_state-2026-01-02.json", '{"trial_data": []}')
    folder.write("tune/experiment_state-2026-01-01.json", '{"trial_da')
    assert has_begun(folder)
    folder.write("tune/experiment_state-2026-01-03.json", '{"trial_da')
    with pytest.raises(UserError, match=r"experiment_state-2026-01-03\.json, which says how far the sweep is, was cut"):
        has_begun(folder)


def test_a_trial_that_cannot_write_ends_the_sweep_in_order() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda which, frame: heard.append(which))  # which Ray Tune heeds
    try:
        for state in ("running", "failed", "halted"):
            Halt().on_trial_result(1, [], None, {"state": state})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_trials_share_the_index_of_their_sources(data: Path, tmp_path: Path) -> None:
    base = base_of(data, runs_dir=str(tmp_path))
    prepare_indices(Folder(str(tmp_path)), base)
    share_indices(base, base, RunFolder(str(tmp_path / "same")))
    assert sorted(path.name for path in (tmp_path / "same").iterdir()) == ["index.json", "validation-index.json"]
    assert (tmp_path / "same" / "index.json").read_text() == (tmp_path / "index.json").read_text()
    source = base.data.sources[0].model_copy(update={"weight": 0.5})
    half = base.model_copy(update={"data": base.data.model_copy(update={"sources": (source,)})})
    share_indices(base, half, RunFolder(str(tmp_path / "half")))
    assert sorted(path.name for path in (tmp_path / "half").iterdir()) == ["validation-index.json"]
