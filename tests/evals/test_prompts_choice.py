"""Prompts, reply lengths and data of benchmarks with options or a judge are those of lmms-eval 0.7.3."""

import random
from typing import Any

import pytest

from cli_ray.evals.suite import benchmark
from tests.evals import cases_choice, cases_judged, oracle

oracle.need()

FILES = {
    "mmbench-en-dev": "mmbench/mmbench_en_dev.yaml",
    "mmbench-en-test": "mmbench/mmbench_en_test.yaml",
    "mmbench-cn-dev": "mmbench/mmbench_cn_dev.yaml",
    "mmbench-cn-test": "mmbench/mmbench_cn_test.yaml",
    "mmstar": "mmstar/mmstar.yaml",
    "mmmu-val": "mmmu/mmmu_val.yaml",
    "mmmu-test": "mmmu/mmmu_test.yaml",
    "mathvista-testmini": "mathvista/mathvista_testmini_format.yaml",
    "mathverse-testmini": "mathverse/mathverse_testmini.yaml",
    "mm-vet": "mmvet/mmvet.yaml",
    "llava-wild": "llava-in-the-wild/llava-in-the-wild.yaml",
    "cv-bench": "cv_bench/cv_bench.yaml",
    "mmvp": "mmvp/mmvp.yaml",
    "blink-val": "blink/blink_jigsaw.yaml",
    "vstar": "vstar_bench/vstar_bench.yaml",
}
DOCS = {one.name: one.docs for one in cases_choice.PARITIES + cases_judged.PARITIES}
DOCS["mmbench-cn-dev"] = DOCS["mmbench-en-dev"]
FIELDS = {
    "mmbench-en-dev": "question", "mmbench-cn-dev": "question", "mmstar": "question", "mmmu-val": "question",
    "mathvista-testmini": "question", "mathverse-testmini": "query_wo", "mm-vet": "question", "llava-wild": "question",
    "cv-bench": "prompt", "mmvp": "Question", "blink-val": "prompt", "vstar": "text",
}  # fmt: skip
"""The columns that hold the question."""
QUESTIONS = (
    "What is this? {}",
    "  Which of {these}\nis 100% <image>?  ",
    "Is it? Please answer yes or no. (A) yes (B) no",
    "图中是什么",
    "",
)


@pytest.mark.parametrize("name", FILES)
def test_prompts_are_those_of_lmms_eval(name: str) -> None:
    settings = oracle.settings(FILES[name])
    module, function = settings["doc_to_text"].rsplit(".", 1)
    theirs = getattr(oracle.load(f"tasks.{FILES[name].split('/')[0]}.{module}"), function)
    # Task files without settings of their own are given none.
    arguments = (oracle.kwargs(FILES[name]),) if "lmms_eval_specific_kwargs" in settings else ()
    if name == "mmmu-test":
        arguments = (oracle.kwargs(FILES["mmmu-val"]),)  # whose file gives upstream no instruction
    dev = name.replace("-test", "-dev" if "mmbench" in name else "-val") if name not in DOCS else name
    for seed in range(10):
        for number, doc in enumerate(DOCS[dev](random.Random(seed))):
            if number < len(QUESTIONS):
                doc[FIELDS[dev]] = QUESTIONS[number]
            assert benchmark(name).prompt(doc) == theirs(doc, *arguments)


