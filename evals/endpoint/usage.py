"""Tokens that an endpoint counts, and what they cost. Completions have them; progress and tables sum them."""

from dataclasses import dataclass

from cli_ray.config.evaluation import ModelEndpointConfig

_PRICED = 1_000_000
"""Tokens that a price is of."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the endpoint counts them; 0 where it does not say."""

    prompt: int = 0
    cached: int = 0
    """Of the prompt, those that the endpoint had from an earlier one."""
    reply: int = 0
    reasoning: int = 0
    """Of the reply, those that are no part of its text."""

    @property
    def total(self) -> int:
        """Of prompts and replies."""
        return self.prompt + self.reply

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.reply + other.reply,
            self.reasoning + other.reasoning,
        )

    def __str__(self) -> str:
        cached = f" ({self.cached:,} cached)" if self.cached else ""
        reasoning = f" ({self.reasoning:,} reasoning)" if self.reasoning else ""
        return f"{self.prompt:,} tokens of prompts{cached}, {self.reply:,} of replies{reasoning}"

    def cost(self, config: ModelEndpointConfig) -> float | None:
        """What they cost at the prices of a config; None where it has none."""
        if not (config.price_prompt or config.price_reply):
            return None
        price_cached = config.price_prompt if config.price_cached is None else config.price_cached
        prompts = (self.prompt - self.cached) * config.price_prompt + self.cached * price_cached
        return (prompts + self.reply * config.price_reply) / _PRICED
