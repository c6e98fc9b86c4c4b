"""What a table says of a model behind an endpoint: what it calls itself, when it was asked, and what that took.

The scorer makes a `Service` for each row, and the table has its notes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from cli_ray.config import EvaluationConfig
from cli_ray.evals.endpoint.usage import Usage
from cli_ray.evals.records import ReplyRecord


class Service(BaseModel):
    """The endpoint behind the replies to a benchmark."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    models: dict[str, int]
    """Replies by the model that the endpoint says it ran; by "" where it does not say."""
    first: str
    """Day of the first reply, in UTC."""
    last: str
    decoding: str
    """Of the replies, as the endpoint took it."""
    usage: Usage
    cost: float | None
    """Of all replies; None without prices."""

    @classmethod
    def of(cls, config: EvaluationConfig, records: Iterable[ReplyRecord]) -> Self | None:
        """The service of some records; None where no endpoint answered."""
        models: Counter[str] = Counter()
        days: set[str] = set()
        decodings: set[str] = set()
        usage = Usage()
        for record in records:
            if served := record.served:
                models[served.model] += 1
                days.add(served.date)
                decodings.add(record.decoding)
                tokens = (record.prompt_tokens, served.cached_tokens, record.reply_tokens, served.reasoning_tokens)
                usage += Usage(*tokens)
        if not days:
            return None
        return cls(
            base_url=config.endpoint.base_url,
            models=dict(models.most_common()),
            first=min(days),
            last=max(days),
            decoding=" or ".join(sorted(decodings)),
            usage=usage,
            cost=usage.cost(config.endpoint),
        )


def service_notes(services: Sequence[Service]) -> list[str]:
    """What the reader of a table must know of the endpoint behind its rows, a sentence each."""
    if not services:
        return []
    models: Counter[str] = sum((Counter(service.models) for service in services), Counter())
    days = dict.fromkeys([min(service.first for service in services), max(service.last for service in services)])
    named = [f"{name} ({count:,} replies)" if len(models) > 1 else name for name, count in models.items() if name]
    calls_itself = f"; it calls itself {' and '.join(named)}" if named else ""
    several = ". These are scores of several models" if len(models) > 1 else ""
    usage = sum((service.usage for service in services), Usage())
    costs = [service.cost for service in services if service.cost is not None]
    cost = f"; {sum(costs):,.4f} at the prices given" if len(costs) == len(services) else ""
    return [
        f"API model of {services[0].base_url}, state of {' to '.join(days)}{calls_itself}{several}. Whoever serves it "
        "may change it.",
        f"Used: {usage}{cost}.",
    ]
