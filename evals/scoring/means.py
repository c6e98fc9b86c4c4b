"""Means of scores, in percent."""

from collections.abc import Callable, Sequence
from math import fsum

from cli_ray.evals.benchmark import Metrics, ScoredItem


def percent(samples: Sequence[ScoredItem]) -> float:
    """100 times the mean score."""
    return 100 * fsum(sample.score or 0.0 for sample in samples) / len(samples)


def accuracy(samples: Sequence[ScoredItem]) -> Metrics:
    """The mean score alone."""
    return {"accuracy": percent(samples)}


def grouped(samples: Sequence[ScoredItem], key: Callable[[ScoredItem], str]) -> dict[str, list[ScoredItem]]:
    """The samples by key, keys sorted."""
    groups: dict[str, list[ScoredItem]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(sample)
    return dict(sorted(groups.items()))


def accuracy_by(facet: str) -> Callable[[Sequence[ScoredItem]], Metrics]:
    """The mean score over all and for each value of a facet, as `accuracy/VALUE`."""

    def aggregate(samples: Sequence[ScoredItem]) -> Metrics:
        groups = grouped(samples, lambda sample: str(sample.facets[facet]))
        return accuracy(samples) | {f"accuracy/{value}": percent(group) for value, group in groups.items()}

    return aggregate
