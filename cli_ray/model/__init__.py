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

from cli_ray.model.attach import attach
from cli_ray.model.families import all_families

__all__ = ["attach"]


def _register() -> None:
    for family in all_families():
        config, outer = family.model_class.config_class, family.model_class
        AutoConfig.register(config.model_type, config)
        AutoModel.register(config, outer.inner_class)
        AutoModelForImageTextToText.register(config, outer)
        AutoProcessor.register(config, family.processor_class)
        # Checkpoints name their weights as transformers 4 did. The conversions of a plain model hold for
        # the CLI one too, but are found by class name, and by model type when a plain class reads our folder.
        plain = family.plain_class.config_class.model_type
        for name, source in (
            (outer.__name__, plain),
            (config.model_type, plain),
            (outer.inner_class.__name__, "LlavaModel"),
        ):
            if (conversion := get_checkpoint_conversion_mapping(source)) is not None:
                register_checkpoint_conversion_mapping(name, conversion)


_register()
