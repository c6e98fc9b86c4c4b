"""Parameters of a model by part, and how many of them are trained: those that `model.build` makes, without making them.

`plan` and `model.cost` call it.
"""

from dataclasses import dataclass
from typing import Any

from cli_ray.config import InjectionConfig, LoraConfig, OptimConfig, Part
from cli_ray.costs.gradients import Gradients
from cli_ray.costs.sizes import attention_widths, blocks_read, patches_of


@dataclass(frozen=True, slots=True)
class Count:
    """Parameters of a part."""

    all: int
    trained: int


def parameters(config: Any, injection: InjectionConfig, optim: OptimConfig, lora: LoraConfig) -> dict[Part, Count]:
    """The parameters of each part that the model has.

    Args:
        config: of the model.
        injection: resolved.
        optim: whose rates of 0 freeze parts.
        lora: adapters.
    """
    flow = Gradients(config, injection, optim, lora.rank)
    tower, read = tower_parameters(config)
    counts: dict[Part, int] = {
        "vision_tower": tower,
        "projector": projector_parameters(config),
        "amp": amp_parameters(config, injection),
        "agf": agf_parameters(config, injection),
        "llm": text_parameters(config),
        "lora": lora_parameters(config.text_config, lora.rank),
    }
    trained = {part: count * flow.trained(part) for part, count in (counts | {"vision_tower": read}).items()}
    return {part: Count(count, trained[part]) for part, count in counts.items() if count}


def tower_parameters(config: Any) -> tuple[int, int]:
    """Of the vision tower: all, and those that the layer which is read depends on."""
    vision = config.vision_config
    width, inner = vision.hidden_size, vision.intermediate_size
    patches, is_clip = patches_of(vision), vision.model_type.startswith("clip")
    norm = 2 * width
    embedding = width * getattr(vision, "num_channels", 3) * vision.patch_size**2 + patches * width
    # CLIP has a class token with its position and a norm before the blocks, SigLIP a bias of the patches.
    embedding += 2 * width + norm if is_clip else width
    mlp = 2 * width * inner + inner + width
    block = 4 * (width * width + width) + mlp + 2 * norm
    head = 0
    if not is_clip and getattr(vision, "vision_use_head", True):
        head = width + 4 * width * width + 4 * width + mlp + norm
    read = embedding + blocks_read(config) * block
    return embedding + vision.num_hidden_layers * block + norm + head, read


def projector_parameters(config: Any) -> int:
    """Of the projector, with the newline of models whose images are cut into tiles."""
    width, bias = config.text_config.hidden_size, getattr(config, "multimodal_projector_bias", True)
    newline = width if getattr(config, "image_grid_pinpoints", None) else 0
    return int((config.vision_config.hidden_size + width) * width + 2 * width * bias + newline)


def amp_parameters(config: Any, injection: InjectionConfig) -> int:
    """Of AMP, or of the columns by which a rival widens the projector."""
    vision, width = config.vision_config.hidden_size, config.text_config.hidden_size
    taps, amp, traits = len(injection.tapped), injection.amp, injection.traits
    if traits.at_projector:
        return int(taps * vision * width)
    if not traits.injects:
        return 0
    projections = {"low_rank": amp.rank * (vision + width), "full": (vision + width + 2) * width, "shared": 0}
    return int(taps * (projections[amp.projector] + vision * amp.norm))


def agf_parameters(config: Any, injection: InjectionConfig) -> int:
    """Of AGF: two queries a head and the values, and the rows of the gate with their bias."""
    if injection.traits.gates != "learned":
        return 0
    agf, width, taps = injection.agf, config.text_config.hidden_size, len(injection.tapped)
    sets = 1 if agf.shared else len(injection.injected)
    return int(sets * ((2 * agf.num_heads + agf.hidden_size) * width + taps * (2 * agf.hidden_size + 1)))


def text_parameters(config: Any) -> int:
    """Of the language model with its head, which may share the embeddings."""
    text = config.text_config
    width, inner = text.hidden_size, text.intermediate_size
    queries, keys = attention_widths(text)
    # Qwen2 has biases at queries, keys and values whatever its config says.
    biased = text.model_type == "qwen2" or getattr(text, "attention_bias", False)
    attention = 2 * width * (queries + keys) + (queries + 2 * keys) * biased
    if text.model_type != "qwen2" and biased:
        attention += width
    mlp = 3 * width * inner + (2 * inner + width) * getattr(text, "mlp_bias", False)
    embeddings = text.vocab_size * width * (1 if config.tie_word_embeddings else 2)
    return int(embeddings + text.num_hidden_layers * (attention + mlp + 2 * width) + width)


def lora_parameters(text: Any, rank: int) -> int:
    """Of adapters around the seven projections of each decoder layer."""
    width, inner = text.hidden_size, text.intermediate_size
    queries, keys = attention_widths(text)
    ends = 2 * (width + queries) + 2 * (width + keys) + 3 * (width + inner)
    return int(text.num_hidden_layers * rank * ends)
