"""Cross-Layer Injection models. Importing this registers them with the Auto classes of transformers."""

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
from cli_ray.model.configuration import CliLlavaConfig, CliLlavaOnevisionConfig
from cli_ray.model.llava import CliLlavaForConditionalGeneration, CliLlavaModel
from cli_ray.model.llava_onevision import CliLlavaOnevisionForConditionalGeneration, CliLlavaOnevisionModel
from cli_ray.model.processor import CliLlavaOnevisionProcessor, CliLlavaProcessor

__all__ = [
    "CliLlavaConfig",
    "CliLlavaForConditionalGeneration",
    "CliLlavaModel",
    "CliLlavaOnevisionConfig",
    "CliLlavaOnevisionForConditionalGeneration",
    "CliLlavaOnevisionModel",
    "CliLlavaOnevisionProcessor",
    "CliLlavaProcessor",
    "attach",
]


def _register() -> None:
    families = (
        (CliLlavaConfig, CliLlavaModel, CliLlavaForConditionalGeneration, CliLlavaProcessor, "llava"),
        (
            CliLlavaOnevisionConfig,
            CliLlavaOnevisionModel,
            CliLlavaOnevisionForConditionalGeneration,
            CliLlavaOnevisionProcessor,
            "llava_onevision",
        ),
    )
    for config, inner, outer, processor, plain in families:
        AutoConfig.register(config.model_type, config)
        AutoModel.register(config, inner)
        AutoModelForImageTextToText.register(config, outer)
        AutoProcessor.register(config, processor)
        # Checkpoints name their weights as transformers 4 did. The conversions of a plain model hold for
        # the CLI one too, but are found by class name, and by model type when a plain class reads our folder.
        for name, source in ((outer.__name__, plain), (config.model_type, plain), (inner.__name__, "LlavaModel")):
            register_checkpoint_conversion_mapping(name, get_checkpoint_conversion_mapping(source))


_register()
