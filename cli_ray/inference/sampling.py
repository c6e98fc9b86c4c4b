"""How a reply is made: its length, how its tokens are drawn, and what ends it. Torch-free; part of every request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one reply is made."""

    max_new_tokens: int = 512
    """Tokens of the reply at most."""
    temperature: float = 0.0
    """What logits are divided by before a token is drawn; 0 takes the likeliest one."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that have this probability together."""
    seed: int | None = None
    """Of this reply alone, which depends on nothing else in its batch; None draws otherwise each time."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply and are no part of it."""
