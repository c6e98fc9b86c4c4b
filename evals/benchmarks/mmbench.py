"""MMBench: 20 abilities, each question asked once for every rotation of its options (arXiv 2307.06281).

Scored without a judge, as the task `mmbench_en_dev_static` of lmms-eval 0.7.3; for Chinese upstream has no such task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cli_ray.evals.benchmark import Answer, Benchmark, Doc, Graded, Source, Submission
from cli_ray.evals.scoring.choice import graded, lines, stated
from cli_ray.evals.scoring.circular import circular_accuracy, infer, question_of
from cli_ray.evals.submission import xlsx

_SHOWN = ("index", "question", "hint", "A", "B", "C", "D", "category", "L2-category")


def _absent(value: object) -> bool:
    """Whether a column is empty: None or NaN."""
    return value is None or value != value


def options(doc: Doc) -> dict[str, str]:
    """The options that are shown; the official files write `nan` for those a question lacks."""
    shown = {letter: doc[letter] for letter in "ABCDE" if letter in doc and not _absent(doc[letter])}
    return {letter: text for letter, text in shown.items() if text and text != "nan"}


def _asked(doc: Doc, shown_hint: str, instruction: str) -> str:
    before = f"{shown_hint} " if shown_hint else ""
    return f"{before}{doc['question']} There are several options:\n{lines(options(doc))}\n\n{instruction}"


def hint(doc: Doc) -> str:
    """The hint; empty where there is none, for which the official files write `nan`."""
    return "" if _absent(doc["hint"]) or doc["hint"] == "nan" else str(doc["hint"])


def _english(doc: Doc) -> str:
    return _asked(doc, hint(doc), "Answer with the option's letter from the given choices directly.")


def _chinese(doc: Doc) -> str:
    """As upstream: the sentence before the options is English, and a hint `nan` is printed."""
    return _asked(doc, "" if _absent(doc["hint"]) else doc["hint"], "请直接使用所提供的选项字母作为答案回答。")


def _infer(doc: Doc, reply: str) -> tuple[str, str]:
    """As upstream, for which an option `nan` is one, so that a banana names it."""
    return infer(reply, {letter: str(doc[letter]) for letter in "ABCD" if not _absent(doc[letter])})


def _score(doc: Doc, reply: str) -> Graded:
    return graded(doc["answer"], *_infer(doc, reply))


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(doc["answer"], *stated(reply, options(doc)))


def hidden_letter(letter: str, rule: str) -> Graded:
    """A letter whose right one lies with the server, which reads the reply itself."""
    return Graded(None, letter, rule, "ok" if letter else "unparsed")


def _submission(answers: Sequence[Answer]) -> bytes:
    return xlsx([_present(answer.facets) | {"prediction": answer.reply} for answer in answers])


def _present(facets: Mapping[str, object]) -> dict[str, object]:
    return {key: None if _absent(value) else value for key, value in facets.items()}


def _question(doc: Doc) -> str:
    return str(question_of(doc["index"]))


EN_DEV = Benchmark(
    name="mmbench-en-dev",
    title="MMBench en dev",
    source=Source(ids=("lmms-lab-encoder/MMBench", "lmms-lab/MMBench"), config="en", split="dev"),
    count=4329,
    columns=(*_SHOWN, "answer"),
    sample_id=lambda doc, row: str(int(doc["index"])),
    prompt=_english,
    max_new_tokens=1024,
    score=_score,
    strict=_strict,
    facets=("index", "category", "L2-category"),
    unit=_question,
    cluster=_question,
    aggregate=circular_accuracy,
    headline="accuracy",
    notes=("Replies are read by rules alone, where the authors ask ChatGPT about those that rules cannot read.",),
    references={"LLaVA-1.5-7B": 64.3, "LLaVA-OneVision-0.5B": 52.1, "LLaVA-OneVision-7B": 80.8},
)

CN_DEV = replace(
    EN_DEV,
    name="mmbench-cn-dev",
    title="MMBench cn dev",
    source=replace(EN_DEV.source, config="cn"),
    prompt=_chinese,
    max_new_tokens=256,
    references={"LLaVA-1.5-7B": 58.3},
)


def _hidden(dev: Benchmark, name: str, title: str) -> Benchmark:
    return replace(
        dev,
        name=name,
        title=title,
        source=replace(dev.source, split="test"),
        count=6666,
        columns=_SHOWN,
        score=lambda doc, reply: hidden_letter(*_infer(doc, reply)),
        strict=lambda doc, reply: hidden_letter(*stated(reply, options(doc))),
        facets=_SHOWN,
        references={},
        submission=Submission(f"{name}.xlsx", _submission, "https://mmbench.opencompass.org.cn/mmbench-submission"),
    )


EN_TEST = _hidden(EN_DEV, "mmbench-en-test", "MMBench en test")
CN_TEST = _hidden(CN_DEV, "mmbench-cn-test", "MMBench cn test")
