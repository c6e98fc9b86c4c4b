"""The gates of an image read everything before the first reply that follows it, whichever way the chat goes."""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, DynamicCache, PreTrainedModel, ProcessorMixin

from tests.model.batches import cli_model, logits
from tests.model.chats import joined, messages, some, tokenised, training_batch, training_inputs, with_cache

CHATS = (
    ("tanh", [1]),
    ("sigmoid", [2, 0]),
    ("softmax", [1, 1]),
    ("tanh", [0, 2]),
    ("sigmoid", [1, 2, 0]),
    *[(gate, [0, 1, 1, 2]) for gate in ("tanh", "sigmoid", "softmax")],
)
"""Images of the question in each turn."""
WAYS: tuple[dict[str, Any], ...] = ({}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False})
GATES = pytest.mark.parametrize("gate", ["tanh", "sigmoid", "softmax"])
CLOSE: dict[str, Any] = {"atol": 2e-5, "rtol": 1e-4}


def reply_starts(turn_ids: Tensor) -> list[int]:
    """Where replies begin in a sample of training."""
    return [int(at) + 1 for at in (turn_ids[0, 1:] > turn_ids[0, :-1]).nonzero()[:, 0]]


@pytest.mark.parametrize(("gate", "images"), CHATS, ids=str)
def test_training_a_chat_encoded_again_and_a_kept_cache_agree(
    family: str, processor: ProcessorMixin, gate: str, images: Sequence[int]
) -> None:
    model, chat = cli_model(family, agf={"gate": gate}), messages(images)
    inputs = training_inputs(processor, training_batch(processor, chat))
    with torch.no_grad():
        trained = model(**inputs)
    starts, counts = reply_starts(inputs["turn_ids"]), list(accumulate(images))
    for turn, start in enumerate(starts):
        again = tokenised(processor, chat[: 2 * turn + 1])
        if sum(images) == counts[turn]:  # OneVision cuts an image into tiles while it is the only one
            assert torch.equal(again["input_ids"], inputs["input_ids"][:, :start])
            torch.testing.assert_close(logits(model, again), trained.logits[:, :start], **CLOSE)
    length = inputs["input_ids"].shape[1]
    pieces = [(start + token, count) for start, count in zip(starts, counts, strict=True) for token in (0, 1, 2)]
    cuts, seen = zip(*pieces, (length, counts[-1]), strict=True)
    kept, gates = with_cache(model, inputs, cuts, seen, DynamicCache())
    torch.testing.assert_close(kept, trained.logits, **CLOSE)
    torch.testing.assert_close(torch.cat(gates, 1), trained.gates, **CLOSE)


@GATES
def test_no_logit_before_a_reply_depends_on_it_or_on_what_follows(
    family: str, processor: ProcessorMixin, gate: str
) -> None:
    model = cli_model(family, agf={"gate": gate})
    inputs = training_inputs(processor, training_batch(processor, messages([1, 0, 2, 1])))
    before = logits(model, inputs)
    text = inputs["input_ids"] != model.config.image_token_id
    for start in reply_starts(inputs["turn_ids"]):
        changed = dict(inputs)
        later = text & (torch.arange(text.shape[1]) >= start)
        changed["input_ids"] = torch.where(later, 300 - inputs["input_ids"].clamp(100, 200), inputs["input_ids"])
        after = logits(model, changed)
        assert torch.equal(before[:, :start], after[:, :start])
        assert not torch.equal(before[:, start:], after[:, start:])


def test_an_image_of_a_later_turn_sees_its_question(family: str, processor: ProcessorMixin) -> None:
    """And an earlier one does not."""
    model, chat = cli_model(family), messages([1, 1])
    inputs = training_inputs(processor, training_batch(processor, chat))
    changed = inputs | {"input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, reply_starts(inputs["turn_ids"])[1] - 20] += 1
    with torch.no_grad():
        before, after = model(**inputs).gates, model(**changed).gates
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def reply(model: PreTrainedModel, inputs: dict[str, Tensor], **kwargs: Any) -> Any:
    """What `generate` gives, with its logits."""
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True}
    never = [model.config.image_token_id]
    return model.generate(**inputs, **settings, output_logits=True, suppress_tokens=never, **kwargs)


