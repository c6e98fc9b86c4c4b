"""The gates see the prompt and nothing that follows it."""

import pytest
import torch
from transformers import ProcessorMixin

from tests.model.batches import batch, cli_model, logits

CONTEXTS = pytest.mark.parametrize("context", ["prompt", "visual"])


@CONTEXTS
def test_a_later_token_changes_no_earlier_logit(family: str, processor: ProcessorMixin, context: str) -> None:
    model = cli_model(family, agf={"context": context})
    inputs = batch(processor, [2, 1])
    length = inputs["input_ids"].shape[1]
    labels = inputs["input_ids"].clone()
    labels[:, :-4] = -100
    changed = inputs | {"input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][:, -1] = 70
    before, after = (logits(model, each, labels=labels) for each in (inputs, changed))
    assert torch.equal(before[:, : length - 1], after[:, : length - 1])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_the_question_reaches_the_gate_under_prompt_but_not_under_visual(
    family: str, processor: ProcessorMixin
) -> None:
    inputs = batch(processor, [1])
    changed = inputs | {"input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][:, -2] = 70
    for context, differs in (("prompt", True), ("visual", False)):
        model = cli_model(family, agf={"context": context})
        with torch.no_grad():
            before, after = model(**inputs).gates, model(**changed).gates
        assert differs != torch.equal(before, after)


@CONTEXTS
def test_teacher_forcing_equals_generation(family: str, processor: ProcessorMixin, context: str) -> None:
    model = cli_model(family, agf={"context": context})
    prompt = batch(processor, [2])
    start = prompt["input_ids"].shape[1]
    output = model.generate(
        **prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    whole = prompt | {"input_ids": output.sequences, "attention_mask": torch.ones_like(output.sequences)}
    labels = output.sequences.clone()
    labels[:, :start] = -100
    forced = logits(model, whole, labels=labels)[:, start - 1 : -1]
    assert torch.allclose(forced, torch.stack(output.logits, 1), atol=1e-5)


def test_context_is_derived_from_labels_and_padding(family: str, processor: ProcessorMixin) -> None:
    model = cli_model(family)
    inputs = batch(processor, [1, 1, 0])
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :-5] = -100
    turns = (labels != -100).long().cumsum(1).masked_fill(inputs["attention_mask"] == 0, -1)
    assert torch.equal(logits(model, inputs, labels=labels), logits(model, inputs, turn_ids=turns))
    assert not torch.equal(logits(model, inputs, labels=labels), logits(model, inputs))
