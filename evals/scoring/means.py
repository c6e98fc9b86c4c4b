"""Means of scores, in percent."""

from collections.abc import Callable, Sequence
from math import fsum

from cli_ray.evals.benchmark import Metrics, Sample


def percent(samples: Sequence[Sample]) -> float:
    """100 times the mean score."""
    return 100 * fsum(sample.score or 0.0 for sample in samples) / len(samples)


def accuracy(samples: Sequence[Sample]) -> Metrics:
    """The mean score alone."""
    return {"accuracy": percent(samples)}


def grouped(samples: Sequence[Sample], key: Callable[[Sample], str]) -> dict[str, list[Sample]]:
    """The samples by key, keys sorted."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(sample)
    return dict(sorted(groups.items()))


def accuracy_by(facet: str) -> Callable[[Sequence[Sample]], Metrics]:
    """The mean score over all and for each value of a facet, as `accuracy/VALUE`."""

    def aggregate(samples: Sequence[Sample]) -> Metrics:
        groups = grouped(samples, lambda sample: str(sample.facets[facet]))
        return accuracy(samples) | {f"accuracy/{value}": percent(group) for value, group in groups.items()}

    return aggregate
