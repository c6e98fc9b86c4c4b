"""What a sample costs a training step, as a whole number, so that steps can be given samples of the same cost.

The worker computes the coefficients from the model once, `steps` deals samples by them, and they are saved with the
place of the stream.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from cli_ray.data.sample import BadSample, Row


@dataclass(frozen=True)
class SampleCost:
    """Coefficients of a polynomial, in a unit of their own. By default a sample costs its tokens."""

    tile: int = 0
    """Of a square that goes through the vision tower."""
    token: int = 1
    pair: int = 0
    """Of a pair of tokens, in attention."""
    supervised: int = 0
    """Of a token that carries loss."""

    def __call__(self, row: Row) -> int:
        """What a sample costs; a hole costs nothing."""
        if isinstance(row, BadSample):
            return 0
        tokens = len(row.input_ids)
        text = (self.token + self.pair * tokens) * tokens + self.supervised * row.num_supervised
        return self.tile * row.num_tiles + text

    def state(self) -> dict[str, int]:
        """The coefficients as they stand in the state of a stream."""
        return {f"cost_{name}": value for name, value in asdict(self).items()}

    @classmethod
    def of_state(cls, state: Mapping[str, int]) -> Self | None:
        """The coefficients in the state of a stream; None where it has none, being of an order without costs."""
        costs = {name.removeprefix("cost_"): value for name, value in state.items() if name.startswith("cost_")}
        return cls(**costs) if costs else None
