"""Evaluation of vision-language models on benchmarks. Scoring is pure and needs neither torch nor ray.

The way of an item, from `run.py`: `items` finds its row and scans it; `generation` puts its prompt and images to the
model and stores the reply in `records.py`; `score.py` reads the reply by the rules that its file in `benchmarks` takes
from `scoring`, or by the verdict of a judge (`judging`); `results` makes tables of scores.
"""

from cli_ray.evals.benchmark import Benchmark, Reply, ScoredItem
from cli_ray.evals.score import Scored, score

__all__ = ["Benchmark", "Reply", "Scored", "ScoredItem", "score"]
