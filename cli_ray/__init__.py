"""Cross-Layer Injection for LLaVA models on Ray."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import wrapt

from cli_ray.registry import ADAPTERS, FAMILIES

if TYPE_CHECKING:
    from cli_ray.inference.loaded import LoadedModel

__version__ = "0.1.0"
"""Read by pyproject.toml, and on nodes that have the working directory of a job alone."""

_AUTO = "transformers.models.auto.modeling_auto"
_MODELS = (*FAMILIES, *ADAPTERS, "clip", "siglip", "llama", "qwen2")
_BASES = ("transformers.modeling_layers", *(f"transformers.models.{name}.modeling_{name}" for name in _MODELS))
"""What we build on, and what imports the Auto classes on its way, so that those may be there while it is half-made."""


def _register_with_transformers(imported: ModuleType) -> None:
    names = [name for name in _BASES if name in sys.modules and name != imported.__name__]
    half_made = any(getattr(sys.modules[name].__spec__, "_initializing", False) for name in names)
    if _AUTO in sys.modules and not half_made:
        import cli_ray.model  # noqa: F401


# The CLI models are registered as soon as the Auto classes are imported, before or after this package, so that
# `import cli_ray` itself stays free of torch.
for _name in (_AUTO, *_BASES):
    wrapt.register_post_import_hook(_register_with_transformers, _name)


def load(
    model: str,
    *,
    revision: str = "",
    gpus: float | None = None,
    dtype: Literal["bf16", "fp32"] | None = None,
    allow_urls: bool = False,
) -> "LoadedModel":
    """A model that answers questions about images: `load("runs/first").ask("photo.jpg", "What is it?")`.

    Args:
        model: exported folder, run folder (its newest checkpoint is exported first) or hub id.
        revision: commit of a hub model.
        gpus: over which its layers are spread; 0 runs on CPU; one where torch finds any, if not given.
        dtype: of weights and activations; bf16 on GPUs and fp32 on CPU, if not given.
        allow_urls: whether images may be named by web addresses, which are then read within limits, from public
            addresses alone.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    from cli_ray.inference.engine import Engine
    from cli_ray.inference.loaded import LoadedModel, replica_here
    from cli_ray.train.checkpoint.exported import exported_model

    return LoadedModel(Engine(exported_model(model), replica_here(gpus, dtype), revision), allow_urls)
