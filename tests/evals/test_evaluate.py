"""Whole evaluations on a real Ray cluster: resumed, disturbed, judged, refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
import ray

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig, JudgeConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Metrics
from cli_ray.evals.records import ReplyRecord, Store
from cli_ray.evals.results.injections import read_injections
from cli_ray.evals.results.samples import read_columns
from cli_ray.evals.results.table import read_results
from cli_ray.evals.run import evaluate, judge
from cli_ray.evals.suite import BENCHMARKS
from cli_ray.model.tiny import build_tiny
from cli_ray.storage.folder import Folder
from tests.evals.endpoint.chat_server import serving
from tests.evals.generation.charts import REPLICA, row, save_model, write_rows
from tests.inference.foreign_models import save_foreign
from tests.model.batches import cli_model

NAMES = ("chartqa", "gqa", "mm-vet", "pope")
SCORED = ("sample_id", "key", "reply", "finish", "error", "parsed", "rule", "score", "state", "unit", "cluster")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny LLaVA whose replies end soon: every other token of its vocabulary is an end."""
    folder = tmp_path_factory.mktemp("model")
    tiny = build_tiny("llava")
    path = save_model(folder, "llava", tiny)
    config = folder / "generation_config.json"
    ends = ", ".join(str(token) for token in range(0, tiny.config.text_config.vocab_size, 4))
    config.write_text(re.sub(r'"eos_token_id": \d+', f'"eos_token_id": [{ends}]', config.read_text()))
    return path


def config_of(model: str, output: Path, **changes: object) -> EvaluationConfig:
    replica = REPLICA.model_copy(update={"count": 1})  # each loads torch and transformers
    values = {"benchmarks": NAMES, "miniature": True, "replica": replica}
    return EvaluationConfig.model_validate({"model": model, "output": str(output), **values, **changes})


@pytest.fixture(scope="module")
def done(cluster: None, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an evaluation that nothing disturbed."""
    output = tmp_path_factory.mktemp("done")
    evaluate(config_of(model, output, replica=REPLICA.model_copy(update={"count": 2})))
    return output


def scored(output: Path, name: str) -> list[dict[str, object]]:
    return list(read_columns(f"{output}/samples/{name}.parquet", SCORED))


def assert_equal_but_for_attempts(one: Path, other: Path) -> None:
    assert read_results(str(one)).rows == read_results(str(other)).rows
    for name in NAMES:
        assert scored(one, name) == scored(other, name)


def kill_driver(model: str, output: Path) -> set[str]:
    """Kills an evaluation as soon as it has stored a reply; the keys of those that are stored."""
    arguments = ["--model", model, "--output", str(output), "--miniature", "--benchmarks", ",".join(NAMES)]
    replica = ["--replica.gpus", "0", "--replica.dtype", "fp32", "--replica.count", "1", "--replica.batch-size", "1"]
    command = [sys.executable, "-m", "cli_ray", "eval", *arguments, *replica]
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": address}, stdout=subprocess.DEVNULL)
    while not any(Store(str(output)).keys(name) for name in NAMES):
        assert driver.poll() is None, "the evaluation ended before it could be killed"
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    return {key for name in NAMES for key in Store(str(output)).keys(name)}


def test_an_evaluation_leaves_what_it_promises(done: Path) -> None:
    rows = {row.benchmark: row for row in read_results(str(done)).rows}
    assert {name: row.n_scored for name, row in rows.items()} == {"chartqa": 6, "gqa": 5, "mm-vet": 0, "pope": 6}
    assert all(row.complete for row in rows.values())
    assert (rows["mm-vet"].value, rows["mm-vet"].unjudged) == (None, 4)
    assert rows["mm-vet"].stand_in is not None
    assert "unjudged" in (done / "table.md").read_text()
    samples = pq.read_table(done / "samples/gqa.parquet").to_pylist()
    assert len({sample["sample_id"] for sample in samples}) == 5
    # Items on one image share a cluster.
    assert len({sample["cluster"] for sample in samples}) == len({sample["image_hash"] for sample in samples}) < 5


def test_the_same_command_again_generates_nothing(done: Path, model: str, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "again")
    files = sorted((tmp_path / "again/records").rglob("*.jsonl"))
    evaluate(config_of(model, tmp_path / "again"))
    assert sorted((tmp_path / "again/records").rglob("*.jsonl")) == files
    assert_equal_but_for_attempts(done, tmp_path / "again")


@pytest.mark.slow
def test_records_that_were_lost_are_made_again(done: Path, model: str, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "torn")
    for number, file in enumerate(sorted((tmp_path / "torn/records").rglob("*.jsonl"))):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[: number % 3]) + lines[number % 3][:40])  # cut in the middle of a line
    replica = REPLICA.model_copy(update={"count": 1, "batch_size": 1})
    evaluate(config_of(model, tmp_path / "torn", replica=replica))
    assert_equal_but_for_attempts(done, tmp_path / "torn")


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_that_was_finished(done: Path, model: str, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    finished = kill_driver(model, output)

    evaluate(config_of(model, output))

    assert_equal_but_for_attempts(done, output)
    made = [record for name in NAMES for record in _all_records(output / "records" / name)]
    assert len(made) == 21
    assert len({record.key for record in made}) == 21
    assert finished <= {record.key for record in made}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "idefics3", "internvl", "gemma3", "paligemma"])
def test_a_model_of_another_family_is_killed_resumed_and_compared(done: Path, family: str, tmp_path: Path) -> None:
    other, output, undisturbed = save_foreign(tmp_path / "model", family), tmp_path / "killed", tmp_path / "whole"
    finished = kill_driver(other, output)
    evaluate(config_of(other, output))
    evaluate(config_of(other, undisturbed))
    assert_equal_but_for_attempts(undisturbed, output)
    made = [record.key for name in NAMES for record in _all_records(output / "records" / name)]
    assert len(made) == len(set(made)) == 21
    assert finished <= {*made}
    assert main(["compare", str(done), str(output)]) == 0
    page = tmp_path / "report.html"
    assert main(["report", str(done), str(output), "--output", str(page)]) == 0
    assert str(other) in page.read_text() or output.name in page.read_text()


def _all_records(folder: Path) -> list[ReplyRecord]:
    """Every whole line, also of a key that is there twice."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [ReplyRecord.model_validate_json(line) for line in lines if line.endswith("}")]


