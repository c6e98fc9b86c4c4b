"""Evaluation of vision-language models on benchmarks. Scoring is pure and needs neither torch nor ray."""

from cli_ray.evals.benchmark import Benchmark, Reply, ScoredItem
from cli_ray.evals.score import Scored, score

__all__ = ["Benchmark", "Reply", "Scored", "ScoredItem", "score"]
