"""Evaluation of vision-language models on benchmarks. Scoring is pure and needs neither torch nor ray."""

from evals.benchmark import Benchmark, Reply, Sample
from evals.score import Scored, score

__all__ = ["Benchmark", "Reply", "Sample", "Scored", "score"]
