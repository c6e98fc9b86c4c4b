"""Sizes that follow from a model's config: patches, widths of attention, and which layers an injection has.

A config here is anything with the fields of a LLaVA config of transformers, `plan.shape` among them.
"""

from typing import Any

from cli_ray.config import InjectionConfig, Layers
from cli_ray.config.injection import decoder_choices, vision_choices


def patches_of(vision: Any) -> int:
    """Patches of one square image or tile."""
    return int((vision.image_size // vision.patch_size) ** 2)


def tokens_of(config: Any) -> int:
    """Tokens of one square in the vision tower: its patches, and the class token that a tower may put before them."""
    return patches_of(config.vision_config) + int(config.vision_feature_select_strategy == "default")


def attention_widths(text: Any) -> tuple[int, int]:
    """Channels of the queries, and those of the keys, in a decoder layer."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return text.num_attention_heads * head, text.num_key_value_heads * head


def blocks_read(config: Any) -> int:
    """Blocks of the vision tower up to the one that feeds the projector; those behind it run and get no gradient."""
    base = config.vision_feature_layer
    blocks = config.vision_config.num_hidden_layers
    return max(range(blocks + 1)[layer] for layer in ([base] if isinstance(base, int) else base))


def resolve(injection: InjectionConfig, config: Any) -> InjectionConfig:
    """`injection` with explicit layer indices, checked against the stacks of a LLaVA config.

    Counts and strides keep the vision layer that feeds the projector and the first decoder layer.

    Raises:
        ValueError: an index outside its stack, or unequal numbers of layers where they go in pairs.
    """
    traits = injection.traits
    if not traits.taps:
        return injection
    base = config.vision_feature_layer
    if not isinstance(base, int):
        raise ValueError(f"vision_feature_layer = {base}: injection needs one base layer, not several joined ones")
    blocks = config.vision_config.num_hidden_layers
    vision = injection.vision_layers.resolve(
        vision_choices(base, blocks), "last", "injection.vision_layers", length=blocks + 1
    )
    layers = {"vision_layers": Layers(layers=vision)}
    if traits.injects:
        depth = config.text_config.num_hidden_layers
        decoder = injection.decoder_layers.resolve(
            decoder_choices(depth), "first", "injection.decoder_layers", length=depth
        )
        layers["decoder_layers"] = Layers(layers=decoder)
        if traits.is_single and (len(vision), len(decoder)) != (1, 1):
            raise ValueError(
                f"injection.kind = {injection.kind!r} joins one vision layer to one decoder layer, but vision_layers "
                f"names {len(vision)} and decoder_layers {len(decoder)}: give one index each"
            )
        if traits.gates == "pairs" and len(vision) != len(decoder):
            raise ValueError(
                f"injection.kind = {injection.kind!r} joins layers in pairs, but vision_layers names {len(vision)} "
                f"and decoder_layers {len(decoder)}: give both the same number"
            )
    return injection.model_copy(update=layers)


MOST_LOGITS = 2**27
"""Of one chunk of the loss: 512 MiB in fp32, three or four of which are alive at once. That is 883 tokens of Qwen2's
vocabulary of 152 thousand; Llama's of 32 thousand takes 4,194, so that a row of 4,096 is one chunk and nothing is
computed twice."""


def logits_at_once(vocabulary: int) -> int:
    """Tokens whose logits are in memory together (`model.loss`)."""
    return max(1, MOST_LOGITS // vocabulary)


SQUARE_LENGTH, TILED_LENGTH = 2048, 4096
"""`data.max_length` of runs that name none: of models that take an image as one square, and of those that tile it."""
