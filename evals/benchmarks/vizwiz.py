"""VizWiz-VQA: questions that blind people asked about their photographs (arXiv 1802.08218)."""

from dataclasses import replace

from cli_ray.evals.benchmark import Doc, Source, Submission
from cli_ray.evals.benchmarks.textvqa import TEXTVQA_TEST, TEXTVQA_VAL
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.submission import vizwiz

HUB = ("lmms-lab-encoder/VizWiz-VQA", "lmms-lab/VizWiz-VQA")
REFUSAL = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."


def _prompt(doc: Doc) -> str:
    return f"{doc['question'].capitalize()}{REFUSAL}{SHORT}"


# The columns, and how replies are scored, are those of TextVQA.
VIZWIZ_VAL = replace(
    TEXTVQA_VAL,
    name="vizwiz-val",
    title="VizWiz val",
    source=Source(ids=HUB, split="val"),
    count=4319,
    prompt=_prompt,
    references={},
)

VIZWIZ_TEST = replace(
    TEXTVQA_TEST,
    name="vizwiz-test",
    title="VizWiz test",
    source=Source(ids=HUB, split="test"),
    count=8000,
    prompt=_prompt,
    references={"LLaVA-1.5-7B": 50.0},
    submission=Submission("vizwiz_test.json", vizwiz, "https://eval.ai/web/challenges/challenge-page/2185"),
)
