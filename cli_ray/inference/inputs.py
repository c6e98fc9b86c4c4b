"""What prompts are to the model: the tokens of each prompt, and the pixels of each image once.

Several prompts often ask about one image. Those that stand in one batch share its way through the image processor and
the vision tower. `inputs_of` works on the CPU, `encode` on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from PIL import Image
from transformers import ProcessorMixin

from cli_ray.model.features import CliImageFeatures


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that is ready for the processor."""

    text: str
    """The rendered chat with one image token for each image."""
    images: Sequence[Image.Image]
    image_hash: str
    """Over the encoded images: prompts with equal ones share them."""


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """A batch as tensors on the CPU."""

    tokens: Any
    """`input_ids` and `attention_mask`, Int64[B, T], padded on the left."""
    pixels: Any
    """Arguments of `get_image_features` for the images of all prompts, each once; None without images."""
    images: list[list[int]]
    """Of each prompt, which of those its images are."""


def inputs_of(processor: ProcessorMixin, prompts: Sequence[Prompt]) -> ModelInputs:
    """The inputs that the processor makes of the prompts; those whose images are the same share them.

    A prompt's images are shared together or not at all, for a tower may see several images otherwise than one.

    Raises:
        ValueError: a text has other image tokens than images.
    """
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
    texts, _ = processor.get_text_with_replacements(texts, [marks[index] for images in order for index in images])
    tokens = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    return ModelInputs(tokens, pixels, order)


def encode(model: Any, inputs: ModelInputs) -> dict[str, Any]:
    """Arguments of `generate` on the model's device: the tokens, and the features of their images."""
    images = [image for images in inputs.images for image in images]
    tokens = dict(inputs.tokens.to(model.device))
    return tokens | ({"mm_encoder_outputs": features_of(model, inputs, images)} if images else {})


def features_of(model: Any, inputs: ModelInputs, images: Sequence[int]) -> dict[str, CliImageFeatures]:
    """Features of a batch's images, in the order given, by one tower pass over each of them once.

    What stands in the order more than once is the same tensor. Plain models take the features as well.
    """
    pixels = inputs.pixels.to(model.device, model.dtype)  # integers keep their type
    features = model.base_model.get_image_features(**pixels, return_dict=True)
    layers = getattr(features, "injected_features", None)
    distinct = CliImageFeatures(pooler_output=features.pooler_output, injected_features=layers)
    return {"image": distinct.take(images)}
