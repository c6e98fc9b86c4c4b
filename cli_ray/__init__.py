"""Cross-Layer Injection for LLaVA models on Ray."""

import wrapt

__version__ = "0.1.0"


# Registers the CLI models with the Auto classes of transformers as soon as those are imported,
# before or after this package, so that `import cli_ray` itself stays free of torch.
@wrapt.when_imported("transformers.models.auto.modeling_auto")
def _register_with_transformers(_: object) -> None:
    import cli_ray.model  # noqa: F401
