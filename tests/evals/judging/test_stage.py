"""`cli-ray judge` on stored replies: what is read, what is asked again, how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig
from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Benchmark, Profile
from cli_ray.evals.items.sources import locate
from cli_ray.evals.items.survey import scan
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.scorer import ItemSet, Scorer
from cli_ray.evals.results.table import read_results
from cli_ray.evals.suite import benchmark, chosen
from tests.evals.endpoint.chat_server import ChatServer, serving
from tests.evals.items.hub_cache import png, write_jsonl
from tests.evals.own.pictures import made_of, write_tsv

IN_PYTHON = """
from cli_ray.evals.benchmark import Benchmark, Graded, Judge, Source
from cli_ray.evals.scoring.means import accuracy
BENCHMARK = Benchmark(
    name="dogs", title="Dogs", source=Source((), "test"), data="colours.tsv", count=None, columns=("index",),
    sample_id=lambda doc, row: doc["index"], prompt=lambda doc: "What is it?", max_new_tokens=8,
    score=lambda doc, reply: Graded(0.0, reply, "none"), aggregate=accuracy, headline="accuracy", linear=True,
    judge=Judge(
        prompt=lambda doc, reply: ({"role": "user", "content": reply},),
        read=lambda doc, reply, answer: Graded(float(answer == "yes"), reply, "judge"), max_tokens=8,
    ),
)
"""


def evaluated(
    folder: Path,
    name: str,
    profile: Profile = "lmms-eval/0.7.3",
    own: Benchmark | None = None,
    data_root: str = "",
) -> str:
    """The output of an evaluation whose model sees a dog in every item; of the bundled ones if it is none's own and
    there is no data root."""
    miniature = own is None and not data_root
    config = EvaluationConfig(
        model="m", output=str(folder), benchmarks=(name,), data_root=data_root, miniature=miniature, profile=profile
    )
    location = locate(own or benchmark(name), data_root, miniature)
    scorer = Scorer(config, "hash", {name: location})
    (part,) = location.parts
    entries = scan(location, part, "greedy", "hash")
    ItemSet.of(config, location, "greedy", entries).write(scorer.output.folder)
    known: dict[str, Any] = {
        "prompt_hash": "p",
        "image_hash": "i",
        "decoding": "greedy",
        "model": "hash",
        "finish": "stop",
    }
    scorer.store.append(
        [
            ReplyRecord(key=one.key, benchmark=name, sample_id=one.id, reply=f"A dog, {one.id}.", **known)
            for one in entries
        ]
    )
    scorer.score(name)
    return str(folder)


def judged(folder: str, server: ChatServer, *words: str) -> int:
    """The exit code of `cli-ray judge`."""
    endpoint = ["--judge.model", "grader", "--judge.base-url", server.url, "--judge.attempts", "1"]
    return main(["judge", folder, *endpoint, *words])


@pytest.mark.parametrize("answer", [None, "I would rather not say.", "<think>0.5</think>"])
@pytest.mark.parametrize("name", ["mm-vet", "llava-wild", "mathverse-testmini"])
def test_a_judge_that_nobody_can_read_ends_in_an_error_with_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, answer: str | None
) -> None:
    folder = evaluated(tmp_path, name)
    items = len(miniature.docs(name))
    with serving(lambda body, number: (200, answer, {})) as server:
        for calls in (1, 2):
            assert judged(folder, server) == 1
            assert len(server.bodies) == calls * items
    error = capsys.readouterr().err
    assert "judge.model = 'grader' gave no answer that can be read" in error
    assert f"it said {repr(answer) if answer else 'nothing'} about {name}/" in error
    assert f"{folder}/judge/verdicts.jsonl has all that it said" in error
    (row,) = read_results(folder).rows
    assert (row.value, row.unjudged) == (None, items)


def test_some_that_cannot_be_read_are_reported_and_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluated(tmp_path, "mm-vet")
    with serving(lambda body, number: (200, "well" if number == 0 else "0.5", {})) as server:
        assert judged(folder, server) == 0
        out = capsys.readouterr().out
        assert "judge grader: 4 asked: 3 answered, 1 in a way that cannot be read" in out
        assert "Of 1 answers that cannot be read, one: it said 'well' about mm-vet/" in out
        assert judged(folder, server) == 0
        assert len(server.bodies) == 4 + 1
    assert "judge grader: 1 asked: 1 answered; 3 known before" in capsys.readouterr().out
    (row,) = read_results(folder).rows
    assert (row.value, row.unjudged, row.judge_decoding) == (50.0, 0, "temperature 0")
    assert "Judge of MM-Vet: grader (prompt " in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(("profile", "value"), [("lmms-eval/0.7.3", 800.0), ("strict", 75.0)])
def test_labelled_points_are_read_strictly_and_flagged_where_upstream_reads_labels(
    tmp_path: Path, profile: Profile, value: float
) -> None:
    folder = evaluated(tmp_path, "llava-wild", profile)
    with serving(lambda body, number: (200, "Assistant 1: 8, Assistant 2: 6", {})) as server:
        assert judged(folder, server) == 0
    (row,) = read_results(folder).rows
    assert row.value == pytest.approx(value)
    assert row.doubtful == (value > 200)
    assert ("800.00 is beyond what replies can earn" in (tmp_path / "table.md").read_text()) == row.doubtful


def test_a_part_of_a_set_is_judged_as_it_was_evaluated(tmp_path: Path) -> None:
    rows = [{**doc, "image": "a.png"} for doc in miniature.docs("mm-vet")]
    write_jsonl(tmp_path / "data/mm-vet/test.jsonl", rows)
    (tmp_path / "data/mm-vet/a.png").write_bytes(png())
    folder = evaluated(tmp_path / "out", "mm-vet", data_root=str(tmp_path / "data"))
    with serving(lambda body, number: (200, "1", {})) as server:
        assert judged(folder, server) == 0
    (row,) = read_results(folder).rows
    assert (row.value, row.n, row.official) == (100, len(rows), 218)


def test_the_decoding_of_an_endpoint_that_takes_no_temperature_is_in_the_table(tmp_path: Path) -> None:
    def own(body: dict[str, Any], number: int) -> Any:
        return (400, "temperature is not supported", {}) if "temperature" in body else (200, "1", {})

    folder = evaluated(tmp_path, "mm-vet")
    with serving(own) as server:
        assert judged(folder, server) == 0
    assert ", default temperature)." in (tmp_path / "table.md").read_text()
    lines = (tmp_path / "judge" / "verdicts.jsonl").read_text().splitlines()
    assert {tuple(json.loads(line)["decoding"]) for line in lines} == {("max_tokens",)}


def test_an_own_benchmark_is_judged_by_the_definition_in_its_output(tmp_path: Path) -> None:
    write_tsv(tmp_path)
    prompt = {"prompt": "Is {reply} as right as {answer}? From 0 to 10.", "points": 10}
    own = made_of(tmp_path, scorer="judge", judge=prompt, columns={"id": "index"}, prompt="{question}")
    folder = evaluated(tmp_path / "out", "colours", own=own)
    assert read_results(folder).rows[0].unjudged == 6
    with serving(lambda body, number: (200, "7, for it is a dog.", {})) as server:
        assert judged(folder, server) == 0
    (row,) = read_results(folder).rows
    assert row.value == pytest.approx(70)
    assert (row.unjudged, row.judge) == (0, "grader")
    asked = {body["messages"][0]["content"] for body in server.bodies}
    assert "Is A dog, 100. as right as A? From 0 to 10." in asked


def test_one_in_python_is_judged_by_the_file_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tsv(tmp_path)
    (tmp_path / "mine.py").write_text(IN_PYTHON)
    folder = evaluated(tmp_path / "out", "dogs", own=chosen("", files=[str(tmp_path / "mine.py")])[0])
    with serving(lambda body, number: (200, "yes", {})) as server:
        assert judged(folder, server) == 1
        assert "dogs in" in (said := capsys.readouterr().err)
        assert "was defined in Python" in said
        assert judged(folder, server, "--benchmark-file", str(tmp_path / "mine.py")) == 0
    assert read_results(folder).rows[0].value == 100
