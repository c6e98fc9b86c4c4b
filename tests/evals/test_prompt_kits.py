"""Benchmarks with the prompts of VLMEvalKit: chosen, scored, and never mixed with others."""

from dataclasses import fields
from pathlib import Path

import pytest

from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Benchmark, Doc, Profile
from cli_ray.evals.results.aggregate import row
from cli_ray.evals.results.compare import compare
from cli_ray.evals.results.output import Output
from cli_ray.evals.results.samples import read_samples
from cli_ray.evals.results.table import markdown, read_results
from cli_ray.evals.score import score
from cli_ray.evals.suite import BENCHMARKS, SUITES, benchmark, chosen
from cli_ray.evals.vlmevalkit import VLMEVALKIT
from tests.evals.results.outputs import samples, write_output
from tests.evals.test_miniature import right

READINGS: tuple[Profile, ...] = ("vlmevalkit", "strict")
LETTERS = ("{}", "{}.", "({})", "{0}\n", "The answer is {}.", "**{}**", "Answer: {}", "I choose option {}.")
WORDS = ("{}", "{}.", "{}, it is so.", "The answer is {}.")
CHANGED = {
    "prompts", "prompt", "shown", "max_new_tokens", "score", "scores_reasoning", "aggregate", "headline",
    "strict_headline", "linear", "notes", "upstream_notes", "references",
}  # fmt: skip


def items(name: str) -> list[Doc]:
    keep = benchmark(name).keep
    return [doc for doc in miniature.docs(name) if keep is None or keep(doc)]


def forms(name: str, doc: Doc) -> tuple[str, ...]:
    """Ways in which models give a right answer to an item."""
    answer = right(name, doc)
    if name in ("pope", "hallusionbench"):
        return tuple(form.format(answer.capitalize()) for form in WORDS)
    return tuple(form.format(answer) for form in LETTERS) if answer in tuple("ABCD") else (answer,)


@pytest.mark.parametrize("profile", READINGS)
@pytest.mark.parametrize("name", SUITES["vlmevalkit"])
def test_right_answers_score_in_full_however_models_put_them(name: str, profile: Profile) -> None:
    docs = items(name)
    for number in range(max(len(forms(name, doc)) for doc in docs)):
        replies = [forms(name, doc)[min(number, len(forms(name, doc)) - 1)] for doc in docs]
        scored = score(name, docs, replies, prompts="vlmevalkit", profile=profile)
        short = [(one.id, one.parsed) for one in scored.samples if one.score != 1]
        assert short == [], replies


@pytest.mark.parametrize("name", SUITES["vlmevalkit"])
def test_wrong_answers_and_none_score_nothing(name: str) -> None:
    for reply in ("Z", "I cannot see it.", ""):
        scored = score(name, items(name), [reply] * len(items(name)), prompts="vlmevalkit")
        assert {one.score for one in scored.samples} == {0}, reply


def test_the_text_of_an_option_is_its_letter() -> None:
    docs = items("mmstar")
    replies = ["The colour is blue.", "3", "70 degrees", "the fox"]
    assert score("mmstar", docs, replies, prompts="vlmevalkit").metrics["accuracy"] == 100


def test_an_open_question_of_mmmu_is_a_choice_between_its_answer_and_others() -> None:
    doc = items("mmmu-val")[1]
    replies = {"70": 1, "It is 70.": 1, "71": 0, "B": 0, f"{'The sum of all angles is 180. ' * 2}So it is 70.": 0}
    scored = score("mmmu-val", [doc] * len(replies), list(replies), prompts="vlmevalkit")
    assert [one.score for one in scored.samples] == list(replies.values())


@pytest.mark.parametrize("name", [name for name, one in VLMEVALKIT.items() if one.submission])
def test_hidden_splits_have_the_letters_that_were_read(name: str) -> None:
    docs = miniature.docs(name)
    scored = score(name, docs, ["The answer is B."] * len(docs), prompts="vlmevalkit")
    letters = {one.parsed for one in scored.samples if one.rule != "open answer"}
    assert letters == {"B"}
    assert all(one.score is None for one in scored.samples)


