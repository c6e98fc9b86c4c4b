"""Cross-Layer Injection for LLaVA models on Ray."""

import sys
from types import ModuleType

import wrapt

from cli_ray.registry import ADAPTERS, FAMILIES

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
