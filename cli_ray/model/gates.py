"""The gates of AGF: from the logits of all vision layers to the share of each.

`agf` calls them by their name in the config; a new one is a class here and a line in `cli_ray/registry.py`.

Shapes: I images, N vision layers.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from cli_ray.config import AgfConfig


class Gate(ABC):
    """One kind of gate; it has no parameters of its own."""

    @abstractmethod
    def __call__(self, logits_IN: Tensor) -> Tensor:
        """The gates, Float32[I, N]."""

    def initial_bias(self, config: AgfConfig) -> float:
        """What the bias of the logits starts with; all that is added to it starts at 0."""
        return 0.0


class Tanh(Gate):
    """From -1 to 1; starts at exactly 0, so that a new model equals the plain one."""

    def __call__(self, logits_IN: Tensor) -> Tensor:
        """See `Gate`."""
        return logits_IN.tanh()


class Sigmoid(Gate):
    """From 0 to 1; starts nearly closed."""

    def __call__(self, logits_IN: Tensor) -> Tensor:
        """See `Gate`."""
        return logits_IN.sigmoid()

    def initial_bias(self, config: AgfConfig) -> float:
        """`agf.bias`."""
        return config.bias


class Softmax(Gate):
    """Shares of the vision layers that sum to 1; starts with equal ones."""

    def __call__(self, logits_IN: Tensor) -> Tensor:
        """See `Gate`."""
        return logits_IN.softmax(-1)