@pytest.mark.parametrize("images", [[2, 0, 0], [2, 1, 0], [2, 0, 3]], ids=str)
def test_generate_goes_on_with_a_cache(family: str, processor: ProcessorMixin, images: Sequence[int]) -> None:
    """With all images of the conversation given again, as the processor does; those in the cache are left out."""
    model, chat = cli_model(family), messages(images)
    cache = DynamicCache(config=model.config)
    for turn in range(len(images)):
        inputs = tokenised(processor, chat[: 2 * turn + 1])
        kept, again = reply(model, inputs, past_key_values=cache), reply(model, inputs)
        assert torch.equal(kept.sequences, again.sequences)
        torch.testing.assert_close(torch.stack(kept.logits), torch.stack(again.logits), **CLOSE)
        # The chat goes on with its own reply, which is not what the model would have said.
        cache.crop(inputs["input_ids"].shape[1] - cache.get_seq_length())
        assert {layer.get_seq_length() for layer in cache.layers} == {inputs["input_ids"].shape[1]}


@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}], ids=str
)
def test_a_padded_batch_of_chats_equals_each_alone(
    family: str, processor: ProcessorMixin, settings: dict[str, Any]
) -> None:
    model = cli_model(family)
    chats = [messages(images, seed)[:-1] for seed, images in enumerate(([2], [1, 1, 1], [0, 2], [0, 0]))]
    together = reply(model, tokenised(processor, chats), **settings).sequences[:, -4:]
    for row, chat in zip(together, chats, strict=True):
        assert torch.equal(row, reply(model, tokenised(processor, chat), **settings).sequences[0, -4:])


def test_a_cache_that_was_reordered_goes_on(family: str, processor: ProcessorMixin) -> None:
    """As the caches of beams are."""
    model, cache = cli_model(family), DynamicCache(config=cli_model(family).config)
    batches = [training_batch(processor, messages([1, 1], seed)) for seed in (0, 4)]
    alone = [training_inputs(processor, batch) for batch in batches]
    images = ("pixel_values", "image_sizes", "batch_num_images")
    with torch.no_grad():
        trained = torch.cat([model(**inputs).logits for inputs in alone])
        encoded = [
            model.model.get_image_features(**{name: inputs[name] for name in images if name in inputs})
            for inputs in alone
        ]
    cut = reply_starts(alone[0]["turn_ids"])[0] + 2
    ids, turns = (torch.cat([inputs[name] for inputs in alone]) for name in ("input_ids", "turn_ids"))
    with torch.no_grad():
        first = {"image": joined([some(each, 0, 1) for each in encoded])}
        model(input_ids=ids[:, :cut], turn_ids=turns[:, :cut], mm_encoder_outputs=first, past_key_values=cache)
        cache.reorder_cache(torch.tensor([1, 0]))
        second = {"image": joined([some(each, 1, 2) for each in encoded[::-1]])}
        found = model(
            input_ids=ids.flip(0)[:, cut:], turn_ids=turns, mm_encoder_outputs=second, past_key_values=cache
        ).logits
    torch.testing.assert_close(found, trained.flip(0)[:, cut:], **CLOSE)


def test_the_prefix_of_a_reply_is_not_read(family: str, processor: ProcessorMixin) -> None:
    model, chat = cli_model(family), messages([1, 1])
    chat[-1]["content"][0]["text"] = "Yes, it"
    prefixed = tokenised(processor, chat, continue_final_message=True)
    with torch.no_grad():
        asked, gone_on = model(**tokenised(processor, chat[:-1])), model(**prefixed)
    torch.testing.assert_close(gone_on.gates, asked.gates, **CLOSE)
    chat[-1]["content"][0]["text"] = "Yes, it is."
    trained = training_inputs(processor, training_batch(processor, chat))
    length = prefixed["input_ids"].shape[1]
    assert torch.equal(trained["input_ids"][:, :length], prefixed["input_ids"])
    torch.testing.assert_close(logits(model, trained)[:, :length], gone_on.logits, **CLOSE)
    torch.testing.assert_close(reply(model, prefixed).logits[0], gone_on.logits[:, -1], **CLOSE)


