"""What a config names and a class stands for: a family of models, a gate.

To add one, write its class and name it here.

The config schema and `import cli_ray` read the names alone, so a class is imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

FAMILIES = {
    "llava": "cli_ray.model.llava.Llava",
    "llava_onevision": "cli_ray.model.llava_onevision.LlavaOnevision",
}
"""`model.family`, which is the `model_type` of plain checkpoints of the family, to its `Family` class."""
GATES = {
    "tanh": "cli_ray.model.gates.Tanh",
    "sigmoid": "cli_ray.model.gates.Sigmoid",
    "softmax": "cli_ray.model.gates.Softmax",
}
"""`injection.agf.gate` to its `Gate` class."""


def load(path: str) -> Any:
    """The class of a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