@pytest.mark.slow
def test_the_prompts_of_vlmevalkit_are_asked(done: Path, model: str, tmp_path: Path) -> None:
    names = ("pope", "mmstar", "mmmu-val")
    changes = {"prompts": "vlmevalkit", "benchmarks": names}
    with pytest.raises(UserError, match="other prompts than those of vlmevalkit"):
        evaluate(config_of(model, done, **changes))
    evaluate(config_of(model, tmp_path, **changes))
    rows = read_results(str(tmp_path)).rows
    assert {row.benchmark: (row.n_scored, row.complete) for row in rows} == {
        "pope": (6, True), "mmstar": (4, True), "mmmu-val": (5, True),
    }  # fmt: skip
    assert "Prompts: vlmevalkit." in (tmp_path / "table.md").read_text()
    for name in names:
        records = _all_records(tmp_path / "records" / name)
        assert {(record.prompts, record.decoding.split(", ")[1]) for record in records} == {
            ("vlmevalkit", "2048 tokens")
        }
    asked = [row["prompt"] for row in read_columns(f"{tmp_path}/samples/mmmu-val.parquet", ("prompt",))]
    assert "Question: Compare <image> with <image>. What do they share?\nOptions:" in asked[2]


def test_a_judge_can_come_later(done: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(done, tmp_path / "judged")
    with serving(lambda body, number: (200, "0.5", {})) as server:
        config = JudgeConfig(model="made-up", base_url=server.url)
        output = judge(str(tmp_path / "judged"), config)
        assert len(server.bodies) == 4
        judge(str(tmp_path / "judged"), config)
        assert len(server.bodies) == 4
    row = next(row for row in output.rows if row.benchmark == "mm-vet")
    assert (row.value, row.n_scored, row.judge) == (50.0, 4, "made-up")
    # What was judged stays so, whatever is evaluated into the folder later.
    evaluate(config_of(model, tmp_path / "judged", benchmarks=("pope",)))
    assert evaluate(config_of(model, tmp_path / "judged")).row("mm-vet") == row
    with serving(lambda body, number: (200, "1.0", {})) as server:
        again = judge(str(tmp_path / "judged"), JudgeConfig(model="another", base_url=server.url)).row("mm-vet")
    assert again
    assert (again.value, again.judge) == (100.0, "another")
    assert [other for other in output.rows if other.benchmark != "mm-vet"] == [
        other for other in read_results(str(done)).rows if other.benchmark != "mm-vet"
    ]
    assert "Judge of MM-Vet: another" in output.table()


@pytest.mark.parametrize(
    ("answer", "rule"), [((500, "broken", {}), "judge failed"), ((200, "no idea", {}), "judge answered nonsense")]
)
def test_a_judge_that_fails_scores_nothing(
    done: Path, tmp_path: Path, answer: tuple[int, str, dict[str, str]], rule: str
) -> None:
    shutil.copytree(done, tmp_path / "judged")
    with serving(lambda body, number: answer) as server:
        config = JudgeConfig(model="made-up", base_url=server.url, attempts=1)
        with pytest.raises(UserError, match=r"judge.model = 'made-up' gave no answer that can be read"):
            judge(str(tmp_path / "judged"), config)
    row = next(row for row in read_results(str(tmp_path / "judged")).rows if row.benchmark == "mm-vet")
    assert (row.value, row.n_scored, row.unjudged) == (None, 0, 4)
    assert {(one["score"], one["rule"], one["state"]) for one in scored(tmp_path / "judged", "mm-vet")} == {
        (None, rule, "unjudged")
    }


@pytest.mark.slow
def test_nothing_is_judged_without_a_judge_or_a_need(done: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no judge is named: set --judge.model"):
        judge(str(done), JudgeConfig())
    evaluate(config_of(model, tmp_path, benchmarks=("pope",)))
    with pytest.raises(UserError, match="has nothing to judge"):
        judge(str(tmp_path), JudgeConfig(model="made-up"))


@pytest.mark.slow
def test_bad_images_are_errors_of_their_samples(
    cluster: None, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(seed) for seed in range(4)]
    rows[1]["image"] = [{"bytes": rows[1]["image"][0]["bytes"][:60], "path": None}]
    rows[2]["image"] = []
    write_rows(tmp_path / "data", rows)
    monkeypatch.setitem(BENCHMARKS, "chartqa", replace(BENCHMARKS["chartqa"], count=4))
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    config = config_of(model, tmp_path / "out", **source)

    (found,) = evaluate(config).rows

    assert (found.n, found.n_scored, found.errors, found.complete) == (4, 2, 2, False)
    states = [(one["state"], one["score"]) for one in scored(tmp_path / "out", "chartqa")]
    assert sorted(states[1:3]) == [("error", None), ("error", None)]
    assert "incomplete" in (tmp_path / "out/table.md").read_text()
    reasons = [one["error"] for one in scored(tmp_path / "out", "chartqa")]
    assert "broken image" in str(reasons[1])
    assert "missing image" in str(reasons[2])

    # The images are mended; errors are tried again when asked for.
    shutil.rmtree(tmp_path / "data")
    write_rows(tmp_path / "data", [row(seed) for seed in range(4)])
    (mended,) = evaluate(config.model_copy(update={"retry_errors": True})).rows
    assert (mended.n_scored, mended.errors, mended.complete) == (4, 0, True)


@pytest.mark.slow
def test_scores_are_of_the_present_items_whatever_was_answered_before(
    cluster: None, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BENCHMARKS, "chartqa", replace(BENCHMARKS["chartqa"], count=3))
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    config = config_of(model, tmp_path / "out", **source)
    first, other = ([row(seed) for seed in seeds] for seeds in ((0, 1, 2), (0, 5, 2)))
    gone = [*first[:1], first[1] | {"image": []}, *first[2:]]

    def outcome(rows: list[dict[str, Any]]) -> list[tuple[object, ...]]:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        write_rows(tmp_path / "data", rows)
        evaluate(config)
        found = read_columns(f"{tmp_path}/out/samples/chartqa.parquet", ("image_hash", "reply", "state"))
        return [tuple(one.values()) for one in found]

    at_first = outcome(first)
    assert [state for *_, state in outcome(gone)] == [at_first[0][2], "error", at_first[2][2]]
    assert outcome(first) == at_first
    assert outcome(other) != at_first
    assert outcome(first) == at_first


@pytest.mark.slow
def test_a_document_that_cannot_be_scored_is_an_error_of_its_own(
    cluster: None, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shouted(doc: Mapping[str, Any]) -> str:
        return str(doc["question"].upper())

    rows = [row(seed) for seed in range(3)]
    rows[0]["question"], rows[1]["answer"] = None, None
    write_rows(tmp_path / "data", rows)
    monkeypatch.setitem(BENCHMARKS, "chartqa", replace(BENCHMARKS["chartqa"], count=3, prompt=shouted))
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    (found,) = evaluate(config_of(model, tmp_path / "out", **source)).rows
    assert (found.n, found.n_scored, found.errors) == (3, 1, 2)
    samples = scored(tmp_path / "out", "chartqa")
    assert "prompt: AttributeError" in str(samples[0]["error"])
    assert "the document cannot be scored: AttributeError" in str(samples[1]["rule"])


def test_a_benchmark_that_cannot_be_scored_is_reported_and_the_others_are(
    done: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(samples: object) -> Metrics:
        raise ArithmeticError("no such mean")

    shutil.copytree(done, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/rows")
    monkeypatch.setitem(BENCHMARKS, "chartqa", replace(BENCHMARKS["chartqa"], aggregate=fail))
    with pytest.raises(UserError, match=r"could not be scored:\nchartqa: ArithmeticError: no such mean"):
        evaluate(config_of(model, tmp_path / "out"))
    assert "chartqa could not be scored: no such mean" in capsys.readouterr().out
    assert {row.benchmark for row in read_results(str(tmp_path / "out")).rows} == set(NAMES) - {"chartqa"}


def test_a_wrong_count_is_said_before_the_model_is_looked_at(tmp_path: Path) -> None:
    write_rows(tmp_path / "data", [row(seed) for seed in range(4)])
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    with pytest.raises(UserError, match=r"chartqa: expected 2,500 items, found 4"):
        evaluate(config_of("absent", tmp_path / "out", **source))
    assert not (tmp_path / "out").exists()


def test_items_that_cannot_be_told_apart_are_refused(
    cluster: None, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "data", [row(seed) for seed in range(3)])
    twice = replace(BENCHMARKS["chartqa"], count=3, sample_id=lambda doc, number: "x" if number else "y")
    monkeypatch.setitem(BENCHMARKS, "chartqa", twice)
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    with pytest.raises(UserError, match="chartqa: rows 1 and 2 have the same id 'x'"):
        evaluate(config_of(model, tmp_path / "out", **source))


@pytest.mark.slow
def test_hidden_splits_leave_the_files_of_their_servers(cluster: None, model: str, tmp_path: Path) -> None:
    rows = evaluate(config_of(model, tmp_path, benchmarks=("docvqa-test", "mmbench-en-test"))).rows
    assert {row.benchmark: (row.value, row.complete) for row in rows} == dict.fromkeys(
        ("docvqa-test", "mmbench-en-test"), (None, True)
    )
    (answers,) = (tmp_path / "submissions/docvqa-test").iterdir()
    replies = {one["sample_id"]: one["parsed"] for one in scored(tmp_path, "docvqa-test")}
    assert {str(one["questionId"]): one["answer"] for one in json.loads(answers.read_text())} == replies
    (sheet,) = (tmp_path / "submissions/mmbench-en-test").iterdir()
    header, *lines = openpyxl.load_workbook(sheet).worksheets[0].iter_rows(values_only=True)
    assert header[-1] == "prediction"
    assert len(lines) == len(scored(tmp_path, "mmbench-en-test"))


@pytest.mark.slow
def test_gates_are_recorded_beside_the_replies_and_change_none(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_model(tmp_path / "cli", "llava_onevision", cli_model("llava_onevision"))
    plain, gates = tmp_path / "plain", tmp_path / "gates"
    evaluate(config_of(path, plain, benchmarks=("chartqa",)))
    evaluate(config_of(path, gates, benchmarks=("chartqa",), gates=True))
    assert scored(plain, "chartqa") == scored(gates, "chartqa")
    found = dict(read_injections(Folder(str(gates)), "chartqa"))
    assert found.keys() == {row["sample_id"] for row in scored(gates, "chartqa")}
    assert all(one.heat and len(one.share) == 3 for one in found.values())
    evaluate(config_of(path, gates, benchmarks=("chartqa",), gates=True))
    assert dict(read_injections(Folder(str(gates)), "chartqa")) == found
    evaluate(config_of(path, plain, benchmarks=("chartqa",), gates=True))
    assert "chartqa: gates are recorded of 0 of 6 samples" in capsys.readouterr().out


def test_gates_of_a_model_without_injection_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="injects nothing into its decoder: leave --gates out"):
        evaluate(config_of(model, tmp_path, gates=True))


def test_samples_say_what_was_asked(done: Path) -> None:
    rows = pq.read_table(done / "samples/gqa.parquet").to_pylist()
    assert {row["images"][0] for row in rows} == {f"miniature#id={row['cluster']}&column=image" for row in rows}
    assert all(row["question"] in row["prompt"] and row["gold"] and row["thumbnail"] for row in rows)


def test_another_model_is_refused(done: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", "llava", build_tiny("llava", seed=1))
    with pytest.raises(UserError, match=r"holds the evaluation of .*: name another --output"):
        evaluate(config_of(other, done))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "M", "--miniature"], "model = 'M' is neither a folder nor a model"),
        (["--model", "M", "--benchmarks", "pop"], "there is no benchmark 'pop'; did you mean pope"),
        (["--model", "M", "--suite", "paper17"], "there is no suite 'paper17', only paper18"),
        (["--model", "M", "--data-root", "/absent"], "no folder /absent/"),
        (["--check", "--data-root", "/absent", "--suite", "llava15"], "12 of 12 benchmarks are not as they should be"),
        ([], "name a model: cli-ray eval --model DIR_OR_RUN"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 1
    assert message in capsys.readouterr().err
