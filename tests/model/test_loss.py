"""The loss in chunks is the loss, in less memory."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import ProcessorMixin

from cli_ray.costs import sizes
from cli_ray.model.loss import Head
from tests.model.batches import cli_model
from tests.model.packs import losses, padded, samples
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, step_losses

TOKENS, WIDTH, VOCABULARY = 50, 8, 300


def chunks_of(tokens: int, monkeypatch: pytest.MonkeyPatch, vocabulary: int = VOCABULARY) -> None:
    monkeypatch.setattr(sizes, "MOST_LOGITS", tokens * vocabulary)


def head_and_tokens() -> tuple[Head, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    head = Head(WIDTH, VOCABULARY, bias=False)
    torch.nn.init.normal_(head.weight, generator=generator)
    h_KD = torch.randn(TOKENS, WIDTH, generator=generator).requires_grad_()
    return head, h_KD, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def all_logits(head: Head, h_KD: Tensor, target_K: Tensor) -> Tensor:
    return F.cross_entropy(head(h_KD).float(), target_K, reduction="none")


def gradients(head: Head, h_KD: Tensor, nll_K: Tensor) -> list[Tensor]:
    head.weight.grad = h_KD.grad = None
    torch.autograd.backward((nll_K * torch.linspace(0, 1, len(nll_K))).sum())
    return [tensor.grad for tensor in (head.weight, h_KD) if tensor.grad is not None]


@pytest.mark.parametrize("tokens", [7, 25, 50])
@pytest.mark.parametrize("frozen", [False, True])
def test_chunks_give_the_loss_and_its_gradients(tokens: int, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(tokens, monkeypatch)
    head, h_KD, target_K = head_and_tokens()
    head.weight.requires_grad_(not frozen)
    expected = all_logits(head, h_KD, target_K)
    found = head(h_KD, target_K)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    of_found, of_expected = gradients(head, h_KD, found), gradients(head, h_KD, expected)
    assert len(of_found) == (1 if frozen else 2)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_bf16_logits_become_fp32_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast, and of weights in bf16."""
    chunks_of(7, monkeypatch)
    head, h_KD, target_K = head_and_tokens()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = head(h_KD, target_K), all_logits(head, h_KD, target_K)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    for one, other in zip(gradients(head, h_KD, found), gradients(head, h_KD, expected), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2, atol=1e-2)
    head, h_KD = head.bfloat16(), h_KD.bfloat16()
    assert torch.equal(head(h_KD, target_K), all_logits(head, h_KD, target_K))
    assert head(h_KD, target_K).dtype == torch.float32


def test_what_is_saved_for_the_backward_pass_does_not_grow_with_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    head, h_KD, target_K = head_and_tokens()
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        chunks_of(TOKENS, monkeypatch)
        head(h_KD, target_K)
        assert max(sizes) == TOKENS * VOCABULARY
        sizes.clear()
        chunks_of(7, monkeypatch)
        head(h_KD, target_K)
    assert sum(sizes) <= 2 * TOKENS * WIDTH


def test_no_token_gives_no_loss_and_a_gradient_of_zero() -> None:
    head, _, target_K = head_and_tokens()
    nll = head(torch.zeros(0, WIDTH), target_K[:0])
    assert nll.shape == (0,)
    torch.autograd.backward(nll.sum())
    assert head.weight.grad is not None
    assert not head.weight.grad.any()


def test_a_model_gives_losses_in_place_of_logits(
    family: str, processor: ProcessorMixin, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = cli_model(family).train(), padded(samples(processor, [[1], [0]]))
    labels = inputs["labels"]
    output = model(**{name: tensor for name, tensor in inputs.items() if name != "labels"}, use_cache=False)
    expected = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    chunks_of(5, monkeypatch, model.config.text_config.vocab_size)
    torch.testing.assert_close(losses(model, inputs), expected[labels[:, 1:].flatten() != -100], rtol=1e-5, atol=1e-5)


def chunked_step_losses(tokens: int, cases: list[Case]) -> Any:
    """In a process of its own: the losses of a few steps in chunks."""
    sizes.MOST_LOGITS = tokens * 256
    return step_losses(cases)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_ranks_with_other_numbers_of_chunks_train_alike(stage: int) -> None:
    """Rank 1 has few tokens in every second step. ZeRO-3 gathers the weights of the head for all chunks at once."""
    cases = [Case(zero_stage=stage), Case(zero_stage=stage, checkpointing=True)]
    whole = on_ranks(2, step_losses, cases)[0]
    chunked, other = on_ranks(2, chunked_step_losses, 3, cases)
    assert chunked == other
    for one, expected in zip(chunked, whole, strict=True):
        assert one == pytest.approx(expected, rel=1e-5)


def test_a_model_whose_vocabulary_was_resized_gives_the_loss(family: str) -> None:
    model = cli_model(family)
    size = model.config.text_config.vocab_size + 5
    model.resize_token_embeddings(size, mean_resizing=False)
    h_KD, target_K = torch.randn(3, model.config.text_config.hidden_size), torch.tensor([0, 1, size - 1])
    with torch.no_grad():
        found, expected = model.lm_head(h_KD, target_K), all_logits(model.lm_head, h_KD, target_K)
    torch.testing.assert_close(found, expected)