@pytest.mark.parametrize("name", FILES)
def test_replies_may_take_as_many_tokens_as_in_lmms_eval(name: str) -> None:
    assert benchmark(name).max_new_tokens == oracle.max_new_tokens(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_data_is_that_of_lmms_eval(name: str) -> None:
    settings, source = oracle.settings(FILES[name]), benchmark(name).source
    assert source.ids[0] == settings["dataset_path"]
    assert source.config == ("*" if name == "blink-val" else settings.get("dataset_name", ""))
    assert source.split == settings["test_split"]


LETTER = "Answer with the option's letter from the given choices directly."
BENCH = {"index": 7, "A": "a cat", "B": "a dog", "C": "nan", "D": None, "category": "c", "L2-category": "l"}
GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "mmbench-en-dev": (
        BENCH | {"question": "What is it?", "hint": "Look."},
        f"Look. What is it? There are several options:\nA. a cat\nB. a dog\n\n{LETTER}",
    ),
    "mmbench-cn-dev": (
        BENCH | {"question": "这是什么", "hint": None},
        "这是什么 There are several options:\nA. a cat\nB. a dog\n\n请直接使用所提供的选项字母作为答案回答。",
    ),
    "mmstar": ({"question": "Which?\nOptions: A: x, B: y "}, f"Which?\nOptions: A: x, B: y\n{LETTER[:-1]}"),
    "mmmu-val": (
        {"question": "Which of <image 1>?", "question_type": "multiple-choice", "options": "['x', \"y's\"]"},
        f"Which of <image 1>?\nA. x\nB. y's\n\n{LETTER}",
    ),
    "mmmu-test": (
        {"question": "Which of <image 1>?", "question_type": "open", "options": "[]"},
        "Which of <image 1>?\n\nAnswer the question using a single word or phrase.",
    ),
    "mathvista-testmini": (
        {
            "question": "How much?", "unit": "$", "choices": None, "precision": 2.0, "question_type": "free_form",
            "answer_type": "float",
        },
        "How much? (Unit: $)\nAnswer the question using a single floating-point number with two decimal places.",
    ),
    "mathverse-testmini": ({"query_wo": "Find x.\nChoices:\nA:1\nB:2\n"}, "Find x.\nChoices:\nA:1\nB:2"),
    "mm-vet": (
        {"question": "What is x?"},
        "First please perform reasoning, and think step by step to provide best answer to the following question: \n\n"
        "What is x?",
    ),
    "llava-wild": ({"question": "What is it?"}, "What is it?"),
    "cv-bench": (
        {"prompt": "How many?\n(A) 1\n(B) 2\n(C) 3", "choices": ["1", "2", "3"]},
        "Note: You only need to respond with A, B, C without providing any additional information.\n\n"
        "How many?\n(A) 1\n(B) 2\n(C) 3",
    ),
    "mmvp": ({"Question": "Is it open?", "Options": "(a) Yes (b) No"}, f"Is it open?\nA. Yes\nB. No\n{LETTER}"),
    "blink-val": (
        {"prompt": "Which?\n(A) first\n(B) second", "choices": ["first", "second"]},
        "Note: You only need to respond with A, B without providing any additional information.\n"
        "Which?\n(A) first\n(B) second",
    ),
    "vstar": (
        {"text": "What colour?\n(A) red\n(B) blue\nAnswer with the letter."},
        f"What colour?\nA. red\nB. blue\nAnswer with the letter.\n{LETTER}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_prompts_are_as_written_here(name: str) -> None:
    doc, prompt = GOLDEN[name]
    assert benchmark(name).prompt(doc) == prompt


def test_mmmu_shows_the_images_that_lmms_eval_shows() -> None:
    theirs = oracle.load("tasks.mmmu.utils").mmmu_doc_to_visual
    mmmu = benchmark("mmmu-val")
    columns: dict[str, Any] = dict.fromkeys(mmmu.image_columns)
    doc = {
        "question": "<image 2> or <image 1>?",
        "options": "['<image 3>', 'none']",
        "question_type": "multiple-choice",
    }
    for question in (doc["question"], "<image 2>?", "what is <image 1>?"):
        asked = columns | doc | {"question": question, "id": "validation_Art_1", "answer": "A"}
        for number in range(1, 5):
            asked[f"image_{number}"] = _Picture(number)
        shown = [int(column.removeprefix("image_")) for column in mmmu.shown(asked)] if mmmu.shown else []
        assert [picture.number for picture in theirs(asked)] == shown


class _Picture:
    """Stands for a picture that upstream converts."""

    def __init__(self, number: int) -> None:
        self.number = number

    def convert(self, mode: str) -> "_Picture":
        """Itself."""
        return self
