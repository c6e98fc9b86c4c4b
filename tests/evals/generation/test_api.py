"""Models behind an endpoint, asked through `evaluate`: what is asked, stored and told, and what is never written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals import miniature
from cli_ray.evals.generation import api
from cli_ray.evals.generation.messages import data_urls
from cli_ray.evals.items.sources import locate
from cli_ray.evals.items.survey import scan
from cli_ray.evals.results.compare import compare
from cli_ray.evals.results.output import Output
from cli_ray.evals.results.samples import read_columns
from cli_ray.evals.results.scorer import ItemSet, Scorer
from cli_ray.evals.results.table import read_results
from cli_ray.evals.run import evaluate
from cli_ray.evals.suite import BENCHMARKS, benchmark
from cli_ray.watch.results import read_results as watched
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.generation.charts import png, row, write_rows
from tests.evals.generation.seer import ITEMS, KEY, NAMES, asked_once, completion, config_of, records_of, seer

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Output]:
    """The output of an evaluation through an endpoint that wants a key."""
    with pytest.MonkeyPatch.context() as patch, serving(seer) as server:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv(api.KEY_VARIABLE, KEY)
        yield evaluate(config_of(server, tmp_path_factory.mktemp("done"), endpoint={"price_prompt": 2.5}), live=False)
        assert set(server.keys) == {f"Bearer {KEY}"}
        assert len(server.bodies) == ITEMS


def test_replies_score_as_those_of_a_model_in_a_folder(done: Output, tmp_path: Path) -> None:
    """The same replies, stored as a replica's."""
    config = EvaluationConfig(model="folder", output=str(tmp_path), benchmarks=NAMES, miniature=True)
    locations = {name: locate(benchmark(name), "", miniature=True) for name in NAMES}
    scorer = Scorer(config, "hash", locations)
    for name, location in locations.items():
        entries = scan(location, location.parts[0], "greedy", "hash")
        ItemSet.of(config, location, "greedy", entries).write(scorer.output.folder)
        replies = {record.sample_id: record for record in records_of(Path(done.folder.path), name)}
        scorer.store.append(
            [
                replies[one.id].model_copy(update={"key": one.key, "decoding": "greedy", "served": None})
                for one in entries
            ]
        )
        scorer.score(name)
    own = {"decoding", "service"}
    assert [row.model_dump(exclude=own) for row in done.rows] == [
        row.model_dump(exclude=own) for row in scorer.output.rows
    ]
    assert all(row.complete and row.n_scored == row.n for row in done.rows)
    assert {one.difference for one in compare(done.folder.uri, str(tmp_path)).contrasts} == {0.0}


def test_the_table_says_which_model_in_which_state_at_what_price(done: Output) -> None:
    (served,) = {record.served for record in records_of(Path(done.folder.path), "pope")}
    assert served is not None
    assert (served.model, served.fingerprint, served.cached_tokens, served.reasoning_tokens) == (
        "seer-2026-11-20", "fp_1", 10, 1,
    )  # fmt: skip
    tokens = f"{100 * ITEMS:,} tokens of prompts ({10 * ITEMS} cached), {3 * ITEMS} of replies ({ITEMS} reasoning)"
    table = done.table()
    assert "- Decoding: temperature 0, API." in table
    assert f", state of {served.date}; it calls itself seer-2026-11-20. Whoever serves it may change it." in table
    assert f"- Used: {tokens}; {2.5e-4 * ITEMS:.4f} at the prices given." in table


def test_watching_and_samples_know_it(done: Output) -> None:
    history = watched(done.folder.uri)
    assert (history.model, history.state, history.done) == ("openai:seer", "ended", ITEMS)
    (first, *_) = read_columns(f"{done.folder.path}/samples/pope.parquet")
    assert (first["prompt_tokens"], first["reply_tokens"]) == (100, 3)
    assert "<image>" not in first["prompt"]


def test_its_replies_can_be_judged(tmp_path: Path) -> None:
    with serving(seer) as server, serving(lambda body, number: (200, "0.5", {})) as grader:
        evaluate(config_of(server, tmp_path, benchmarks=("mm-vet",)), live=False)
        assert main(["judge", str(tmp_path), "--judge.model", "grader", "--judge.base-url", grader.url]) == 0
        assert (len(server.bodies), len(grader.bodies)) == (4, 4)
    (row,) = read_results(str(tmp_path)).rows
    assert (row.value, row.unjudged) == (50.0, 0)
    assert "it calls itself seer-2026-11-20" in (tmp_path / "table.md").read_text()


