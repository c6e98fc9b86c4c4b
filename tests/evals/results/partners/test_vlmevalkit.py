"""Predictions as VLMEvalKit writes them, compared with ours."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli_ray.errors import UserError
from cli_ray.evals.results.compare import compare
from tests.evals.results.partners.ours import right, write_ours
from tests.evals.results.partners.vlmevalkit_writer import DATASETS, Columns, rows, write


def made(folder: Path, dataset: str, suffix: str = "tsv", change: Callable[[list[Columns]], Any] = list) -> str:
    """A file of right predictions, whose rows went through `change`."""
    table = change(rows(dataset, right(DATASETS[dataset][0])))
    return write(folder / f"qwen_vl_{dataset}.{suffix}", table)


def ours(folder: Path, dataset: str, replies: Mapping[int, str] | None = None) -> str:
    """An output folder of ours with the same replies, or others."""
    name = DATASETS[dataset][0]
    return write_ours(folder / "ours", {name: replies or right(name)})


@pytest.mark.parametrize(
    ("dataset", "suffix"), [*((name, "tsv") for name in DATASETS), ("MMBench_DEV_EN", "xlsx"), ("DocVQA_VAL", "json")]
)
def test_equal_replies_of_any_format_differ_by_nothing(tmp_path: Path, dataset: str, suffix: str) -> None:
    found = compare(ours(tmp_path, dataset), made(tmp_path, dataset, suffix))
    (one,) = found.contrasts
    assert (one.difference, one.left_out, one.n) == (0, {}, len(right(DATASETS[dataset][0])))
    assert found.model_b == "qwen_vl"
    assert "B: replies that VLMEvalKit recorded, scored by our rules." in found.notes
    assert one.notes[0].startswith("B: what VLMEvalKit asked is not recorded, and its wording is not ours")


def test_replies_to_its_own_prompts_are_read_as_it_reads_them(tmp_path: Path) -> None:
    replies = {number: f"The answer is {letter}." for number, letter in right("ai2d").items()}
    a = write_ours(tmp_path / "ours", {"ai2d": replies}, prompts="vlmevalkit", profile="vlmevalkit")
    theirs = write(tmp_path / "qwen_vl_AI2D_TEST.tsv", rows("AI2D_TEST", replies))
    for sides in ((a, theirs), (theirs, a)):
        found = compare(*sides)
        (one,) = found.contrasts
        assert (found.prompts, found.profile, one.a, one.b, one.n) == ("vlmevalkit", "vlmevalkit", 100, 100, 5)
        assert "is not recorded, and its wording may be that of the model's wrapper" in one.notes[0]


def test_items_are_known_by_their_texts_where_numbers_are_others(tmp_path: Path) -> None:
    theirs = made(tmp_path, "MMStar", change=lambda table: [row | {"index": row["index"] + 1} for row in table[::-1]])
    (one,) = compare(ours(tmp_path, "MMStar"), theirs).contrasts
    assert (one.difference, one.left_out, one.n) == (0, {}, 4)


def test_equal_questions_are_not_told_apart_by_numbers_that_are_others(tmp_path: Path) -> None:
    def asked_alike(table: list[Columns]) -> list[Columns]:
        return [row | {"index": 900 + number} for number, row in enumerate([*table, table[0]])]

    (one,) = compare(ours(tmp_path, "ChartQA_TEST"), made(tmp_path, "ChartQA_TEST", change=asked_alike)).contrasts
    assert one.left_out == {"only in A": 1}
    assert "B: 2 of 7 records left out: 2 several records ask the same" in one.notes


def test_failed_replies_are_errors_and_never_wrong(tmp_path: Path) -> None:
    message = "Failed to obtain answer via API."
    theirs = made(tmp_path, "ChartQA_TEST", change=lambda table: [table[0] | {"prediction": message}, *table[1:]])
    (one,) = compare(ours(tmp_path, "ChartQA_TEST"), theirs).contrasts
    assert one.left_out == {"error in B": 1}


@pytest.mark.filterwarnings("ignore:Cell contents too long")
def test_replies_that_xlsx_cut_are_left_out_and_empty_ones_are_said(tmp_path: Path) -> None:
    def cut(table: list[Columns]) -> list[Columns]:
        return [table[0] | {"prediction": "so " * 20_000}, table[1] | {"prediction": ""}, *table[2:]]

    (one,) = compare(ours(tmp_path, "ChartQA_TEST"), made(tmp_path, "ChartQA_TEST", "xlsx", cut)).contrasts
    assert "B: 1 of 6 records left out: 1 reply cut by xlsx at 32,767 characters" in one.notes
    assert "B: 1 empty replies; xlsx leaves out texts that are too long" in one.notes
    assert (one.left_out, one.losses) == ({"only in A": 1}, 1)


def test_replies_that_look_like_formulas_are_replies(tmp_path: Path) -> None:
    replies = right("chartqa") | {0: "=70", 1: "say _x0041_ and\r\ntwo lines, \t a tab"}
    theirs = write(tmp_path / "m_ChartQA_TEST.xlsx", rows("ChartQA_TEST", replies))
    found = compare(ours(tmp_path, "ChartQA_TEST"), theirs)
    assert next(flip.reply_b for flip in found.flips if flip.sample_id == "0") == "=70"


def test_a_folder_has_the_newest_call_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    model, newest, older = tmp_path / "qwen_vl", "T20260102-120000", "T20260101_Gabcdef01"
    made(model / newest, "MMStar")
    made(model / older, "MMStar", change=lambda table: [row | {"prediction": "?"} for row in table])
    made(model / older, "ChartQA_TEST")
    write(model / newest / "qwen_vl_MathVision.xlsx", [{"index": 0}])
    write(model / newest / "qwen_vl_MMStar_openai_result.xlsx", [{"index": 0}])
    (model / newest / "qwen_vl_MMStar_acc.csv").write_text("split,Overall\nnone,1\n")
    (model / newest / "status.json").write_text("{}")
    (model / newest / "qwen_vl_AI2D_TEST.pkl").write_bytes(pickle.dumps({}))
    ours = write_ours(tmp_path / "ours", {name: right(name) for name in ("mmstar", "chartqa")})
    found = compare(str(model), ours)
    assert {one.benchmark: one.difference for one in found.contrasts} == {"mmstar": 0, "chartqa": 0}
    assert f"A: {model}: not a benchmark of ours, left out: MathVision." in found.notes
    assert f"A: {model}: pickles are not opened, left out: AI2D_TEST." in found.notes
    assert [one.benchmark for one in compare(str(model / newest), ours).contrasts] == ["mmstar"]
    made(model / newest, "MMBench_DEV_EN").replace("qwen", "other")
    write(model / newest / "other_MMStar.tsv", rows("MMStar", right("mmstar")))
    with pytest.raises(UserError, match=r"has VLMEvalKit's predictions of .*: name the folder of one model"):
        compare(str(model), ours)


def test_judged_benchmarks_and_hidden_splits_have_nothing_to_compare(tmp_path: Path) -> None:
    docs = right("mm-vet")
    theirs = write(tmp_path / "m_MMVet.tsv", _questions("mm-vet"))
    with pytest.raises(UserError, match=r"mm-vet: nothing to compare: no judge was asked in A and B"):
        compare(write_ours(tmp_path / "judged", {"mm-vet": docs}), theirs)
    theirs = write(tmp_path / "m_DocVQA_TEST.tsv", _questions("docvqa-test"))
    with pytest.raises(UserError, match=r"docvqa-test: nothing to compare: [0-9]+ items no score"):
        compare(write_ours(tmp_path / "hidden", {"docvqa-test": right("docvqa-test")}), theirs)


def _questions(name: str) -> list[Columns]:
    from cli_ray.evals import miniature

    return [
        {"index": row, "question": doc["question"], "prediction": "a reply"}
        for row, doc in enumerate(miniature.docs(name))
    ]


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "m_MMStar.pkl"
    path.write_bytes(b"not even a pickle")
    with pytest.raises(UserError, match="pickles run code when they are read, so they are not opened"):
        compare(ours(tmp_path, "MMStar"), str(path))


def test_names_must_say_the_dataset(tmp_path: Path) -> None:
    path = write(tmp_path / "table.tsv", rows("MMStar", right("mmstar")))
    with pytest.raises(UserError, match=r"its name says no dataset .* name it MODEL_DATASET.tsv"):
        compare(ours(tmp_path, "MMStar"), path)
