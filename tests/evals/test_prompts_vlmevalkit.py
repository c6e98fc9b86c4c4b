"""Prompts of VLMEvalKit, to the character: written out by hand from its `build_prompt` functions."""

from typing import Any

import pytest

from cli_ray.evals import miniature
from cli_ray.evals.generation.messages import with_marks
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.sources import locate
from cli_ray.evals.prompts.vlmevalkit import on_lines, under_heading
from cli_ray.evals.suite import benchmark

SELECT = "Please select the correct answer from the options above. \n"
ANGLE = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\n"
    "Question: What is the angle?"
)
MMMU = {"options": "['red', 'blue']", "question_type": "multiple-choice"}
ASKED: list[tuple[str, dict[str, Any], str]] = [
    (
        "ai2d",
        {"question": "What eats grass?", "options": ["fox", "rabbit"]},
        f"Question: What eats grass?\nOptions:\nA. fox\nB. rabbit\n{SELECT}",
    ),
    (
        "seed-image",
        {"question": "How many?", "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four"},
        f"Question: How many?\nOptions:\nA. One\nB. Two\nC. Three\nD. Four\n{SELECT}",
    ),
    (
        "scienceqa-img",
        {"question": "Which?", "choices": ["x", "y", "z"], "hint": "Look.\nTwice."},
        f"Hint: Look.\nTwice.\nQuestion: Which?\nOptions:\nA. x\nB. y\nC. z\n{SELECT}",
    ),
    (
        "scienceqa-img",
        {"question": "Which?", "choices": ["x", "y"], "hint": ""},
        f"Question: Which?\nOptions:\nA. x\nB. y\n{SELECT}",
    ),
    (
        "mmbench-en-dev",
        {"question": "Where?", "hint": "A map.", "A": "left", "B": "right", "C": "nan", "D": None},
        f"Hint: A map.\nQuestion: Where?\nOptions:\nA. left\nB. right\n{SELECT}",
    ),
    (
        "mmbench-cn-test",
        {"question": "在哪里", "hint": "nan", "A": "左", "B": "右", "C": float("nan"), "D": "nan"},
        f"Question: 在哪里\nOptions:\nA. 左\nB. 右\n{SELECT}",
    ),
    (
        "mmstar",
        {"question": "What is it?\nOptions: A: The case is red., B: It is, say, blue., C: 1: 2, D: none"},
        f"Question: What is it?\nOptions:\nA. The case is red.\nB. It is, say, blue.\nC. 1: 2\nD. none\n{SELECT}",
    ),
    (
        "mmstar",  # as VLMEvalKit's file has it, a question within the question
        {"question": f"{ANGLE}\nChoices:\n(A) 70°\n(B) 100°\n(C) 110°\n(D) 130°"},
        f"Question: {ANGLE}\nOptions:\nA. 70°\nB. 100°\nC. 110°\nD. 130°\n{SELECT}",
    ),
    (
        "mmstar",
        {"question": "Which one?\nOptions: red, blue"},
        f"Question: Which one?\nOptions: red, blue\n{SELECT}",
    ),
    (
        "mmmu-val",
        MMMU | {"question": "<image 2> beside <image 1>: which?"},
        f"Question: <image> beside <image>: which?\nOptions:\nA. red\nB. blue\n{SELECT}",
    ),
    ("mmmu-val", MMMU | {"question": "Sum of <image 1>?", "options": "[]"}, "Question: Sum of <image>?\n"),
    (
        "realworldqa",
        {
            "question": "Which way?\n\nA. Left\nB. Right\nC. On\nPlease answer directly with only the letter of the "
            "correct option and nothing else."
        },
        f"Question: Which way?\nOptions:\nA. Left\nB. Right\nC. On\n{SELECT}",
    ),
    (
        "realworldqa",
        {"question": "How many?\n\nPlease answer directly with a single word or number."},
        "Question: How many?\n\nPlease answer directly with a single word or number.\n",
    ),
    ("hallusionbench", {"question": "Is it larger?"}, "Is it larger?"),
    ("pope", {"question": "Is there a dog in the image?"}, "Is there a dog in the image?"),
    ("ocrbench", {"question": "what is written in the image?"}, "what is written in the image?"),
    ("chartqa", {"question": "How high?"}, "How high?\nAnswer the question using a single word or phrase."),
]


@pytest.mark.parametrize(("name", "doc", "prompt"), ASKED)
def test_prompts_are_those_of_vlmevalkit(name: str, doc: dict[str, Any], prompt: str) -> None:
    assert benchmark(name, "vlmevalkit").prompt(doc) == prompt


def test_mmmu_shows_images_in_the_order_of_the_text_as_often_as_it_names_them() -> None:
    shown = benchmark("mmmu-val", "vlmevalkit").shown
    assert shown is not None
    asked = MMMU | {"question": "Compare <image 3> with <image 1>.", "options": "['<image 3>', 'none']"}
    assert shown(asked) == ["image_3", "image_1", "image_3"]
    assert shown(MMMU | {"question": "Which?"}) == [f"image_{number}" for number in range(1, 8)]


def test_the_images_of_mmmu_come_as_its_marks_do() -> None:
    one = benchmark("mmmu-val", "vlmevalkit")
    doc = next(doc for doc in miniature.docs("mmmu-val") if doc["image_2"])
    location = locate(one, "", miniature=True)
    asked = dict(doc) | {"question": "<image 2>, <image 1>, <image 2>?", "options": "['yes', 'no']"}
    first, second = images_of(location, dict(doc) | {"question": "<image 1> <image 2>", "options": "['yes', 'no']"})
    assert images_of(location, asked) == [second, first, second]
    assert (
        with_marks(one.prompt(asked), 3) == f"Question: <image>, <image>, <image>?\nOptions:\nA. yes\nB. no\n{SELECT}"
    )


@pytest.mark.parametrize(
    "text",
    ["Which?", "Which?\nOptions: A: one", "Options: A: x, B: y", "Which?\nOptions: B: x, A: y", "A: x\nB: y", ""],
)
def test_options_that_cannot_be_told_apart_stay_in_the_question(text: str) -> None:
    assert under_heading(text) == (text, {})


def test_only_the_last_heading_counts() -> None:
    text = "Options:\nOptions: A: x, B: y\nWhich?\nOptions: A: p, B: q"
    assert under_heading(text) == ("Options:\nOptions: A: x, B: y\nWhich?", {"A": "p", "B": "q"})


def test_letters_within_a_question_are_no_options() -> None:
    assert on_lines("Is A. Smith or B. Jones taller?\nA. Smith") == ("Is A. Smith or B. Jones taller?\nA. Smith", {})