def test_under_the_old_rule_all_images_read_up_to_the_first_reply(family: str, processor: ProcessorMixin) -> None:
    """And agree all the same, whichever way the chat goes."""
    model, chat = cli_model(family, agf={"prompt_end": "first_reply"}), messages([1, 1])
    inputs = training_inputs(processor, training_batch(processor, chat))
    first, second = reply_starts(inputs["turn_ids"])
    with torch.no_grad():
        trained = model(**inputs)
        for position, differs in ((first - 12, True), (second - 20, False)):
            changed = inputs | {"input_ids": inputs["input_ids"].clone()}
            changed["input_ids"][0, position] += 1
            assert torch.isclose(model(**changed).gates, trained.gates).all() != differs
        again = model(**tokenised(processor, chat[:-1]))
    torch.testing.assert_close(again.gates, trained.gates, **CLOSE)
    kept, gates = with_cache(model, inputs, (first, second, inputs["input_ids"].shape[1]), (1, 2, 2), DynamicCache())
    torch.testing.assert_close(kept, trained.logits, **CLOSE)
    torch.testing.assert_close(torch.cat(gates, 1), trained.gates, **CLOSE)


def test_a_stored_model_keeps_the_rule_it_was_trained_under(family: str, tmp_path: Path) -> None:
    cli_model(family).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).injection.agf.prompt_end == "next_reply"
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["cli"]["agf"]["prompt_end"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert loaded.model.injection.agf.prompt_end == "first_reply"
    assert loaded.config.to_dict()["cli"]["agf"]["prompt_end"] == "first_reply"


def test_without_labels_and_turns_everything_is_read(family: str, processor: ProcessorMixin) -> None:
    model = cli_model(family)
    batch = training_batch(processor, messages([1, 1]))
    inputs = training_inputs(processor, batch)
    turns = inputs.pop("turn_ids")
    with torch.no_grad():
        marked, supervised = model(**inputs, turn_ids=turns), model(**inputs, labels=batch.labels)
        raw, one_turn = model(**inputs), model(**inputs, turn_ids=turns * 0)
    assert torch.equal(supervised.gates, marked.gates)
    assert torch.equal(raw.gates, one_turn.gates)
    assert not torch.isclose(raw.gates, marked.gates).all()


@pytest.mark.parametrize("prompt_end", ["next_reply", "first_reply"])
def test_where_all_tokens_are_supervised_nothing_leaks(family: str, processor: ProcessorMixin, prompt_end: str) -> None:
    model = cli_model(family, agf={"prompt_end": prompt_end})
    inputs = training_inputs(processor, training_batch(processor, messages([1, 1])))
    del inputs["turn_ids"]
    before = logits(model, inputs, labels=inputs["input_ids"])
    changed = inputs | {"input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, -3:] += 1
    after = logits(model, changed, labels=changed["input_ids"])
    assert torch.equal(before[:, :-3], after[:, :-3])


def test_a_cache_without_its_context_takes_no_image(family: str, processor: ProcessorMixin) -> None:
    model = cli_model(family)
    inputs = training_inputs(processor, training_batch(processor, messages([0, 1])))
    cut = reply_starts(inputs["turn_ids"])[0]
    with torch.no_grad():
        cache = model(input_ids=inputs["input_ids"][:, :cut], use_cache=True, keep_context=False).past_key_values
        assert len(cache.layers) == model.config.text_config.num_hidden_layers
        with pytest.raises(ValueError, match=f"an image follows {cut} cached positions"):
            model(**inputs | {"input_ids": inputs["input_ids"][:, cut:]}, past_key_values=cache)


def test_turns_are_those_of_the_whole_conversation(family: str, processor: ProcessorMixin) -> None:
    inputs = training_inputs(processor, training_batch(processor, messages([1])))
    with pytest.raises(ValueError, match=r"turn_ids is \[1, 3\], but the tokens are 1 x \d+"):
        cli_model(family)(**inputs | {"turn_ids": inputs["turn_ids"][:, :3]})


def test_a_reply_alone_keeps_no_context(family: str, processor: ProcessorMixin) -> None:
    """So that its decode steps cost nothing."""
    model, seen = cli_model(family), []
    inputs = tokenised(processor, messages([1])[:-1])
    handle = model.model.language_model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((kwargs.get("injection"), len(kwargs["past_key_values"].layers))),
        with_kwargs=True,
    )
    model.generate(**inputs, max_new_tokens=3, min_new_tokens=3)
    handle.remove()
    assert [injection is None for injection, _ in seen] == [False, True, True]
    assert {layers for _, layers in seen} == {model.config.text_config.num_hidden_layers}
