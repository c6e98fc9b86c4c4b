"""Small models whose sizes all differ, so that formulas cannot mix them up, and batches for them."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from cli_ray.config import LoraConfig, RunConfig
from cli_ray.model import attach
from cli_ray.model.build import checkpoint_activations, freeze_unused, with_parameters_in
from cli_ray.model.families import family_named
from cli_ray.model.lora import inject_lora
from cli_ray.model.parameters import part_of

ALL = ("vision_tower", "projector", "amp", "agf", "llm")
IMAGE = 5
SIDE, PATCHES = 56, 49
VISION = {"hidden_size": 48, "intermediate_size": 130, "num_hidden_layers": 4, "num_attention_heads": 4}
TEXT = {"hidden_size": 96, "intermediate_size": 250, "num_hidden_layers": 3, "num_attention_heads": 4}


def run_of(family: str, parts: Sequence[str] = ALL, rank: int = 0, **changes: Any) -> RunConfig:
    """A run on CPU that trains these parts; `changes` are sections, `train` and `injection`."""
    injection = {"vision_layers": [1, 2], "decoder_layers": [0, 1], "agf": {"num_heads": 2, "hidden_size": 8}}
    return RunConfig.model_validate(
        {
            "name": "costs",
            "model": {"family": family, "checkpoint": "tiny"},
            "injection": injection | changes.get("injection", {}),
            "lora": {"rank": rank},
            "data": {"sources": [{"path": "none"}]},
            "optim": {part: {"lr": float(part in parts)} for part in (*ALL, "lora")},
            "train": {"zero_stage": 1} | changes.get("train", {}),
            "cluster": {"gpus_per_worker": 0},
        }
    )


def model_of(run: RunConfig, **text: Any) -> PreTrainedModel:
    """The model of a run, with what it freezes frozen."""
    family = family_named(run.model.family)
    vision = family.tiny_vision(96, image_size=SIDE, patch_size=8, **VISION)
    words = family.text_config_class(**TEXT | {"vocab_size": 1000, "num_key_value_heads": 2} | text)
    fields = family.tiny_fields({"<video>": 6}.__getitem__, vision)
    plain = family.plain_class(
        family.plain_class.config_class(vision_config=vision, text_config=words, image_token_index=IMAGE, **fields)
    )
    model = attach(plain, run.injection)
    freeze_unused(model)
    if run.lora.rank:
        inject_lora(model, LoraConfig(rank=run.lora.rank))
    for name, parameter in model.named_parameters():
        if not getattr(run.optim, part_of(name)).lr:
            parameter.requires_grad_(False)
    model = with_parameters_in(model, torch.bfloat16 if run.train.precision == "bf16" else torch.float32).train()
    if run.train.activation_checkpointing:
        checkpoint_activations(model)
    return model


def batch_of(model: PreTrainedModel, *, packed: bool, rows: int = 2, supervised: int = 10) -> dict[str, Tensor]:
    """As the engine hands it on: samples with an image each, OneVision's of 2 x 2 tiles and the thumbnail."""
    tiled = hasattr(model.config, "image_grid_pinpoints")
    visual, length = (PATCHES * 5 + 14, 400) if tiled else (PATCHES, 83)
    tiles = (5,) if tiled else ()
    ids_BT = torch.full((rows, length), 7)
    ids_BT[:, 1 : 1 + visual] = IMAGE
    labels_BT = torch.full((rows, length), -100)
    labels_BT[:, -supervised:] = 7
    turn_BT, segment_BT = (labels_BT != -100).cumsum(1), torch.arange(rows)[:, None].expand(rows, length)
    inputs: dict[str, Any] = {"pixel_values": torch.randn(rows, *tiles, 3, SIDE, SIDE, dtype=model.dtype)}
    if tiled:
        inputs |= {"image_sizes": torch.tensor([[2 * SIDE] * 2] * rows), "batch_num_images": torch.ones(rows).long()}
    if packed:
        ids_BT, labels_BT, turn_BT, segment_BT = (x.reshape(1, -1) for x in (ids_BT, labels_BT, turn_BT, segment_BT))
        inputs["segment_ids"] = segment_BT
    else:
        inputs["attention_mask"] = torch.ones_like(ids_BT)
    keep_BT = F.pad(labels_BT[:, 1:] != -100, (0, 1))
    targets = labels_BT[:, 1:][keep_BT[:, :-1]]
    return inputs | {
        "input_ids": ids_BT,
        "turn_ids": turn_BT,
        "logits_to_keep": keep_BT,
        "targets": targets,
        "use_cache": False,
    }
