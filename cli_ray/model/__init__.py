"""Cross-Layer Injection models.

Importing this registers them with the Auto classes of transformers.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
)
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)

from cli_ray.model.adapter import InitializesInjection
from cli_ray.model.attach import attach
from cli_ray.model.families import all_families, cli_classes

__all__ = ["attach"]


def _register() -> None:
    for plain, outer in cli_classes().items():
        config = outer.config_class
        AutoConfig.register(config.model_type, config)
        AutoModel.register(config, outer.inner_class)
        AutoModelForImageTextToText.register(config, outer)
        # Checkpoints name their weights as older releases of transformers did. The conversions of a plain model hold
        # for the CLI one too, but are found by class name, and by model type when a plain class reads our folder.
        inner = next(kind for kind in outer.inner_class.__mro__ if not issubclass(kind, InitializesInjection))
        for name, source in (
            (outer.__name__, plain.config_class.model_type),
            (outer.__name__, plain.__name__),
            (config.model_type, plain.config_class.model_type),
            (outer.inner_class.__name__, inner.__name__),
        ):
            if (conversion := get_checkpoint_conversion_mapping(source)) is not None:
                register_checkpoint_conversion_mapping(name, conversion)
    for family in all_families():
        AutoProcessor.register(family.model_class.config_class, family.processor_class)


_register()
