"""Our scores of choices and of judged replies are those of lmms-eval 0.7.3, item by item and as aggregates."""

import inspect
import random
from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmarks.mathvista import MATHVISTA
from cli_ray.evals.suite import benchmark
from tests.evals import cases_choice, cases_judged, oracle
from tests.evals.cases_judged import llava_rows
from tests.evals.parity import Parity, compare

oracle.need()

PARITIES = {one.name: one for one in cases_choice.PARITIES + cases_judged.PARITIES}


@pytest.mark.parametrize("parity", PARITIES.values(), ids=PARITIES)
def test_scores_are_those_of_lmms_eval(parity: Parity) -> None:
    outcome = compare(parity, rounds=50)
    assert not outcome.disagreements
    assert outcome.replies >= 1500
    assert outcome.metrics >= 50 or not parity.aggregates
    assert 0.05 < outcome.right / outcome.replies < 0.95


def test_chinese_mmbench_is_scored_as_the_english_one() -> None:
    """Upstream, too, has one evaluator for both."""
    one, other = benchmark("mmbench-cn-dev"), benchmark("mmbench-en-dev")
    assert (one.score, one.aggregate, one.unit) == (other.score, other.aggregate, other.unit)
    evaluators = [oracle.load(f"tasks.mmbench.{name}_utils").mmbench_evaluator for name in ("cn", "en")]
    assert type(evaluators[0]) is type(evaluators[1])


def test_llava_wild_is_upstreams_but_for_its_rounding() -> None:
    parity, utils = PARITIES["llava-wild"], oracle.load("tasks.llava-in-the-wild.utils")
    docs = parity.docs(random.Random(3))
    ours = evals.score("llava-wild", docs, ["It may be a cat."] * len(docs), parity.judge).metrics
    rows = [llava_rows(doc, "It may be a cat.") for doc in docs]
    for part in ("all", "conv", "detail", "complex"):
        name = f"gpt_eval_llava_{part}"
        theirs = utils.llava_aggregation([row[name] for row in rows], part)
        assert ours["relative score" if part == "all" else f"relative score/{part}"] == pytest.approx(theirs, abs=0.06)


def test_cv_bench_is_strictly_aggregated_as_upstreams_unused_function_does() -> None:
    utils = oracle.load("tasks.cv_bench.utils")
    docs = PARITIES["cv-bench"].docs(random.Random(5))
    replies = [random.Random(row).choice(["(A)", "(B)"]) for row in range(len(docs))]
    rows = [
        utils.cv_bench_process_results(doc, [reply])["cv_bench_acc"] for doc, reply in zip(docs, replies, strict=True)
    ]
    ours = evals.score("cv-bench", docs, replies, profile="strict")
    assert 0 < ours.metrics["accuracy"] < 100
    assert ours.metrics["accuracy"] == pytest.approx(100 * utils.cv_bench_default_aggregate_results(rows))


def test_what_a_dead_judge_scores_upstream_has_no_score_here() -> None:
    """Upstream: 100 points for LLaVA-W, the nearest option for MathVista, 0 for MM-Vet."""
    for parity in cases_judged.PARITIES:
        docs = parity.docs(random.Random(1))
        for judge, rule in (
            (None, "no judge"),
            (lambda messages: None, "judge failed"),
            (lambda messages: "?", "nonsense"),
        ):
            found = evals.score(parity.name, docs, ["well, perhaps"] * len(docs), judge)
            if (parity.name, rule) != (MATHVISTA.name, "nonsense"):  # whatever a judge extracts is an extraction
                assert {sample.state for sample in found.samples} == {"unjudged"}
                assert all(rule in sample.rule and sample.score is None for sample in found.samples)
                assert found.metrics == {}


def test_submissions_hold_what_upstreams_do() -> None:
    """An open answer of MMMU is one of several candidates, of which upstream takes any."""
    for doc in PARITIES["mmmu-val"].docs(random.Random(2)):
        hidden: dict[str, Any] = {key: value for key, value in doc.items() if key != "answer"}
        for reply in ("B", "so it is 12.\nThe answer is 1,200"):
            theirs = oracle.load("tasks.mmmu.utils").mmmu_process_results(doc, [reply])["mmmu_acc"]["parsed_pred"][0]
            (ours,) = evals.score("mmmu-test", [hidden], [reply]).samples
            assert ours.score is None
            if doc["question_type"] == "open":
                assert ours.parsed in map(str, theirs)
            elif ours.rule != "random":
                assert ours.parsed == theirs


def test_judges_get_as_many_tokens_as_upstream() -> None:
    """Upstream's defaults, and those of its calls."""
    default = oracle.load("llm_judge.protocol").ServerConfig("grader")
    calls = {
        "mm-vet": oracle.load("tasks.mmvet.utils").get_chat_response,
        "mathvista-testmini": oracle.load("tasks.mathvista.mathvista_evals").MathVistaEvaluator.get_chat_response,
    }
    own = {name: inspect.signature(call).parameters["max_tokens"].default for name, call in calls.items()}
    expected = {"llava-wild": default.max_tokens, "mathverse-testmini": default.max_tokens} | own
    judges = {name: judge for name in expected if (judge := benchmark(name).judge)}
    assert {name: judge.max_tokens for name, judge in judges.items()} == expected
    assert {judge.temperature for judge in judges.values()} == {0.0}
