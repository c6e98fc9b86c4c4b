"""The whole of training on a real Ray cluster: stream, DeepSpeed, checkpoints, resume, export."""

import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from cli_ray.data.synthetic import Turn, synthesize, write_tar
from cli_ray.errors import RunFailedError, StoppedError, UserError
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train import trainer
from cli_ray.train.checkpoint.export import export
from cli_ray.train.checkpoint.files import complete_checkpoints
from cli_ray.train.health.heartbeat import Sign, find_pulse
from cli_ray.train.ledger_check import verification
from cli_ray.train.rank_table import SPREAD
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.trainer import check_resources, train
from cli_ray.watch.history import read_run
from tests.train.training import STEPS, begins_of, config_of, metrics_of, untimed


def test_no_sample_was_taken_twice_and_none_is_missing(trained_run: Path) -> None:
    found = verification(str(trained_run), None)
    assert found.is_right, found
    assert sum(count.trained for count in found.epochs) == 8 * STEPS


def test_metrics_say_what_a_run_did(trained_run: Path) -> None:
    lines = metrics_of(trained_run)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    # 40 samples are five steps of 8; the sixth begins the next epoch.
    assert [line["samples"] for line in lines] == [8, 16, 24, 32, 40, 48]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert {key for line in lines for key in line if key.startswith("loss/")} == {"loss/tar", "loss/parquet"}
    for key in ("tokens/s", "samples/s", "data_wait_ms", "step_ms", "peak_GiB", "grad_norm", "lr/amp", "lr/llm"):
        assert all(math.isfinite(line[key]) and line[key] >= 0 for line in lines), key
    for name in SPREAD:
        assert all(line[f"{name}/min"] <= line[f"{name}/median"] <= line[f"{name}/max"] for line in lines), name
        assert {line[f"{name}/rank"] for line in lines} <= {0, 1}, name
    tokens = [0, *(line["tokens"] for line in lines)]
    assert [line["real_tokens/min"] + line["real_tokens/max"] for line in lines] == [
        after - before for before, after in pairwise(tokens)
    ]
    assert all(line["padding_share"] == 0 and line["TFLOP/s"] > 0 for line in lines)
    assert all(line["packs"] % 2 == 0 for line in lines)  # as many on each rank
    assert torch.tensor(lines[0]["gate_max"]).shape == (2, 3)
    assert torch.tensor(lines[0]["gate_max"]).eq(0).all()
    assert torch.tensor(lines[-1]["gate_max"]).gt(0).all()
    assert [line["step"] for line in lines if "validation_loss" in line] == [3, 6]


def test_the_run_folder_holds_what_it_promises(trained_run: Path) -> None:
    names = {path.name for path in trained_run.iterdir()}
    assert {"config.json", "environment.json", "events.jsonl", "metrics.jsonl", "index.json", "checkpoints"} <= names
    lines = (trained_run / "events.jsonl").read_text().splitlines()
    # A slow machine may let a run wait for its workers, which is an event too.
    events = [event for line in lines if (event := json.loads(line)["event"]) != "waiting"]
    assert (events[:2], events.count("checkpoint"), events[-1]) == (["start", "begin"], 2, "end")
    assert json.loads((trained_run / "environment.json").read_text())["packages"]["torch"] == torch.__version__


def test_a_run_whose_rank_is_killed_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    trained_run: Path, training_data: Path, tmp_path: Path
) -> None:
    cluster = {"num_workers": 2, "gpus_per_worker": 0, "max_failures": 1}
    config = config_of(training_data, tmp_path, cluster=cluster, checkpoint={"every": 1, "keep_last": 2})
    second = tmp_path / "run/checkpoints/step-00000002/progress.json"
    with once_ranks_are_there(RunFolder(config.folder), lambda sign: os.kill(sign.pid, signal.SIGKILL), second):
        train(config)
    first, again = begins_of(tmp_path / "run")
    assert first is None
    assert str(again) >= "checkpoints/step-00000002"
    assert untimed(tmp_path / "run") == untimed(trained_run)


