"""What prompts are to the model: the tokens of each prompt, and the pixels of each image once.

Several prompts often ask about one image. Those that stand in one batch share its way through the image processor and
the vision tower. `inputs_of` works on the CPU, `encode` on the device.

That is the way of our families. A model of another one gets what its own processor makes of the whole batch, and its
images go through it inside of `generate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from cli_ray.model.features import CliImageFeatures
from cli_ray.model.generation import CliForConditionalGeneration
from cli_ray.model.processor import FamilyProcessor


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that is ready for the processor."""

    text: str
    """The rendered chat with one image token for each image."""
    images: Sequence[Image.Image]
    image_hash: str
    """Over the encoded images: prompts with equal ones share them."""
    replies: tuple[int, ...] = ()
    """Characters of the text at which past replies begin."""


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """A batch as tensors on the CPU."""

    tokens: BatchFeature
    """`input_ids` and `attention_mask`, Int64[B, T], padded on the left; of another family also all else that its
    processor gives to the model."""
    pixels: Any
    """Arguments of `get_image_features` for the images of all prompts, each once; None without images, and for another
    family."""
    images: list[list[int]]
    """Of each prompt, which of those its images are."""
    turns: Tensor | None = None
    """Int64[B, T], how many replies have begun at each token; None where no prompt has any."""


def inputs_of(processor: ProcessorMixin, prompts: Sequence[Prompt]) -> ModelInputs:
    """The inputs that the processor makes of the prompts; those whose images are the same share them.

    A prompt's images are shared together or not at all, for a tower may see several images otherwise than one.

    Raises:
        ValueError: a text has other image tokens than images. The processor of another family may raise any error.
    """
    return (_shared if isinstance(processor, FamilyProcessor) else _whole)(processor, prompts)


def _whole(processor: ProcessorMixin, prompts: Sequence[Prompt]) -> ModelInputs:
    """By the processor's own call, as the chat of transformers makes it."""
    texts, images = [prompt.text for prompt in prompts], [list(prompt.images) for prompt in prompts]
    # A template that has begun the text leaves nothing to put in front of it (`ProcessorMixin.apply_chat_template`).
    first = processor.tokenizer.bos_token
    begun = {"add_special_tokens": False} if first and texts[0].startswith(first) else {}
    tokens = processor(
        images=images if any(images) else None,
        text=texts,
        padding=True,
        padding_side="left",
        return_tensors="pt",
        **begun,
    )
    return ModelInputs(tokens, None, [[] for _ in prompts])


def _shared(processor: ProcessorMixin, prompts: Sequence[Prompt]) -> ModelInputs:
    shown = [prompt for prompt in prompts if prompt.images]
    texts = [prompt.text for prompt in prompts]
    processor.validate_inputs(images=[list(prompt.images) for prompt in shown] or None, text=texts)
    distinct = {prompt.image_hash: list(prompt.images) for prompt in shown}
    pixels, marks = None, list[str]()
    if distinct:
        pixels, marks = processor.process_images([*distinct.values()], return_tensors="pt")
    first = dict(zip(distinct, accumulate(map(len, distinct.values()), initial=0), strict=False))
    order = [
        [first[prompt.image_hash] + index for index in range(len(prompt.images))] if prompt.images else []
        for prompt in prompts
    ]
    given = [marks[index] for images in order for index in images]
    texts, replaced = processor.get_text_with_replacements(texts, given)
    has_replies = any(prompt.replies for prompt in prompts)
    tokens = processor.tokenizer(
        texts,
        padding=True,
        padding_side="left",
        return_tensors="pt",
        return_offsets_mapping=has_replies,
        verbose=False,  # of one that is too long, which who asks is told anyway
    )
    turns = _turns(prompts, replaced, tokens.pop("offset_mapping")) if has_replies else None
    return ModelInputs(BatchFeature(dict(tokens)), pixels, order, turns)


def _turns(prompts: Sequence[Prompt], replaced: Sequence[Sequence[Mapping[str, Any]]], offsets_BT2: Tensor) -> Tensor:
    """How many replies have begun at each token.

    Args:
        prompts: of the batch.
        replaced: of each prompt, the image tokens of its text and where their replacements lie.
        offsets_BT2: characters at which each token begins and ends, replacements included.
    """
    turn_BT = torch.zeros(offsets_BT2.shape[:2], dtype=torch.long)
    for row, prompt in enumerate(prompts):
        images = replaced[row] if replaced else []
        for start in prompt.replies:
            before = [image for image in images if image["span"][1] <= start]
            moved = before[-1]["new_span"][1] - before[-1]["span"][1] if before else 0
            turn_BT[row] += offsets_BT2[row, :, 1] > start + moved
    return turn_BT


def encode(model: Any, inputs: ModelInputs, features: Mapping[str, CliImageFeatures] | None = None) -> dict[str, Any]:
    """Arguments of `generate` on the model's device: the tokens, and the features of their images.

    Args:
        model: in evaluation mode.
        inputs: of the batch.
        features: of the images of all prompts in their order, as `features_of` gives them; made here if not given.
    """
    images = [image for images in inputs.images for image in images]
    given = dict(inputs.tokens.to(model.device, model.dtype))  # integers keep their type
    if images:
        given["mm_encoder_outputs"] = features_of(model, inputs, images) if features is None else features
    if inputs.turns is not None and isinstance(model, CliForConditionalGeneration):
        given["turn_ids"] = inputs.turns.to(model.device)
    return given


def features_of(model: Any, inputs: ModelInputs, images: Sequence[int]) -> dict[str, CliImageFeatures]:
    """Features of a batch's images, in the order given, by one tower pass over each of them once.

    What stands in the order more than once is the same tensor. Plain models take the features as well.
    """
    pixels = inputs.pixels.to(model.device, model.dtype)  # integers keep their type
    features = model.base_model.get_image_features(**pixels, return_dict=True)
    layers = getattr(features, "injected_features", None)
    distinct = CliImageFeatures(pooler_output=features.pooler_output, injected_features=layers)
    return {"image": distinct.take(images)}
