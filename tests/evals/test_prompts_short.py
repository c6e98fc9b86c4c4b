"""Prompts and reply lengths of short-answer benchmarks are those of lmms-eval 0.7.3."""

from typing import Any

import pytest

from cli_ray.evals.suite import benchmark
from tests.evals import oracle

oracle.need()

FILES = {
    "ai2d": "ai2d/ai2d.yaml",
    "chartqa": "chartqa/chartqa.yaml",
    "docvqa-val": "docvqa/docvqa_val.yaml",
    "docvqa-test": "docvqa/docvqa_test.yaml",
    "infovqa-val": "infovqa/infovqa_val.yaml",
    "infovqa-test": "infovqa/infovqa_test.yaml",
    "textvqa-val": "textvqa/textvqa_val.yaml",
    "textvqa-test": "textvqa/textvqa_test.yaml",
    "vqav2-val": "vqav2/vqav2_val.yaml",
    "vqav2-test": "vqav2/vqav2_test.yaml",
    "vizwiz-val": "vizwiz_vqa/vizwiz_vqa_val.yaml",
    "vizwiz-test": "vizwiz_vqa/vizwiz_vqa_test.yaml",
    "ocrbench": "ocrbench/ocrbench.yaml",
    "mme": "mme/mme.yaml",
    "gqa": "gqa/gqa.yaml",
    "pope": "pope/pope.yaml",
    "scienceqa-img": "scienceqa/scienceqa_img.yaml",
    "seed-image": "seedbench/seedbench.yaml",
    "realworldqa": "realworldqa/realworldqa.yaml",
    "hallusionbench": "hallusion_bench/hallusion_bench_image.yaml",
}
QUESTIONS = (
    "What is the name of the NASA mission?",
    "what colour is it",
    "  Is there a dog? Please answer yes or no.  ",
    "Is it Please answer yes or no. so? Please answer yes or no.",
    'Which of {these} is <image> 100% "right"?\nA. one\nB. two\nPlease answer directly with only the letter.\n',
    "Où est l'École? 学校在哪里",
    "",
)
OPTIONS = ("a dog", "The U.S.", "", "{x}", "多")


def documents() -> list[dict[str, Any]]:
    """Documents that hold the columns of every benchmark."""
    return [
        {
            "question": question,
            "options": list(OPTIONS[:count]),
            "choices": list(OPTIONS[:count]),
            "hint": hint,
            **dict(zip(("choice_a", "choice_b", "choice_c", "choice_d"), OPTIONS, strict=False)),
        }
        for question in QUESTIONS
        for count, hint in ((2, "A map.\nSee below."), (5, ""))
    ]


@pytest.mark.parametrize("name", FILES)
def test_prompts_are_those_of_lmms_eval(name: str) -> None:
    settings = oracle.settings(FILES[name])
    module, function = settings["doc_to_text"].rsplit(".", 1)
    theirs = getattr(oracle.load(f"tasks.{FILES[name].split('/')[0]}.{module}"), function)
    arguments = (oracle.kwargs(FILES[name]),) if "lmms_eval_specific_kwargs" in settings else ()
    for doc in documents():
        assert benchmark(name).prompt(doc) == theirs(doc, *arguments)


@pytest.mark.parametrize("name", FILES)
def test_replies_may_take_as_many_tokens_as_in_lmms_eval(name: str) -> None:
    assert benchmark(name).max_new_tokens == oracle.max_new_tokens(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_data_is_that_of_lmms_eval(name: str) -> None:
    settings, source = oracle.settings(FILES[name]), benchmark(name).source
    assert source.ids[0] == settings["dataset_path"]
    assert source.config == settings.get("dataset_name", "")
    assert source.split == settings["test_split"]