@pytest.mark.slow
def test_a_run_cut_after_a_checkpoint_goes_on_as_if_nothing_had_happened(
    trained_run: Path, training_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    half_written = tmp_path / "run/checkpoints/step-00000005"
    half_written.mkdir()
    (half_written / "rng-rank0.pt").write_bytes(b"cut")

    (tmp_path / "run/events.jsonl").unlink()  # it says that the run has ended

    train(config_of(training_data, tmp_path))

    assert untimed(tmp_path / "run") == untimed(trained_run)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers(trained_run: Path, training_data: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    (tmp_path / "run/events.jsonl").unlink()

    train(config_of(training_data, tmp_path, cluster={"num_workers": 1, "gpus_per_worker": 0, "max_failures": 0}))

    for found, expected in zip(untimed(tmp_path / "run"), untimed(trained_run), strict=True):
        assert (found["step"], found["samples"], found["tokens"]) == (
            expected["step"], expected["samples"], expected["tokens"],
        )  # fmt: skip
        assert found.keys() == expected.keys()
        for key in {"loss", "loss/tar", "loss/parquet", "grad_norm", "lr/amp", "validation_loss"} & expected.keys():
            assert found[key] == pytest.approx(expected[key], rel=1e-4), key
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert ["cluster.num_workers: 2 there, 1 now"] in [event.get("changed") for event in events]
    assert [event["checkpoint"] for event in events if event["event"] == "convert"] == ["checkpoints/step-00000003"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_run_that_is_stopped_by_a_signal_goes_on_as_if_nothing_had_happened(
    trained_run: Path, training_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    """SIGTERM is what `ray job stop` sends, SIGINT is Ctrl-C."""
    config = config_of(training_data, tmp_path)
    with signalled(number, RunFolder(config.folder)), pytest.raises(StoppedError) as stop:
        train(config)
    assert stop.value.exit_code == 128 + number
    step = len(metrics_of(tmp_path / "run"))
    assert step < STEPS
    assert f"stopped at step {step} after a checkpoint by {number.name}" in str(stop.value)
    assert complete_checkpoints(RunFolder(str(tmp_path / "run")))[-1].progress.step == step
    assert "stopping after a checkpoint; a second one ends at once" in capsys.readouterr().out
    train(config)
    assert untimed(tmp_path / "run") == untimed(trained_run)
    assert verification(str(tmp_path / "run"), None).is_right


@contextmanager
def signalled(number: signal.Signals, run: RunFolder) -> Iterator[None]:
    """Sends this process a signal as soon as the ranks of a run are there: a few seconds before its first step ends."""
    with once_ranks_are_there(run, lambda sign: os.kill(os.getpid(), number)):
        yield


@contextmanager
def once_ranks_are_there(run: RunFolder, act: Callable[[Sign], None], after: Path | None = None) -> Iterator[None]:
    """Within, `act` is called with the sign of rank 0 of a run, once a file is there too."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            with suppress(ValueError):  # the run has not begun
                if (after is None or after.exists()) and (seen := ray.get(find_pulse(run).look.remote())):
                    act(seen[0].sign)
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_finished_run_is_not_trained_again(trained_run: Path, training_data: Path) -> None:
    before = {path: path.read_bytes() for path in trained_run.rglob("*") if path.is_file()}
    assert train(config_of(training_data, trained_run.parent))["step"] == STEPS
    assert {path: path.read_bytes() for path in trained_run.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_an_ended_run_of_constant_rates_goes_on_longer(cluster: None, training_data: Path, tmp_path: Path) -> None:
    optim = {"warmup_share": 0, "min_lr_share": 1, "amp": {"lr": 1e-3}, "agf": {"lr": 1e-3}, "llm": {"lr": 1e-3}}
    config = config_of(training_data, tmp_path, optim=optim)
    short = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": 3})})
    assert [train(run)["step"] for run in (short, config)] == [3, STEPS]
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == list(range(1, STEPS + 1))
    assert {line["lr/llm"] for line in metrics_of(tmp_path / "run")} == {1e-3}
    assert begins_of(tmp_path / "run") == [None, "checkpoints/step-00000003"]
    assert verification(str(tmp_path / "run"), None).is_right


def test_another_config_under_the_same_name_is_refused(trained_run: Path, training_data: Path) -> None:
    with pytest.raises(UserError, match="seed: 0 there, 1 now"):
        train(config_of(training_data, trained_run.parent, seed=1))


def test_another_config_is_refused_before_a_cluster_is_joined(
    training_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "connect", lambda cpus: pytest.fail("it joins a cluster"))
    begun = config_of(training_data, tmp_path)
    RunFolder(begun.folder).claim(begun)
    with pytest.raises(UserError, match="seed: 0 there, 1 now"):
        train(config_of(training_data, tmp_path, seed=1))


def test_export_loads_as_an_auto_class_and_gives_the_trained_weights(trained_run: Path, tmp_path: Path) -> None:
    newest = export(str(trained_run), tmp_path / "model", None, best=False, keep_lora=False)
    assert newest == "checkpoints/step-00000006"
    export(str(trained_run), tmp_path / "earlier", 3, best=False, keep_lora=False)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    earlier = AutoModelForImageTextToText.from_pretrained(tmp_path / "earlier")
    changed = [
        name
        for (name, new), (_, old) in zip(model.named_parameters(), earlier.named_parameters(), strict=True)
        if not torch.equal(new, old)
    ]
    assert {"model.amp.up", "model.agf.context_gate", "lm_head.weight"} <= set(changed)
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    assert processor.chat_template
    with pytest.raises(UserError, match="is not empty"):
        export(str(trained_run), tmp_path / "model", None, best=False, keep_lora=False)
    with pytest.raises(UserError, match=r"no checkpoint of step 4, only of \[3, 6\]"):
        export(str(trained_run), tmp_path / "x", 4, best=False, keep_lora=False)


@pytest.mark.slow
def test_too_many_bad_samples_stop_the_run_and_are_named(cluster: None, training_data: Path, tmp_path: Path) -> None:
    shutil.copytree(training_data / "tar", tmp_path / "tar")
    first = sorted((tmp_path / "tar").iterdir())[0]
    first.write_bytes(first.read_bytes().replace(b"\x89PNG", b"\x00PNG"))
    sources = [{"path": str(tmp_path / "tar"), "name": "tar"}]
    config = config_of(
        training_data, tmp_path, data={"sources": sources, "max_length": 256}, validation={}, checkpoint={}
    )
    with pytest.raises(RunFailedError, match=r"samples are bad so far, data\.max_bad_share = 1\.00% allows 0 of the "):
        train(config)
    lines = [
        json.loads(line) for path in (tmp_path / "run/quarantine").iterdir() for line in path.read_text().splitlines()
    ]
    assert 0 < len(lines) <= 12
    assert {line["source"] for line in lines} == {"tar"}


@pytest.mark.slow
def test_a_run_whose_data_is_refused_says_so_in_its_events(cluster: None, training_data: Path, tmp_path: Path) -> None:
    data = {"sources": [{"path": str(training_data / "nowhere")}], "max_length": 256}
    with pytest.raises(UserError, match="nowhere: no such file") as refusal:
        train(config_of(training_data, tmp_path, data=data))
    assert read_run(str(tmp_path / "run")).state.reason == str(refusal.value)


@pytest.mark.long
def test_a_fault_that_comes_again_is_not_tried_for_ever_and_names_its_samples(
    cluster: None, training_data: Path, tmp_path: Path
) -> None:
    """A token beyond the embeddings, in one sample."""
    build_tiny("llava").save_pretrained(tmp_path / "model")
    processor = tiny_processor("llava")
    processor.tokenizer.add_tokens(["<beyond>"])
    processor.save_pretrained(tmp_path / "model")
    samples = synthesize(40, seed=1, split="train")
    samples[25] = replace(samples[25], turns=(Turn("whole", "what <beyond> is it?", "this"),))
    write_tar(samples, tmp_path / "tar", shard_size=40)
    sources = {"sources": [{"path": str(tmp_path / "tar")}], "max_length": 256}
    workers = {"num_workers": 2, "gpus_per_worker": 0, "max_failures": 9}
    changes = {"data": sources, "model": {"checkpoint": str(tmp_path / "model")}, "cluster": workers, "validation": {}}
    with pytest.raises(RunFailedError, match="2 times in the same way: IndexError: index out of range") as failed:
        train(config_of(training_data, tmp_path, **changes, checkpoint={"every": 2}))
    assert "shard-00000.tar#25:train-1-000025" in str(failed.value)
    events = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("begin") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"injection": {"vision_layers": [99]}},
            r"injection\.vision_layers: \[99\] must be distinct indices in 1\.\.5",
        ),
        ({"model": {"checkpoint": "absent/model"}}, "absent/model"),
        ({"data": {"sources": [{"path": "x"}], "max_length": 16}}, "no room for a single image"),
    ],
)
def test_what_cannot_work_is_said_before_a_worker_starts(
    training_data: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config_of(training_data, tmp_path, **changes))
    assert not (tmp_path / "run").exists()


def test_a_job_must_not_keep_its_run_in_the_working_directory(
    training_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(UserError, match="--runs-dir runs is relative"):
        train(config_of(training_data, Path("runs")))


def test_asking_for_more_than_the_cluster_has_is_an_error(cluster: None, training_data: Path, tmp_path: Path) -> None:
    cluster_config = config_of(training_data, tmp_path).cluster
    with pytest.raises(UserError, match=r"asks for 8 GPUs, the cluster has 0"):
        check_resources(cluster_config.model_copy(update={"num_workers": 8, "gpus_per_worker": 1}))
    check_resources(cluster_config.model_copy(update={"num_workers": (1, 2), "cpus_per_worker": 2}))
    with pytest.raises(UserError, match=r"1 x 4 CPU, and 1 CPU for the stream, each on one node, and the nodes have"):
        check_resources(cluster_config.model_copy(update={"num_workers": (1, 8), "cpus_per_worker": 4}))
    with pytest.raises(UserError, match=r"cpus_per_worker asks for 6 CPUs and the stream for at least one more"):
        check_resources(cluster_config.model_copy(update={"num_workers": (1, 8)}))
    with pytest.raises(UserError, match=r"cpus_per_worker asks for 8 CPUs"):
        check_resources(cluster_config.model_copy(update={"num_workers": (2, 8), "cpus_per_worker": 4}))
    with pytest.raises(UserError, match=r"cpus_per_worker asks for 64 CPUs"):
        check_resources(cluster_config.model_copy(update={"num_workers": 64}))
