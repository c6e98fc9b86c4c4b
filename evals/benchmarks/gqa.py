"""GQA: compositional questions on photographs (arXiv 1902.09506)."""

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.scoring.means import accuracy
from cli_ray.evals.scoring.text import exact

HUB = ("lmms-lab-encoder/GQA", "lmms-lab/GQA")


def _prompt(doc: Doc) -> str:
    return f"{doc['question']}{SHORT}"


def _score(doc: Doc, reply: str) -> Graded:
    return exact(doc["answer"], reply)


GQA = Benchmark(
    name="gqa",
    title="GQA",
    source=Source(ids=HUB, split="testdev", config="testdev_balanced_instructions"),
    count=12578,
    columns=("question", "answer", "imageId"),
    images_from=Source(ids=HUB, split="testdev", config="testdev_balanced_images"),
    image_key="imageId",
    prompt=_prompt,
    max_new_tokens=16,
    score=_score,
    cluster=lambda doc: str(doc["imageId"]),
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
    references={"LLaVA-1.5-7B": 62.0},
)
