"""Prompts of a batch that begin alike: questions about one image, whose tokens go through the language model once.

`predictor` asks for it where it changes no reply: the hidden states up to an image must not depend on what is asked
behind it. So it is for plain models, and for injection whose gates do not read the prompt.

Shapes: B items, U different beginnings, T tokens of a prompt, P of a beginning, R of what comes behind it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from cli_ray.inference.foreign import is_foreign
from cli_ray.inference.inputs import ModelInputs, features_of


def can_share(model: Any) -> bool:
    """Whether what the model makes of an image does not depend on the question. Of another family nothing is known."""
    if is_foreign(model.config.model_type):
        return False
    inner = model.base_model
    learned = getattr(inner, "agf", None) is not None
    return not learned or inner.injection.agf.context == "visual"


def share(model: Any, inputs: ModelInputs) -> dict[str, Any] | None:
    """Arguments of `generate`: the prompts with a cache of their beginnings, each of which was computed once.

    A beginning is a prompt up to its last image token; of one without images, its first token.

    Returns:
        None where no two items have the same images behind the same text.
    """
    begins, rests = _cut(inputs, model.config.image_token_id)
    named = [(tuple(begin), tuple(images)) for begin, images in zip(begins, inputs.images, strict=True)]
    at = {name: index for index, name in enumerate(dict.fromkeys(named))}
    if sum(bool(images) for _, images in at) == sum(map(bool, inputs.images)):
        return None
    pad, device = model.generation_config.pad_token_id, model.device
    begin_UP, mask_UP = _padded([begin for begin, _ in at], pad)
    rest_BR, mask_BR = _padded(rests, pad)
    cache = DynamicCache(config=model.config.text_config)
    model.base_model(
        input_ids=begin_UP.to(device),
        attention_mask=mask_UP.to(device),
        position_ids=(mask_UP.cumsum(1) - 1).clamp(min=0).to(device),
        past_key_values=cache,
        use_cache=True,
        mm_encoder_outputs=features_of(model, inputs, [image for _, images in at for image in images]),
    )
    of_B = torch.tensor([at[name] for name in named])
    cache.batch_select_indices(of_B)  # on the CPU, for the cache of a model may lie on several devices
    return {
        "input_ids": torch.cat([begin_UP[of_B], rest_BR], 1).to(device),
        "attention_mask": torch.cat([mask_UP[of_B], mask_BR], 1).to(device),
        "past_key_values": cache,
    }


def _cut(inputs: ModelInputs, image_token: int) -> tuple[list[list[int]], list[list[int]]]:
    """The beginnings of the prompts and what follows them, without padding."""
    begins, rests = [], []
    for row, mask in zip(inputs.tokens["input_ids"], inputs.tokens["attention_mask"], strict=True):
        prompt_T = row[mask.bool()]
        images = (prompt_T == image_token).nonzero()
        end = int(images[-1]) + 1 if len(images) else 1
        begins.append(prompt_T[:end].tolist())
        rests.append(prompt_T[end:].tolist())
    return begins, rests


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """The rows with padding on the left, and their mask. Int64[rows, longest], both."""
    longest = max(map(len, rows))
    ids = [[pad] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