@pytest.mark.parametrize("name", VLMEVALKIT)
def test_the_items_are_the_same(name: str) -> None:
    ours, theirs = BENCHMARKS[name], VLMEVALKIT[name]
    same = [field.name for field in fields(Benchmark) if field.name not in CHANGED]
    assert [name for name in same if getattr(ours, name) != getattr(theirs, name)] == []
    assert (theirs.prompts, theirs.references) == ("vlmevalkit", {})


def test_a_benchmark_without_such_prompts_is_refused_with_those_that_have_them() -> None:
    assert [one.prompts for one in chosen("vlmevalkit", prompts="vlmevalkit")] == ["vlmevalkit"] * 12
    assert [one.prompts for one in chosen("vlmevalkit")] == ["lmms-eval"] * 12
    lacking = "docvqa-val, infovqa-val, textvqa-val, mme, mathvista-testmini, mm-vet, gqa, llava-wild"
    with pytest.raises(UserError, match=f"for {lacking}: take --suite vlmevalkit, or with --benchmarks some of ai2d, "):
        chosen("paper18", prompts="vlmevalkit")
    with pytest.raises(UserError, match="no prompts 'vlmevalkit' for gqa:"):
        chosen("paper18", ("mmstar", "gqa"), prompts="vlmevalkit")
    with pytest.raises(UserError, match="there is no benchmark 'mmstr'"):
        chosen("paper18", ("mmstr",), prompts="vlmevalkit")


def test_replies_are_read_as_their_kit_reads_them() -> None:
    assert EvaluationConfig(model="m").reading == "lmms-eval/0.7.3"
    assert EvaluationConfig(model="m", prompts="vlmevalkit").reading == "vlmevalkit"
    assert EvaluationConfig(model="m", prompts="vlmevalkit", profile="strict").reading == "strict"
    with pytest.raises(ValueError, match=r"reads replies to other prompts than prompts = 'vlmevalkit': leave it out"):
        EvaluationConfig(model="m", prompts="vlmevalkit", profile="lmms-eval/0.7.3")
    with pytest.raises(ValueError, match=r"profile = 'vlmevalkit' reads .* prompts = 'lmms-eval'"):
        EvaluationConfig(model="m", profile="vlmevalkit")


def evaluated(folder: Path, one: Benchmark, profile: Profile) -> str:
    folder.mkdir()
    write_output(folder, folder.name, {one.name: (one, samples([1, 0, 1, 0]))}, profile=profile, prompts=one.prompts)
    return str(folder)


def test_scores_of_two_kits_do_not_mix(tmp_path: Path) -> None:
    a = evaluated(tmp_path / "a", benchmark("ai2d"), "strict")
    b = evaluated(tmp_path / "b", benchmark("ai2d", "vlmevalkit"), "strict")
    c = evaluated(tmp_path / "c", benchmark("ai2d", "vlmevalkit"), "strict")
    with pytest.raises(UserError, match="ai2d: asked with the prompts of lmms-eval in A and of vlmevalkit in B"):
        compare(a, b)
    assert compare(b, c).prompts == "vlmevalkit"
    config = EvaluationConfig(model="b", prompts="vlmevalkit", output=b)
    assert Output(config, "hash of b").folder.uri == b
    for settings in (config.model_copy(update={"prompts": "lmms-eval"}), config.model_copy(update={"output": a})):
        with pytest.raises(UserError, match=r"other prompts than those of .* \(AI2D\): name another --output"):
            Output(settings, f"hash of {settings.output[-1]}")


def test_the_prompts_stand_in_the_row_the_samples_and_under_the_table(tmp_path: Path) -> None:
    path = evaluated(tmp_path / "b", benchmark("ai2d", "vlmevalkit"), "vlmevalkit")
    assert [one.prompts for one in read_results(path).rows] == ["vlmevalkit"]
    assert {one.record.prompts for one in read_samples(f"{path}/samples/ai2d.parquet")} == {"vlmevalkit"}
    rows = [row(benchmark(name, "vlmevalkit"), samples([1, 0]), 2, "vlmevalkit") for name in ("ai2d", "seed-image")]
    assert "Prompts: vlmevalkit." in markdown(rows, "m")
    assert "Scoring profile: vlmevalkit." in markdown(rows, "m")
