"""Replies of a model, compared word for word."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from cli_ray.data.sample import IMAGE_MARK
from cli_ray.data.synthetic import SyntheticSample, Turn

BATCH = 50
LONGEST_REPLY = 12
"""Tokens; a colour is at most a few."""


def exact_match(model_folder: Path, asked: Sequence[tuple[SyntheticSample, Turn]]) -> list[bool]:
    """Whether the greedy reply of an exported model equals the answer, for each question by itself."""
    model = AutoModelForImageTextToText.from_pretrained(model_folder).eval()
    processor = AutoProcessor.from_pretrained(model_folder)
    correct = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        messages = [[{"role": "user", "content": f"{IMAGE_MARK}\n{turn.question}"}] for _, turn in batch]
        inputs = processor(
            text=[processor.apply_chat_template(one, add_generation_prompt=True) for one in messages],
            images=[Image.open(BytesIO(sample.image)) for sample, _ in batch],
            return_tensors="pt",
            padding=True,
            padding_side="left",
        )
        with torch.inference_mode():
            output_BT = model.generate(**inputs, max_new_tokens=LONGEST_REPLY, do_sample=False)
        replies = processor.batch_decode(output_BT[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        correct += [reply.strip() == turn.answer for reply, (_, turn) in zip(replies, batch, strict=True)]
    return correct
