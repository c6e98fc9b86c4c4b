"""Conversations over several turns, as training, a re-encoded chat and a kept cache see them."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.data.collate import MicroBatch, collate, normalize
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IMAGE_MARK, Encoded, Message, Sample
from cli_ray.model.features import CliImageFeatures
from tests.data.shards import data_config
from tests.model.batches import image

REPLIES = ("A cat.", "Yes, it is\nblack.", "No.", "Two of them.")


def messages(images: Sequence[int], seed: int = 0) -> list[dict[str, Any]]:
    """A chat of as many turns as entries, each question with so many images."""
    chat = []
    for turn, count in enumerate(images):
        pictures = [{"type": "image", "image": image(seed + 3 * turn + i)} for i in range(count)]
        question = {"type": "text", "text": f"What is {'this ' * (turn + 1)}?"}
        chat.append({"role": "user", "content": [*pictures, question]})
        chat.append({"role": "assistant", "content": [{"type": "text", "text": REPLIES[turn]}]})
    return chat


def tokenised(processor: ProcessorMixin, chat: Any, **kwargs: Any) -> dict[str, Tensor]:
    """What the processor makes of a chat, or of several."""
    padding = {"padding": True, "padding_side": "left"} if isinstance(chat[0], list) else {}
    kwargs = {"add_generation_prompt": "continue_final_message" not in kwargs} | kwargs
    encoded = processor.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_tensors="pt", processor_kwargs=padding, **kwargs
    )
    return {name: tensor for name, tensor in encoded.items() if name != "mm_token_type_ids"}


def training_batch(processor: ProcessorMixin, chat: Sequence[dict[str, Any]]) -> MicroBatch:
    """The chat as one sample of training."""
    turns, pictures = [], []
    for message in chat:
        parts = []
        for part in message["content"]:
            parts.append(IMAGE_MARK if part["type"] == "image" else part["text"])
            if part["type"] == "image":
                buffer = BytesIO()
                part["image"].save(buffer, "PNG")
                pictures.append(buffer.getvalue())
        turns.append(Message.of_parts(message["role"], parts))
    encoder = Encoder(processor, data_config("unused"))
    row = encoder(Sample("chat", pictures, turns, "chats", "made up"))
    assert isinstance(row, Encoded), row
    return collate([row], encoder.pad_token_id, encoder.tiled)


def training_inputs(processor: ProcessorMixin, batch: MicroBatch) -> dict[str, Tensor]:
    """Arguments of the model in training."""
    inputs = batch.inputs | {"turn_ids": batch.turn_ids}
    if "pixel_values" in inputs:
        mean, std = processor.image_processor.image_mean, processor.image_processor.image_std
        inputs["pixel_values"] = normalize(inputs["pixel_values"], mean, std, torch.float32)
    return inputs


def with_cache(
    model: PreTrainedModel, inputs: dict[str, Tensor], cuts: Sequence[int], images: Sequence[int], cache: Any
) -> tuple[Tensor, list[Tensor]]:
    """Logits and gates of a conversation that goes through the model in pieces that end at `cuts`.

    Its images are encoded together, for OneVision cuts them into tiles only where there is a single one.

    Args:
        model: in evaluation mode.
        inputs: of the whole conversation.
        cuts: positions, the last one its end.
        images: how many images lie before each cut.
        cache: empty.
    """
    names = {"pixel_values", "image_sizes", "batch_num_images"} & inputs.keys()
    logits, gates, start, before = [], [], 0, 0
    with torch.no_grad():
        encoded = model.model.get_image_features(**{name: inputs[name] for name in names}) if names else None
        for cut, seen in zip(cuts, images, strict=True):
            given: dict[str, Any] = {
                "turn_ids": inputs["turn_ids"][:, :cut],
                "attention_mask": inputs["attention_mask"][:, :cut],
            }
            if seen > before:
                given["mm_encoder_outputs"] = {"image": some(encoded, before, seen)}
            output = model(input_ids=inputs["input_ids"][:, start:cut], past_key_values=cache, use_cache=True, **given)
            logits.append(output.logits)
            if output.gates is not None:
                gates.append(output.gates)
            start, before = cut, seen
    return torch.cat(logits, 1), gates


def some(encoded: Any, start: int, stop: int) -> CliImageFeatures:
    """The features of some of the images."""
    layers = [layer[start:stop] for layer in encoded.injected_features]
    return CliImageFeatures(pooler_output=encoded.pooler_output[start:stop], injected_features=layers)


def joined(images: Sequence[CliImageFeatures]) -> CliImageFeatures:
    """The features of the images of several samples."""
    layers = zip(*[each.injected_features for each in images], strict=True)
    return CliImageFeatures(
        pooler_output=[rows for each in images for rows in each.pooler_output],
        injected_features=[[rows for of_sample in layer for rows in of_sample] for layer in layers],
    )
