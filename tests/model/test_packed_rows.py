"""Several samples in one row are to each of them, and to what is learnt, as if it stood alone."""

from functools import partial
from typing import Any

import pytest
import torch
import transformers.modeling_flash_attention_utils as flash
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.config import LoraConfig
from cli_ray.model.lora import inject_lora
from cli_ray.model.segments import packed_arguments, sdpa_by_segment
from tests.model.batches import cli_model
from tests.model.packs import Sample, losses, packed, padded, samples

CHATS = ([1, 0], [0], [2, 1], [0, 3])
"""Images of each turn of the samples: 0 to 3 of them, in one turn or two, in the first or a later one."""
GATES: list[dict[str, Any]] = [
    {"gate": gate, "context": context} for gate in ("tanh", "sigmoid", "softmax") for context in ("prompt", "visual")
]
CASES: dict[str, dict[str, Any]] = {f"{agf['gate']}, {agf['context']}": {"agf": agf} for agf in GATES}
CASES |= {"first reply": {"agf": {"prompt_end": "first_reply"}}}
CASES |= {kind: {"kind": kind} for kind in ("none", "amp_only", "deepstack", "static", "external")}
TOLERANCE = 2e-6
"""Of the largest difference in a parameter's gradient, over that gradient's norm: what rounding in fp32 leaves,
which differs between processors."""


def gradients(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The losses, and the gradient of their sum."""
    model.zero_grad(set_to_none=True)
    nll = losses(model, inputs)
    torch.autograd.backward(nll.sum())
    return nll.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def largest_difference(model: PreTrainedModel, one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Between two ways to lay out the same samples: of the losses, and of each gradient over its norm."""
    (nll, found), (expected_nll, expected) = gradients(model, one), gradients(model, other)
    torch.testing.assert_close(nll, expected_nll, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    differences = []
    for name, gradient in expected.items():
        # Softmax hardly sees a constant added to all keys: what is left of their bias is the rounding of sums
        # as large as those in the weight's.
        scale = expected[name.replace("k_proj.bias", "k_proj.weight")].norm()
        if scale == 0:
            assert not found[name].any()
        else:
            differences.append(float((found[name] - gradient).abs().max() / scale))
    assert len(differences) > 0.3 * len(found)
    return max(differences)


@pytest.fixture(scope="module")
def batch(processor: ProcessorMixin) -> list[Sample]:
    """Samples of `CHATS`. Shared: do not change them."""
    return samples(processor, CHATS)


@pytest.mark.parametrize("case", CASES)
def test_packing_changes_neither_loss_nor_gradient(family: str, batch: list[Sample], case: str) -> None:
    model = cli_model(family, **CASES[case]).train()
    assert largest_difference(model, packed([batch]), padded(batch)) < TOLERANCE


@pytest.mark.parametrize("variant", ["lora", "checkpointing", "text only", "two rows"])
def test_nor_with(family: str, processor: ProcessorMixin, batch: list[Sample], variant: str) -> None:
    model = cli_model(family).train()
    if variant == "lora":
        inject_lora(model, LoraConfig(rank=2, alpha=2.0, dropout=0.0))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    if variant == "checkpointing":
        model.activation_checkpointing_enable()
    if variant == "text only":
        batch = samples(processor, [[0], [0, 0]])
    rows = [batch[:1], batch[1:]] if variant == "two rows" else [batch]
    assert largest_difference(model, packed(rows), padded(batch)) < TOLERANCE


def test_a_sample_that_fills_a_row_is_the_same_to_the_bit(family: str, processor: ProcessorMixin) -> None:
    model, [sample] = cli_model(family).train(), samples(processor, [[2, 1]])
    assert torch.equal(losses(model, packed([[sample]])), losses(model, sample))


def test_a_row_of_padding_counts_nothing(family: str, batch: list[Sample]) -> None:
    """As a rank has it that ran out of samples."""
    model = cli_model(family).train()
    inputs = packed([batch[:2]])
    nothing = {"input_ids": 0, "labels": -100, "turn_ids": -1, "segment_ids": -1}
    row = {name: torch.full_like(inputs[name], value) for name, value in nothing.items()}
    beside = inputs | {name: torch.cat([inputs[name], row[name]]) for name in nothing}
    torch.testing.assert_close(losses(model, beside), losses(model, inputs), rtol=1e-5, atol=1e-5)
    nll, found = gradients(model, row)
    assert nll.shape == (0,)
    assert found.keys() == gradients(model, inputs)[1].keys()
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("context", ["prompt", "visual"])
def test_no_sample_reaches_another_by_a_bit(family: str, batch: list[Sample], context: str) -> None:
    """Whether its tokens change or its images."""
    model = cli_model(family, agf={"context": context})
    given = {name: tensor for name, tensor in packed([batch]).items() if name != "labels"}
    own_T, image_T = given["segment_ids"][0] == 2, given["input_ids"][0] == model.config.image_token_id
    other_ids, other_pixels = given["input_ids"].clone(), given["pixel_values"].clone()
    other_ids[0, own_T & ~image_T] += 1
    other_pixels[1:4] += 1
    with torch.no_grad():
        before = model(**given).logits[0]
        for changed in ({"input_ids": other_ids}, {"pixel_values": other_pixels}):
            after = model(**given | changed).logits[0]
            assert torch.equal(after[~own_T], before[~own_T])
            assert not torch.isclose(after[own_T], before[own_T]).all()


def flash_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    softmax_scale: float,
    dropout_p: float,
) -> Tensor:
    """What flash-attn's kernel computes, for tensors of all tokens in turn."""
    assert (causal, dropout_p, cu_seqlens_q.dtype) == (True, 0, torch.int32)
    assert torch.equal(cu_seqlens_q, cu_seqlens_k)
    lengths = cu_seqlens_q.diff().tolist()
    assert max_seqlen_q == max_seqlen_k == max(lengths)
    repeats = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeats, 1) for tensor in (key, value))
    segments = zip(*[tensor.transpose(0, 1).split(lengths, 1) for tensor in (query, key, value)], strict=True)
    attend = partial(torch.nn.functional.scaled_dot_product_attention, is_causal=True, scale=softmax_scale)
    return torch.cat([attend(*segment) for segment in segments], 1).transpose(0, 1)


