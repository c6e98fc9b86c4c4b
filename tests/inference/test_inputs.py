"""Inputs of prompts: those of the processor, with each image once."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

from cli_ray.inference.inputs import Prompt, encode, inputs_of
from cli_ray.model.tiny import build_tiny, tiny_processor

SHOWN = ([0], [0], [6], [2, 6], [0], [6], [6, 2], [2, 6], [2, 2], [2])
"""Images of each prompt by their seed: seeds 0 and 6 are of one size, and every set stands alone or comes again."""
DISTINCT = ([0], [6], [2, 6], [6, 2], [2, 2], [2])


def prompts_of(shown: Sequence[Sequence[int]]) -> list[Prompt]:
    pixels = {seed: np.random.default_rng(seed).integers(0, 255, (50, 90, 3), dtype=np.uint8) for seed in range(9)}
    return [
        Prompt(
            f"USER: {'<image>' * len(seeds)}How high is bar {row}? ASSISTANT:",
            [Image.fromarray(pixels[seed]) for seed in seeds],
            str(seeds),
        )
        for row, seeds in enumerate(shown)
    ]


def test_inputs_are_those_of_the_processor_with_each_image_once(family: str) -> None:
    processor, prompts = tiny_processor(family), prompts_of([*SHOWN, []])
    inputs = inputs_of(processor, prompts)
    whole = processor(
        images=[prompt.images for prompt in prompts if prompt.images],
        text=[prompt.text for prompt in prompts],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    assert inputs.tokens.keys() | inputs.pixels.keys() == whole.keys()
    for name, value in inputs.tokens.items():
        assert torch.equal(value, whole[name])
    assert len(inputs.pixels["pixel_values"]) == sum(map(len, DISTINCT))
    assert torch.equal(inputs.pixels["pixel_values"][[*chain(*inputs.images)]], whole["pixel_values"])


def test_a_text_with_other_marks_than_images_is_refused(family: str) -> None:
    (prompt,) = prompts_of([[0]])
    with pytest.raises(ValueError, match="number of <image> tokens"):
        inputs_of(tiny_processor(family), [Prompt("<image><image>", prompt.images, prompt.image_hash)])


def test_prompts_without_images_run_no_tower(family: str) -> None:
    inputs = inputs_of(tiny_processor(family), prompts_of([[], []]))
    assert (inputs.pixels, inputs.images) == (None, [[], []])
    assert encode(build_tiny(family), inputs).keys() == inputs.tokens.keys()
