"""The folded gates against the formula written out with `nn.MultiheadAttention`, in float64.

Shapes: N vision layers, I images, P tokens of an image, D width, B samples, T positions, H heads, E width.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cli_ray.config import AgfConfig
from cli_ray.model.agf import EPS, Agf, FoldedGates
from cli_ray.model.context import Contexts
from cli_ray.model.rows import Layout, lay_out
from tests.perf.transcription import DirectAgf

N, M, D = 3, 2, 32
PLACES = ((2, 5), (9, 2), (20, 3), (30, 6))
"""(first position, length) of the images, in 2 samples of 16 positions, one and three images."""


def example(seed: int = 0) -> tuple[Tensor, Layout, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = [length for _, length in PLACES]
    placeholder = torch.zeros(3 * 16, dtype=torch.bool)
    for first, length in PLACES:
        placeholder[first : first + length] = True
    features = torch.randn(N, sum(lengths), D, dtype=torch.float64, generator=generator)
    hidden = torch.randn(3, 16, D, dtype=torch.float64, generator=generator) * 7
    context = torch.rand(3, 16, generator=generator) > 0.3
    return features, lay_out(placeholder.view(3, 16), lengths), hidden, context


def of_samples(mask: Tensor, layout: Layout) -> Contexts:
    """One context for all images of a sample."""
    return Contexts(mask[:, None], layout.sample_I)


def direct_and_folded(config: AgfConfig) -> tuple[list[DirectAgf], Agf]:
    torch.manual_seed(0)
    direct = [DirectAgf(config, N, D).double() for _ in range(1 if config.shared else M)]
    folded = Agf(config, N, M, D).double()
    for name, parameter in folded.named_parameters():
        parameter.data = torch.stack([module.folded()[name] for module in direct])
    return direct * (M if config.shared else 1), folded


def normalise(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


@pytest.mark.parametrize("gate", ["tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("context", ["prompt", "visual"])
def test_folding_is_exact(gate: str, shared: bool, context: str) -> None:
    config = AgfConfig.model_validate(
        {"gate": gate, "shared": shared, "context": context, "num_heads": 4, "hidden_size": 8}
    )
    features, layout, hidden, mask = example()
    direct, folded = direct_and_folded(config)
    gates = FoldedGates(config, *folded(features, layout))
    rows = hidden.flatten(0, 1)[layout.position_R[layout.row_IP]]
    for slot, module in enumerate(direct):
        if context == "prompt":
            found = gates(slot, hidden, of_samples(mask, layout))
        else:
            found = gates(slot, rows, Contexts(layout.real_IP[:, None], torch.arange(len(PLACES))))
        for i, (first, length) in enumerate(PLACES):
            image_NPD = features[:, layout.image_R == i]
            sample = first // 16
            own = hidden.flatten(0, 1)[first : first + length]
            seen = hidden[sample][mask[sample]] if context == "prompt" else own
            expected_1N = module(normalise(image_NPD)[None], normalise(seen)[None])
            assert torch.allclose(found[i], expected_1N[0], rtol=0, atol=1e-12)


def test_newline_rows_do_not_count() -> None:
    features, layout, hidden, mask = example()
    config = AgfConfig(num_heads=4, hidden_size=8)
    direct, folded = direct_and_folded(config)
    features[:, 4] = 0  # the last row of the first image
    found = FoldedGates(config, *folded(features, layout))(0, hidden, of_samples(mask, layout))
    expected_1N = direct[0](normalise(features[None, :, :4]), normalise(hidden[:1, mask[0]]))
    assert torch.allclose(found[0], expected_1N[0], rtol=0, atol=1e-12)


def test_an_empty_context_gives_finite_gates_and_gradients() -> None:
    features, layout, hidden, mask = example()
    config = AgfConfig(num_heads=4, hidden_size=8)
    _, folded = direct_and_folded(config)
    gates = FoldedGates(config, *folded(features * 0, layout))
    found = gates(0, hidden, of_samples(mask & False, layout))
    cached = gates.of_positions(0, hidden)
    longer = Contexts((mask & False).repeat(1, 2)[:, None], layout.sample_I)
    assert torch.equal(gates(0, hidden, longer, cached), found)
    torch.autograd.backward(found.sum())
    assert torch.equal(found, folded.bias[0].tanh().expand_as(found))
    gradients = [parameter.grad for parameter in folded.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_gates_are_computed_in_fp32_under_bf16() -> None:
    features, layout, hidden, mask = example()
    config = AgfConfig(num_heads=4, hidden_size=8)
    _, folded = direct_and_folded(config)
    gates = FoldedGates(config, *folded.bfloat16()(features.bfloat16(), layout))
    assert gates(0, hidden.bfloat16(), of_samples(mask, layout)).dtype == torch.float32
