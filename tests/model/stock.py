"""Tiny plain models of the families that have an adapter alone, and batches for them without a processor.

Shapes: B samples, T positions.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

VOCABULARY, IMAGE, VIDEO, WIDTH = 96, 5, 6, 64
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
BLOCKS = {"num_hidden_layers": 6, "image_size": 32, "patch_size": 8}


def _qwen2_5_vl() -> PreTrainedModel:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    patches = {"patch_size": 4, "temporal_patch_size": 2, "window_size": 16, "fullatt_block_indexes": [2, 5]}
    tower = {"hidden_size": 48, "intermediate_size": 80, "num_heads": 4, "depth": 6, "out_hidden_size": WIDTH}
    config = Qwen2_5_VLConfig(
        vision_config=tower | patches | {"initializer_range": 0.2},
        text_config=TEXT | {"rope_parameters": rope},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl() -> PreTrainedModel:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    patches = {"patch_size": 4, "temporal_patch_size": 2, "num_position_embeddings": 64}
    tower = {"hidden_size": 48, "intermediate_size": 80, "num_heads": 4, "depth": 6, "out_hidden_size": WIDTH}
    config = Qwen3VLConfig(
        vision_config=tower | patches | {"deepstack_visual_indexes": [1, 3], "initializer_range": 0.2},
        text_config=TEXT | {"head_dim": 16, "rope_parameters": rope},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return Qwen3VLForConditionalGeneration(config)


def _smolvlm() -> PreTrainedModel:
    config = SmolVLMConfig(
        vision_config=VISION | BLOCKS,
        text_config=TEXT | {"model_type": "llama"},
        scale_factor=2,
        image_token_id=IMAGE,
        pad_token_id=0,
    )
    return SmolVLMForConditionalGeneration(config)


def _idefics3() -> PreTrainedModel:
    config = Idefics3Config(
        vision_config=VISION | BLOCKS,
        text_config=TEXT | {"model_type": "llama"},
        scale_factor=2,
        image_token_id=IMAGE,
        pad_token_id=0,
    )
    return Idefics3ForConditionalGeneration(config)


def _internvl() -> PreTrainedModel:
    sizes = {"image_size": [32, 32], "patch_size": [8, 8], "use_mean_pooling": False}
    config = InternVLConfig(
        vision_config=VISION | BLOCKS | sizes,
        text_config=TEXT | {"model_type": "qwen2"},
        image_token_id=IMAGE,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config)


def _gemma3() -> PreTrainedModel:
    config = Gemma3Config(
        vision_config=VISION | BLOCKS | {"model_type": "siglip_vision_model", "vision_use_head": False},
        text_config=TEXT | {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16},
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=7,
        eoi_token_index=8,
    )
    return Gemma3ForConditionalGeneration(config)


STOCK = {
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "smolvlm": _smolvlm,
    "idefics3": _idefics3,
    "internvl": _internvl,
    "gemma3": _gemma3,
}
GRIDS = ((4, 8), (6, 4), (2, 2), (8, 6))
"""Of Qwen's images in turn, in patches."""


def build(kind: str, seed: int = 0) -> PreTrainedModel:
    """A plain model with random weights, every one of which counts, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = STOCK[kind]()
        for parameter in model.parameters():
            if not parameter.any() or (parameter == 1).all():
                torch.nn.init.normal_(parameter, std=0.2, mean=parameter.flatten()[0].item())
    model.generation_config.pad_token_id = 0
    return model.eval()


def batch(kind: str, counts: tuple[int, ...], side: str = "right", seed: int = 0) -> dict[str, Tensor]:
    """As a processor's: one sample per entry of `counts` with that many images, texts of unequal lengths."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    grids = [GRIDS[i % len(GRIDS)] for i in range(total)]
    lengths = [rows * columns // 4 for rows, columns in grids] if kind.startswith("qwen") else [4] * total
    texts, image = [], 0
    for row, count in enumerate(counts):
        text = torch.randint(10, VOCABULARY, (3 + row,), generator=generator).tolist()
        for _ in range(count):
            text += [7, *[IMAGE] * lengths[image], 8, 9 + row]
            image += 1
        texts.append([1, *text, *torch.randint(10, VOCABULARY, (4 + 2 * row,), generator=generator).tolist()])
    longest = max(map(len, texts))
    pad = [[0] * (longest - len(text)) for text in texts]
    real = [[1] * len(text) for text in texts]
    both = [(t + p, r + p) if side == "right" else (p + t, p + r) for t, r, p in zip(texts, real, pad, strict=True)]
    ids, mask = (torch.tensor(rows) for rows in zip(*both, strict=True))
    inputs = {"input_ids": ids, "attention_mask": mask}
    if kind.startswith("qwen"):
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
    if kind == "gemma3":
        inputs["token_type_ids"] = (ids == IMAGE).long()
    if not total:
        return inputs
    if kind.startswith("qwen"):
        patches = sum(rows * columns for rows, columns in grids)
        inputs["pixel_values"] = torch.randn(patches, 3 * 2 * 4 * 4, generator=generator)
        inputs["image_grid_thw"] = torch.tensor([[1, *grid] for grid in grids])
    elif kind in ("smolvlm", "idefics3"):
        inputs["pixel_values"] = torch.zeros(len(counts), max(counts), 3, 32, 32)
        for row, count in enumerate(counts):
            inputs["pixel_values"][row, :count] = torch.randn(count, 3, 32, 32, generator=generator)
    else:
        inputs["pixel_values"] = torch.randn(total, 3, 32, 32, generator=generator)
    return inputs
