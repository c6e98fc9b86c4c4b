"""`generate` in all its ways gives what a plain loop over forward passes gives."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from tests.model.batches import batch, cli_model, image, logits

LENGTH = 5
GREEDY: dict[str, Any] = {"max_new_tokens": LENGTH, "min_new_tokens": LENGTH, "do_sample": False}


@pytest.fixture(scope="module")
def model(family: str) -> PreTrainedModel:
    return cli_model(family)


def new_tokens(model: PreTrainedModel, inputs: dict[str, Tensor], **kwargs: Any) -> Tensor:
    """The tokens that `generate` adds; never an image token, which without a cache would ask for an image."""
    tokens: Tensor = model.generate(**inputs, **GREEDY, suppress_tokens=[model.config.image_token_id], **kwargs)
    return tokens[:, inputs["input_ids"].shape[1] :]


def test_greedy_equals_a_loop_without_cache(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [3])
    start = inputs["input_ids"].shape[1]
    grown = dict(inputs)
    eos = model.generation_config.eos_token_id
    for _ in range(LENGTH):
        turns = torch.zeros_like(grown["input_ids"])
        turns[:, start:] = 1
        scores = logits(model, grown, turn_ids=turns, use_cache=False)[:, -1]
        scores[:, [eos, model.config.image_token_id]] = -torch.inf
        grown["input_ids"] = torch.cat([grown["input_ids"], scores.argmax(-1, keepdim=True)], 1)
        grown["attention_mask"] = torch.ones_like(grown["input_ids"])
    assert torch.equal(new_tokens(model, inputs), grown["input_ids"][:, start:])
    assert torch.equal(new_tokens(model, inputs, use_cache=False), grown["input_ids"][:, start:])


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
def test_a_mixed_batch_equals_its_samples_alone(
    model: PreTrainedModel, processor: ProcessorMixin, settings: dict[str, Any]
) -> None:
    counts = [0, 1, 3]
    together = new_tokens(model, batch(processor, counts, side="left"), **settings)
    for row, count in enumerate(counts):
        texts = [f"{'<image>' * count} tell {'me ' * row}more"]
        images = [[image(10 * row + i) for i in range(count)]] if count else None
        alone = dict(processor(images=images, text=texts, return_tensors="pt"))
        assert torch.equal(together[row : row + 1], new_tokens(model, alone, **settings)), f"{count} images"


def test_several_replies_keep_their_images(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [2, 1], side="left")
    torch.manual_seed(0)
    settings = {"max_new_tokens": LENGTH, "do_sample": True, "num_return_sequences": 3, "top_k": 1}
    replies = model.generate(**inputs, **settings)
    assert torch.equal(
        replies, model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False).repeat_interleave(3, 0)
    )


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (60, 60), (90, 60), (96, 96), (20, 96)], ids=str)
def test_one_to_ten_tiles(
    model: PreTrainedModel, family: str, processor: ProcessorMixin, size: tuple[int, int]
) -> None:
    picture = image(0).resize(size[::-1])
    inputs = dict(processor(images=[[picture]], text=["<image> what"], return_tensors="pt"))
    with torch.no_grad():
        output = model(**inputs)
    assert output.gates.shape == (3, 1, 3)
    assert len(output.image_hidden_states) == int((inputs["input_ids"] == model.config.image_token_id).sum())
    cached = new_tokens(model, inputs)
    assert torch.equal(cached, new_tokens(model, inputs, use_cache=False))


def test_embeddings_instead_of_tokens(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [1])
    expected = logits(model, inputs)
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    assert torch.equal(logits(model, inputs | {"inputs_embeds": embeds}), expected)


def test_logits_to_keep_with_a_mask_gives_the_same_loss(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [1, 0])
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :12] = -100
    keep = torch.cat([labels[:, 1:] != -100, torch.zeros(len(labels), 1, dtype=torch.bool)], 1)
    with torch.no_grad():
        whole, kept = model(**inputs, labels=labels), model(**inputs, labels=labels, logits_to_keep=keep)
    assert torch.equal(kept.logits, whole.logits[keep])
    assert torch.allclose(kept.loss, whole.loss)


def test_a_plain_draft_model_changes_nothing(
    model: PreTrainedModel, plain_model: PreTrainedModel, processor: ProcessorMixin
) -> None:
    inputs = batch(processor, [1])
    assert torch.equal(new_tokens(model, inputs, assistant_model=plain_model), new_tokens(model, inputs))
