"""MMMU: college exams in 30 subjects, questions with up to seven images (arXiv 2311.16502)."""

import json
from ast import literal_eval
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from cli_ray.evals.benchmark import Answer, Benchmark, Doc, Graded, Metrics, ScoredItem, Source, Submission
from cli_ray.evals.scoring.choice import graded, lettered, lines, stated
from cli_ray.evals.scoring.means import accuracy, grouped, percent
from cli_ray.evals.scoring.mmmu import candidates, choose, matches
from cli_ray.evals.scoring.statement import unwrapped

DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power",
        "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
_DOMAIN = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects}


def is_choice(doc: Doc) -> bool:
    return bool(doc["question_type"] == "multiple-choice")


def options(doc: Doc) -> dict[str, str]:
    """The options by letter; the column holds a list as text."""
    return lettered(literal_eval(doc["options"]))


def _prompt(doc: Doc) -> str:
    if is_choice(doc):
        instruction = "Answer with the option's letter from the given choices directly."
        return f"{doc['question']}\n{lines(options(doc))}\n\n{instruction}"
    return f"{doc['question']}\n\nAnswer the question using a single word or phrase."


def _shown(doc: Doc) -> list[str]:
    """Those of which the question or an option speaks, as `<image 1>`; images of explanations are not shown."""
    prompt = _prompt(doc)
    return [f"image_{number}" for number in range(1, 8) if f"<image {number}>" in prompt]


def _read(doc: Doc, reply: str) -> tuple[str, str]:
    """The answer and its rule. A choice that cannot be read is drawn, as upstream does, but by the item's id."""
    if not is_choice(doc):
        return str(candidates(reply)[0]), "open answer"
    letter, rule = choose(reply, options(doc))
    return (letter, rule) if letter else (Random(doc["id"]).choice(list(options(doc))), "random")


def _score(doc: Doc, reply: str) -> Graded:
    parsed, rule = _read(doc, reply)
    right = parsed == doc["answer"] if is_choice(doc) else matches([doc["answer"]], candidates(reply))
    return Graded(float(right), parsed, rule, "unparsed" if rule == "random" or not reply else "ok")


def _hidden(doc: Doc, reply: str) -> Graded:
    parsed, rule = _read(doc, reply)
    return Graded(None, parsed, rule, "unparsed" if rule == "random" or not reply else "ok")


def _strict(doc: Doc, reply: str) -> Graded:
    """Nothing is drawn, articles and letters within words are no letters, and a list of gold answers is a list."""
    if is_choice(doc):
        return graded(doc["answer"], *stated(reply, options(doc)))
    golds = literal_eval(doc["answer"]) if doc["answer"].startswith("['") else [doc["answer"]]
    given = unwrapped(reply)
    return replace(_score(doc, given), score=float(matches(golds, candidates(given))))


def _strict_hidden(doc: Doc, reply: str) -> Graded:
    """For the server: a choice that cannot be read stays empty."""
    read = stated(reply, options(doc)) if is_choice(doc) else _read(doc, unwrapped(reply))
    return Graded(None, *read, "ok" if read[0] else "unparsed")


def _subject(sample: ScoredItem) -> str:
    """The subject of an item, from an id such as `validation_Art_Theory_1`."""
    return str(sample.facets["id"]).partition("_")[2].rpartition("_")[0]


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """The mean over items; the same for each domain and subject."""
    domains = grouped(samples, lambda sample: _DOMAIN.get(_subject(sample), "Other"))
    groups = domains | grouped(samples, _subject)
    return accuracy(samples) | {f"accuracy/{name}": percent(group) for name, group in groups.items()}


def _submission(answers: Sequence[Answer]) -> bytes:
    return json.dumps({answer.id: answer.parsed for answer in answers}, ensure_ascii=False).encode()


MMMU_VAL = Benchmark(
    name="mmmu-val",
    title="MMMU val",
    source=Source(ids=("lmms-lab-encoder/MMMU", "lmms-lab/MMMU"), split="validation"),
    count=900,
    columns=("id", "question", "options", "answer", "question_type"),
    image_columns=tuple(f"image_{number}" for number in range(1, 8)),
    shown=_shown,
    sample_id=lambda doc, row: str(doc["id"]),
    prompt=_prompt,
    max_new_tokens=128,
    score=_score,
    strict=_strict,
    facets=("id",),
    aggregate=_aggregate,
    headline="accuracy",
    upstream_notes=("A choice that cannot be read (`unparsed`) is drawn, as lmms-eval does.",),
    linear=True,
    references={"LLaVA-1.5-7B": 35.7, "LLaVA-OneVision-0.5B": 31.4, "LLaVA-OneVision-7B": 48.8},
)

MMMU_TEST = replace(
    MMMU_VAL,
    name="mmmu-test",
    title="MMMU test",
    source=replace(MMMU_VAL.source, split="test"),
    count=10500,
    columns=("id", "question", "options", "question_type"),
    max_new_tokens=512,
    score=_hidden,
    strict=_strict_hidden,
    references={},
    submission=Submission("mmmu-test.json", _submission, "https://eval.ai/web/challenges/challenge-page/2179"),
)
