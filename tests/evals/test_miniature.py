"""The bundled items: in the official columns, whole, and scored in full when answered right."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.images import Limits, decode_all
from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.items.sources import images_of, locate, read
from cli_ray.evals.score import score
from cli_ray.evals.suite import BENCHMARKS, SUITES, benchmark

LIMITS = Limits.of(DataConfig(sources=(SourceConfig(path="unused"),)))


def _first(column: str) -> Callable[[Doc], str]:
    """The answer that is given in a column, or the first of several."""

    def gold(doc: Doc) -> str:
        value = doc[column]
        first: Any = value[0] if isinstance(value, list) else value
        return str(first["answer"] if isinstance(first, dict) else first)

    return gold


def _letter(number: int) -> str:
    return "ABCDEFGH"[number]


GOLD: dict[str, Callable[[Doc], str]] = {
    "ai2d": lambda doc: _letter(int(doc["answer"])),
    "scienceqa-img": lambda doc: _letter(doc["answer"]),
    "docvqa-val": _first("answers"),
    "infovqa-val": _first("answers"),
    "textvqa-val": _first("answers"),
    "vqav2-val": _first("answers"),
    "vizwiz-val": _first("answers"),
    "hallusionbench": lambda doc: "Yes" if doc["gt_answer"] == "1" else "No",
    "mmvp": lambda doc: str(doc["Correct Answer"])[1].upper(),
    "vstar": _first("label"),
}
"""How to answer right, where it is not to give back the column `answer`."""


def right(name: str, doc: Doc) -> str:
    """A right answer to an item."""
    return GOLD.get(name, _first("answer"))(doc)


NAMES = sorted(BENCHMARKS)
SCORED_BY_RULES = [name for name in NAMES if not (BENCHMARKS[name].submission or BENCHMARKS[name].judge)]


@pytest.mark.parametrize("name", NAMES)
def test_items_are_whole(name: str) -> None:
    one = benchmark(name)
    docs = miniature.docs(name)
    for doc in docs:
        assert [column for column in one.all_columns if column not in doc] == []
    location = locate(one, "", miniature=True)
    kept = [item for part in location.parts for item in read(location, part)]
    assert len({one.sample_id(doc, row) for row, doc in kept}) == len(kept) >= 4
    for _, doc in kept:
        assert set(doc) == set(one.all_columns)
        assert one.prompt(doc).strip()
        assert decode_all(images_of(location, doc), LIMITS)


@pytest.mark.parametrize("name", SCORED_BY_RULES)
def test_right_answers_score_in_full(name: str) -> None:
    one = benchmark(name)
    docs = [doc for doc in miniature.docs(name) if one.keep is None or one.keep(doc)]
    scored = score(name, docs, [right(name, doc) for doc in docs])
    short = [(sample.id, sample.parsed) for sample in scored.samples if sample.score != pytest.approx(1.0)]
    assert short == []
    assert {sample.state for sample in scored.samples} == {"ok"}
    assert len(scored.samples) == len(docs)


def test_the_mathvista_items_need_no_judge_when_answered_directly() -> None:
    """The third asks for a float, which upstream always takes for wrong."""
    docs = miniature.docs("mathvista-testmini")
    answers = [doc["answer"] for doc in docs]
    assert [sample.score for sample in score("mathvista-testmini", docs, answers).samples] == [1, 1, 0, 1]
    assert score("mathvista-testmini", docs, answers, profile="strict").metrics["accuracy"] == 100.0


@pytest.mark.parametrize("name", [name for name in NAMES if BENCHMARKS[name].submission])
def test_splits_without_answers_have_none(name: str) -> None:
    docs = miniature.docs(name)
    assert {json.dumps(doc.get("answers", doc.get("answer"))) for doc in docs} <= {"null", '"nan"', '"?"'}
    assert {sample.score for sample in score(name, docs, ["A"] * len(docs)).samples} == {None}


def test_pictures_are_the_same_each_time() -> None:
    first = miniature.docs("chartqa")
    miniature.docs.cache_clear()
    assert miniature.docs("chartqa") == first


def test_some_items_share_an_image_and_some_have_several() -> None:
    charts = [doc["image"]["bytes"] for doc in miniature.docs("chartqa")]
    assert len(set(charts)) < len(charts)
    for name in ("blink-val", "mmmu-val"):
        location = locate(benchmark(name), "", miniature=True)
        counts = {len(images_of(location, doc)) for doc in miniature.docs(name)}
        assert 1 in counts
        assert max(counts) > 1


def test_groups_are_complete() -> None:
    """MME has two questions an image, MMVP two images a question, MMBench one item for each turn of its options."""
    for name, sizes in (("mme", {2}), ("mmvp", {2}), ("mmbench-en-dev", {3, 4}), ("mmbench-cn-dev", {3, 4})):
        unit = benchmark(name).unit
        assert unit is not None
        units = [unit(doc) for doc in miniature.docs(name)]
        assert {units.count(one) for one in units} == sizes
    answers = [doc[doc["answer"]] for doc in miniature.docs("mmbench-en-dev")]
    assert answers == ["circle"] * 4 + ["rice"] * 3


def test_every_suite_has_bundled_items() -> None:
    for name in (name for names in SUITES.values() for name in names):
        assert miniature.docs(name)
