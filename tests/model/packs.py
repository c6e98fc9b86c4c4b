"""The same samples padded to a batch and packed into rows, as the model tests compare them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.data.collate import MicroBatch
from tests.model.chats import messages, training_batch, training_inputs

Sample = dict[str, Tensor]
"""Arguments of the model, with labels, of one sample alone."""


def samples(processor: ProcessorMixin, chats: Sequence[Sequence[int]]) -> list[Sample]:
    """A sample of training for each chat, given as the images of its turns."""
    batches: list[MicroBatch] = [training_batch(processor, messages(images, seed)) for seed, images in enumerate(chats)]
    return [training_inputs(processor, batch) | {"labels": batch.labels} for batch in batches]


def packed(rows: Sequence[Sequence[Sample]]) -> dict[str, Tensor]:
    """The samples of each row end to end; shorter rows are padded."""
    length = max(sum(sample["input_ids"].shape[1] for sample in row) for row in rows)
    numbered = [[one | {"segment_ids": torch.full_like(one["labels"], i)} for i, one in enumerate(row)] for row in rows]
    for first in (one for row in numbered for one in row):
        first["labels"] = F.pad(first["labels"][:, 1:], (1, 0), value=-100)
    fill = {"input_ids": 0, "labels": -100, "turn_ids": -1, "segment_ids": -1}
    laid = {
        name: torch.cat([_pad(torch.cat([sample[name] for sample in row], 1), length, value) for row in numbered])
        for name, value in fill.items()
    }
    return laid | images_of([sample for row in rows for sample in row])


def padded(batch: Sequence[Sample]) -> dict[str, Tensor]:
    """One sample a row."""
    length = max(sample["input_ids"].shape[1] for sample in batch)
    fill = {"input_ids": 0, "labels": -100, "turn_ids": -1, "attention_mask": 0}
    laid = {name: torch.cat([_pad(sample[name], length, value) for sample in batch]) for name, value in fill.items()}
    return laid | images_of(batch)


def images_of(batch: Sequence[Sample]) -> dict[str, Tensor]:
    """The images of all samples; of a tiled model with their sizes and the number of each sample's."""
    with_images = [sample for sample in batch if "pixel_values" in sample]
    if not with_images:
        return {}
    pixels = [sample["pixel_values"] for sample in with_images]
    if pixels[0].ndim == 4:
        return {"pixel_values": torch.cat(pixels)}
    most = max(of_sample.shape[1] for of_sample in pixels)
    nothing = torch.zeros(1, dtype=torch.long)
    return {
        "pixel_values": torch.cat([F.pad(one, (0, 0, 0, 0, 0, 0, 0, most - one.shape[1])) for one in pixels]),
        "image_sizes": torch.cat([sample["image_sizes"] for sample in with_images]),
        "batch_num_images": torch.cat([sample.get("batch_num_images", nothing) for sample in batch]),
    }


def losses(model: PreTrainedModel, inputs: dict[str, Tensor], **kwargs: Any) -> Tensor:
    """Negative log-likelihood of each supervised token, as training takes it."""
    given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    keep_BT = F.pad(inputs["labels"][:, 1:] != -100, (0, 1))
    targets = inputs["labels"][:, 1:][keep_BT[:, :-1]]
    nll: Tensor = model(**given, logits_to_keep=keep_BT, targets=targets, use_cache=False, **kwargs).nll
    return nll


def _pad(tensor_1T: Tensor, length: int, value: int) -> Tensor:
    return F.pad(tensor_1T, (0, length - tensor_1T.shape[1]), value=value)
