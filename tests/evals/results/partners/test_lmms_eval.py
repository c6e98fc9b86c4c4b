"""Samples that lmms-eval's own code wrote, compared with ours and with each other."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli_ray.errors import UserError
from cli_ray.evals import miniature
from cli_ray.evals.results.compare import Comparison, compare, flip_lines, markdown
from cli_ray.evals.results.partners.names import LMMS_EVAL, VLMEVALKIT
from cli_ray.evals.suite import BENCHMARKS
from tests.evals import oracle
from tests.evals.items.hub_cache import write_jsonl
from tests.evals.results.partners.lmms_writer import TASKS, write_samples
from tests.evals.results.partners.ours import right, write_ours

oracle.need()


def both(folder: Path, task: str, theirs: Mapping[int, str | list[str]], ours: Mapping[int, str]) -> Comparison:
    """Ours as A and the samples of a task as B."""
    name = LMMS_EVAL[task]
    path = write_samples(folder / "lmms", task, miniature.docs(name), theirs)
    return compare(write_ours(folder / "ours", {name: ours}), str(path))


def rewritten(folder: Path, task: str, change: object) -> tuple[str, Path]:
    """Ours, and a file of samples whose lines went through `change`."""
    name = LMMS_EVAL[task]
    path = write_samples(folder / "lmms", task, miniature.docs(name), right(name))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert callable(change)
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))
    return write_ours(folder / "ours", {name: right(name)}), path


def test_names_are_of_benchmarks_and_tasks_that_are_there() -> None:
    assert {*LMMS_EVAL.values(), *VLMEVALKIT.values()} <= set(BENCHMARKS)
    files = (oracle.root() / "tasks").rglob("*yaml")
    tasks = {name for path in files for name in re.findall(r"(?m)^task: *[\"']?([\w-]+)", path.read_text())}
    assert not [task for task in LMMS_EVAL if task not in tasks]


@pytest.mark.parametrize("task", TASKS)
def test_equal_replies_differ_by_nothing(tmp_path: Path, task: str) -> None:
    replies = right(LMMS_EVAL[task])
    (one,) = both(tmp_path, task, replies, replies).contrasts
    assert (one.difference, one.wins, one.losses, one.n) == (0, 0, 0, len(replies))
    assert one.left_out == {}
    assert one.notes == ("decoding differs: greedy in A, unknown in B",)


def test_replies_are_scored_by_our_rules_and_paired_by_item(tmp_path: Path) -> None:
    replies = right("chartqa")
    found = both(tmp_path, "chartqa", replies | {1: "no idea"}, replies | {0: "nothing"})
    (one,) = found.contrasts
    assert (one.wins, one.losses, one.n) == (1, 1, len(replies))
    assert [(flip.sample_id, flip.reply_a, flip.reply_b) for flip in found.flips] == [
        ("0", "nothing", replies[0]),
        ("1", replies[1], "no idea"),
    ]
    assert flip_lines(found, 5)[0].startswith("chartqa 0: 0 -> 1:")
    assert found.model_b == "llava-hf/llava"
    assert "B: replies that lmms-eval recorded, scored by our rules." in markdown(found)


def test_reasoning_is_cut_and_filtered_replies_read_as_ours(tmp_path: Path) -> None:
    replies = {row: f"<think>A. or so</think>{text}. because" for row, text in right("ai2d").items()}
    (one,) = both(tmp_path, "ai2d", replies, replies).contrasts
    assert (one.difference, one.left_out) == (0, {})


def test_units_are_compared_whole(tmp_path: Path) -> None:
    replies = right("mme")
    found = both(tmp_path, "mme", {row: text for row, text in replies.items() if row != 0}, replies)
    (one,) = found.contrasts
    assert one.n == len(replies) - 2
    assert one.left_out == {"only in A": 2}
    assert "B: 1 of 7 records left out: 1 other items of its unit are left out" in one.notes
    assert "B is incomplete" in one.notes


def test_a_folder_of_several_benchmarks_on_either_side(tmp_path: Path) -> None:
    names = {task: right(LMMS_EVAL[task]) for task in ("mmstar", "pope", "docvqa_val")}
    for task, replies in names.items():
        path = write_samples(tmp_path / "lmms", task, miniature.docs(LMMS_EVAL[task]), replies)
    shutil.copy(path, path.with_name("20261127_101500_samples_vcr_wiki.jsonl"))
    shutil.copy(path, path.with_name("20251127_101500_samples_docvqa_val.jsonl"))
    ours = write_ours(tmp_path / "ours", {LMMS_EVAL[task]: replies for task, replies in names.items()} | {"ai2d": {}})
    for folder in (tmp_path / "lmms", path.parent):
        found = compare(str(folder), ours)
        assert sorted(one.benchmark for one in found.contrasts) == ["docvqa-val", "mmstar", "pope"]
        assert {one.difference for one in found.contrasts} == {0}
        assert any("left out: vcr_wiki." in note for note in found.notes)
        assert "Only in B: AI2D." in found.notes


def test_two_foreign_sides_need_the_documents(tmp_path: Path) -> None:
    docs = miniature.docs("chartqa")
    write_jsonl(tmp_path / "data/chartqa/a.jsonl", [{**doc, "image": "a.png"} for doc in docs])
    (tmp_path / "data/chartqa/a.png").write_bytes(b"one picture for all")
    paths = [
        str(write_samples(tmp_path / side, "chartqa", docs, right("chartqa") | wrong))
        for side, wrong in (("a", dict[int, str]()), ("b", {2: "no idea"}))
    ]
    (one,) = compare(paths[0], paths[1], data_root=str(tmp_path / "data")).contrasts
    assert (one.losses, one.n) == (1, len(docs))
    assert one.clusters == 1  # all have one image
    with pytest.raises(UserError, match=r"nothing to compare: its documents are needed to score replies of lmms-eval"):
        compare(paths[0], paths[1], data_root=str(tmp_path))


def test_the_profile_is_that_of_the_output_beside(tmp_path: Path) -> None:
    name = "pope"
    replies = {row: f"{text.capitalize()}." for row, text in right(name).items()}
    path = write_samples(tmp_path / "lmms", name, miniature.docs(name), replies)
    for profile, score in (("lmms-eval/0.7.3", 0), ("strict", 100)):
        ours = write_ours(tmp_path / profile, {name: replies}, profile=profile)  # type: ignore[arg-type]
        found = compare(ours, str(path))
        assert found.profile == profile
        assert found.contrasts[0].b == score


def test_another_wording_is_said(tmp_path: Path) -> None:
    ours, path = rewritten(
        tmp_path,
        "mmstar",
        lambda lines: [line | {"input": f"Question: {line['input']} Think first."} for line in lines],
    )
    (one,) = compare(ours, str(path)).contrasts
    assert one.left_out == {}
    assert "B: 4 of 4 items asked in other words than ours: the difference is of model and prompt together" in one.notes


def test_shuffled_numbers_are_not_believed(tmp_path: Path) -> None:
    def shifted(lines: list[dict[str, object]]) -> list[dict[str, object]]:
        numbers = [line["doc_id"] for line in lines]
        return [line | {"doc_id": number} for line, number in zip(lines, numbers[1:] + numbers[:1], strict=True)]

    ours, path = rewritten(tmp_path, "docvqa_val", shifted)
    (one,) = compare(ours, str(path)).contrasts
    assert one.difference == 0
    assert one.n == len(right("docvqa-val"))


def test_another_split_is_no_partner(tmp_path: Path) -> None:
    ours, path = rewritten(
        tmp_path, "docvqa_val", lambda lines: [line | {"input": f"What is page {line['doc_id']}?"} for line in lines]
    )
    with pytest.raises(UserError, match=r"no record is known to be of an item in bundled items: 5 no item asks this"):
        compare(ours, str(path))


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        (lambda lines: [*lines, lines[0]], ""),
        (lambda lines: [*lines, lines[0] | {"filtered_resps": "other"}], "2 several records have its number"),
        (lambda lines: [*lines, lines[0] | {"doc_id": 99}], "1 there is no item of this number"),
        (lambda lines: [lines[0] | {"target": "17"}, *lines[1:]], "1 the gold answer is another"),
        (lambda lines: [lines[0] | {"input": "How deep?"}, *lines[1:]], "1 the question is another"),
        (lambda lines: [lines[0] | {"filtered_resps": ["a", "b"]}, *lines[1:]], "1 several replies to an item"),
        (lambda lines: [lines[0] | {"filtered_resps": None}, *lines[1:]], "1 no reply as text"),
    ],
)
def test_records_that_are_of_no_item_are_counted(tmp_path: Path, change: object, left_out: str) -> None:
    ours, path = rewritten(tmp_path, "chartqa", change)
    (one,) = compare(ours, str(path)).contrasts
    notes = [note for note in one.notes if "records left out" in note]
    assert [left_out in note for note in notes] == ([True] if left_out else [])
    assert one.difference == 0


def test_several_replies_to_an_item_are_not_compared(tmp_path: Path) -> None:
    replies = right("chartqa")
    theirs: dict[int, str | list[str]] = {**replies, 0: ["70", "70"]}
    (one,) = both(tmp_path, "chartqa", theirs, replies).contrasts
    assert any("1 several replies to an item (--repeats)" in note for note in one.notes)


def test_broken_files_are_refused_with_their_line(tmp_path: Path) -> None:
    ours, path = rewritten(tmp_path, "chartqa", lambda lines: lines)
    whole = path.read_text()
    path.write_text(whole[:-20])
    with pytest.raises(UserError, match=r"_samples_chartqa.jsonl: line 6 is no JSON, so the file was cut or edited"):
        compare(ours, str(path))
    path.write_text('{"doc_id": 0, "resps": ["1"]}\n')
    with pytest.raises(UserError, match=r"line 1 lacks input, target, filtered_resps: give what lmms-eval 0.7 writes"):
        compare(ours, str(path))
    path.write_bytes(whole.encode("utf-16"))
    with pytest.raises(UserError, match="line 1 is no JSON"):
        compare(ours, str(path))
    path.write_text("")
    with pytest.raises(UserError, match="no record is known to be of an item in bundled items: it has none"):
        compare(ours, str(path))
    other = path.with_name("20261127_101500_samples_vcr_wiki.jsonl")
    other.write_text(whole)
    with pytest.raises(UserError, match="the task vcr_wiki of lmms-eval is no benchmark of ours"):
        compare(ours, str(other))
    other.rename(path.with_name("lines.jsonl"))
    with pytest.raises(
        UserError, match=r"lines.jsonl: is neither lmms-eval's DATE_samples_TASK.jsonl nor VLMEvalKit's"
    ):
        compare(ours, str(path.with_name("lines.jsonl")))


def test_models_are_not_mixed(tmp_path: Path) -> None:
    for model in ("a/one", "b/two"):
        write_samples(tmp_path, "chartqa", miniature.docs("chartqa"), right("chartqa"), model)
    with pytest.raises(UserError, match="has lmms-eval's samples of a__one, b__two: name the folder of one model"):
        compare(str(tmp_path), str(tmp_path))