def test_the_key_is_in_no_file(done: Output) -> None:
    files = [path for path in Path(done.folder.path).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_questions_are_those_of_the_benchmark(tmp_path: Path) -> None:
    with serving(seer) as server:
        evaluate(config_of(server, tmp_path, benchmarks=("blink-val",)), live=False)
    docs = miniature.docs("blink-val")
    assert {body["temperature"] for body in server.bodies} == {0.0}
    assert {body["max_tokens"] for body in server.bodies} == {benchmark("blink-val").max_new_tokens}
    assert not {"seed", "stream"} & {name for body in server.bodies for name in body}
    images = [sum(part["type"] == "image_url" for part in body["messages"][0]["content"]) for body in server.bodies]
    assert sorted(images) == sorted(
        sum(doc[name] is not None for name in benchmark("blink-val").image_columns) for doc in docs
    )
    assert max(images) > 1


def test_items_of_several_parts_are_asked_with_their_own_pictures_and_a_broken_one_alone_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(seed) for seed in range(7)]
    rows[4]["image"] = [{"bytes": png(4)[:60], "path": None}]
    write_rows(tmp_path / "data", rows, group=3)
    monkeypatch.setitem(BENCHMARKS, "chartqa", replace(BENCHMARKS["chartqa"], count=7))
    source = {"benchmarks": ("chartqa",), "miniature": False, "data_root": str(tmp_path / "data")}
    with serving(seer) as server:
        (found,) = evaluate(config_of(server, tmp_path / "out", **source), live=False).rows
    assert (found.n, found.n_scored, found.errors) == (7, 6, 1)
    assert [one.error[:12] for one in records_of(tmp_path / "out", "chartqa") if one.error] == ["broken image"]
    urls = {part["image_url"]["url"] for body in server.bodies for part in body["messages"][0]["content"][:1]}
    assert urls == {url for seed in {*range(7)} - {4} for url in data_urls([png(10 * seed)])}


@pytest.mark.parametrize(
    ("body", "finish", "reply", "error"),
    [
        (completion(" yes\n"), "stop", "yes", ""),
        (completion("yes and", "length"), "length", "yes and", ""),
        (completion(""), "stop", "", ""),
        (completion(None, refusal="I can't  help"), "error", "", "refused: I can't help"),
        (completion("Ye", "content_filter"), "error", "", "ended by content_filter"),
        (completion(None, "tool_calls"), "error", "", "ended by tool_calls"),
        (
            completion(None, "length", reasoning_content="hm"),
            "error",
            "",
            "no reply within 3 tokens, 1 of them reasoning: allow more by endpoint.reasoning_tokens",
        ),
        ({"choices": []}, "error", "", "status 200 without an answer"),
        ("no JSON", "error", "", "status 200 without an answer"),
    ],
)
def test_what_is_no_reply_is_an_error_with_its_reason(
    tmp_path: Path, body: Any, finish: str, reply: str, error: str
) -> None:
    raw = body if isinstance(body, dict) else {"choices": body}
    with serving(lambda _, number: (200, raw, {})) as server:
        record = asked_once(server, tmp_path)
    assert (record.finish, record.reply) == (finish, reply)
    assert record.error.startswith(error) if error else not record.error
    (row,) = read_results(str(tmp_path)).rows
    assert (row.errors, row.complete, row.truncated) == (int(bool(error)), not error, int(finish == "length"))


def test_a_dialect_is_learnt_and_stands_in_the_table(tmp_path: Path) -> None:
    def reasoner(body: dict[str, Any], number: int) -> Answer:
        if "max_tokens" in body:
            return 400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", {}
        return (400, "'temperature' is unsupported", {}) if "temperature" in body else seer(body, number)

    with serving(reasoner) as server:
        record = asked_once(server, tmp_path, endpoint={"reasoning_tokens": 2000, "max_reply_tokens": 12})
    assert server.bodies[-1]["max_completion_tokens"] == 12 + 2000
    assert record.decoding == "the endpoint's temperature, 12 tokens, 12 at most, 2,000 more to reason, API"
    limits = "12 at most, 2,000 more to reason"
    assert f"- Decoding: the endpoint's temperature, {limits}, API." in (tmp_path / "table.md").read_text()


def test_replies_of_several_models_behind_one_name_are_told(tmp_path: Path) -> None:
    def changing(body: dict[str, Any], number: int) -> Answer:
        return 200, completion("yes") | {"model": "new" if number else "old"}, {}

    with serving(changing) as server:
        table = evaluate(config_of(server, tmp_path, endpoint={"concurrency": 1}), live=False).table()
    assert f"it calls itself new ({ITEMS - 1} replies) and old (1 replies). These are scores of several models" in table


def test_endpoints_and_names_are_never_mixed(tmp_path: Path) -> None:
    with serving(seer) as one, serving(seer) as other:
        evaluate(config_of(one, tmp_path, benchmarks=("gqa",)), live=False)
        evaluate(config_of(one, tmp_path, benchmarks=("gqa",), endpoint={"base_url": f"{one.url}/"}), live=False)
        assert len(one.bodies) == 5
        for config in (config_of(other, tmp_path), config_of(one, tmp_path, model="openai:other")):
            with pytest.raises(UserError, match="name another --output"):
                evaluate(config, live=False)
