"""Sizes of well-known models, so that a plan needs no network.

From the config.json of each on the hub, as the docs of transformers name them; `docs/plan.md` says how to plan others.
"""

from typing import Any

from cli_ray.costs.tiny import TINY
from cli_ray.errors import UserError
from cli_ray.plan.shape import Shape, shape_of

CLIP = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "image_size": 336, "patch_size": 14}  # fmt: skip
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
          "image_size": 384, "patch_size": 14}  # fmt: skip
LLAMA = {
    "7b": {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096},
    "13b": {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096, "hidden_size": 5120,
            "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40},
}  # fmt: skip
QWEN = {
    "0.5b": {"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
             "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
             "tie_word_embeddings": True},
    "7b": {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
           "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
    "72b": {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568,
            "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8},
}  # fmt: skip
PARTS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14-336": CLIP,
    "google/siglip-so400m-patch14-384": SIGLIP,
    **{f"lmsys/vicuna-{size}-v1.5": LLAMA[size] for size in LLAMA},
    **{f"Qwen/Qwen2-{size.upper()}{end}": QWEN[size] for size in QWEN for end in ("", "-Instruct")},
}
"""Vision towers and language models, by their ids on the hub."""


def _llava(size: str) -> dict[str, Any]:
    # The image and the padding token are added, and the embeddings grow to a multiple of 64.
    return {"model_type": "llava", "vision_config": CLIP, "text_config": LLAMA[size] | {"vocab_size": 32064}}


def _onevision(size: str) -> dict[str, Any]:
    tower = SIGLIP | {"num_hidden_layers": 26, "vision_use_head": False}
    return {"model_type": "llava_onevision", "vision_config": tower, "text_config": QWEN[size] | {"vocab_size": 152000}}


CHECKPOINTS: dict[str, dict[str, Any]] = {
    **{f"llava-hf/llava-1.5-{size}-hf": _llava(size) for size in LLAMA},
    **{
        f"llava-hf/llava-onevision-qwen2-{size}-{stage}-hf": _onevision(size)
        for size in QWEN
        for stage in (("si", "ov") if size == "0.5b" else ("si", "ov", "ov-chat"))
    },
}
"""The content of config.json, as far as sizes go, by id on the hub."""


def known_shape(name: str) -> Shape | None:
    """The shape of a published LLaVA; None where it is not known."""
    values = CHECKPOINTS.get(name)
    return None if values is None else shape_of(values, name)


def tiny_shape(family: str) -> Shape:
    """The shape of the `tiny` checkpoint of a family."""
    vision = {"hidden_size": TINY.vision_width, "intermediate_size": 2 * TINY.vision_width,
              "num_hidden_layers": TINY.vision_layers, "image_size": TINY.image_size,
              "patch_size": TINY.patch_size}  # fmt: skip
    text = {"hidden_size": TINY.decoder_width, "intermediate_size": 2 * TINY.decoder_width,
            "num_hidden_layers": TINY.decoder_layers, "num_attention_heads": TINY.heads,
            "num_key_value_heads": TINY.heads // 2, "max_position_embeddings": 4096}  # fmt: skip
    kinds = {"llava": ("clip_vision_model", "llama", 4), "llava_onevision": ("siglip_vision_model", "qwen2", 7)}
    if family not in kinds:
        raise UserError(
            f"the sizes of the tiny {family} are not known: build it, save its config.json and name its folder"
        )
    tower, words, special = kinds[family]
    values: dict[str, Any] = {
        "model_type": family,
        "vision_config": vision | {"model_type": tower},
        "text_config": text | {"model_type": words, "vocab_size": 256 + special},
    }
    if family == "llava_onevision":
        sides = [TINY.image_size * count for count in (1, 2, 3)]
        values["vision_config"]["vision_use_head"] = False
        values["image_grid_pinpoints"] = [(height, width) for height in sides for width in sides]
    return shape_of(values, "tiny")