@pytest.mark.parametrize("kernel", ["eager", "flash_attention_2"])
def test_each_kernel_keeps_samples_apart(
    family: str, batch: list[Sample], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FlashAttention's own function stood in for by another, behind all that transformers does around it."""
    functions = (None, flash_varlen, None, None, None), (flash._lazy_define_process_function(flash_varlen), None)
    monkeypatch.setattr(flash, "lazy_import_flash_attention", lambda *_, **__: functions)
    model = cli_model(family).train()
    inputs = packed([batch[:1], batch[1:]])
    expected = losses(model, inputs)
    model.config.text_config._attn_implementation = kernel
    torch.testing.assert_close(losses(model, inputs), expected, rtol=1e-5, atol=1e-5)


def test_a_kernel_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'paged_attention' is not known to keep the samples of a packed row apart"):
        packed_arguments(torch.zeros(1, 3, dtype=torch.long), "paged_attention")


def test_a_window_shorter_than_a_sample_is_refused() -> None:
    one = torch.randn(1, 2, 7, 4)
    attend = partial(sdpa_by_segment, torch.nn.Module(), one, one, one, None)
    found, _ = attend(segment_lengths=[3, 4], sliding_window=4)
    assert found.shape == (1, 7, 2, 4)
    with pytest.raises(ValueError, match="of 4 tokens in a packed row, but layers of the language model see 3"):
        attend(segment_lengths=[3, 4], sliding_window=3)


def test_packed_rows_take_no_mask_and_no_cache(family: str, processor: ProcessorMixin) -> None:
    model, inputs = cli_model(family), packed([samples(processor, [[0], [0]])])
    ids, turns, segments = (inputs[name] for name in ("input_ids", "turn_ids", "segment_ids"))
    packs = partial(model, input_ids=ids, segment_ids=segments)
    assert packs(turn_ids=turns).past_key_values is None
    with pytest.raises(ValueError, match="take no attention_mask"):
        packs(turn_ids=turns, attention_mask=torch.ones_like(ids))
    with pytest.raises(ValueError, match="take no cache"):
        packs(turn_ids=turns, use_cache=True)
    with pytest.raises(ValueError, match="need turn_ids"):
        packs()
