"""Questions on drawn scenes, texts and charts of `cli_ray.data.synthetic`: what `cli-ray demo` asks its models."""

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.scoring.means import accuracy
from cli_ray.evals.scoring.text import exact


def _score(doc: Doc, reply: str) -> Graded:
    return exact(doc["answer"], reply)


SYNTHETIC = Benchmark(
    name="synthetic",
    title="Synthetic pictures",
    source=Source(ids=(), split="test"),
    count=None,
    columns=("question", "answer", "kind", "scope"),
    prompt=lambda doc: str(doc["question"]),
    max_new_tokens=12,
    score=_score,
    facets=("kind", "scope"),
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
)
