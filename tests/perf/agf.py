"""Folded AGF against its direct transcription: equality, step time, saved activations.

    python -m tests.perf.agf --shape cpu512

The direct form projects keys and values of every visual token for every pair of layers, once at the
summary's width and once at the full width D that an attention block of the language model would have.
Runs of the three are interleaved; the folded form's parameters are those of the first.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from cli_ray.config import AgfConfig
from cli_ray.model.agf import EPS, Agf, FoldedGates
from cli_ray.model.context import Contexts
from cli_ray.model.rows import Layout, lay_out
from tests.perf.injection import clock, synchronise
from tests.perf.transcription import DirectAgf


@dataclass(frozen=True)
class Shape:
    """Widths of the language model and sizes of a batch."""

    width: int
    images: int
    patches: int = 576
    length: int = 640
    layers: int = 8


SHAPES = {"cpu512": Shape(width=512, images=1), "llava15_7b": Shape(width=4096, images=4)}


@dataclass
class Case:
    """Inputs of one measurement and the forms to compare."""

    shape: Shape
    features_NRD: Tensor
    hidden_BTD: Tensor
    layout: Layout
    contexts: Contexts
    direct: list[DirectAgf]
    wide: list[DirectAgf]
    folded: Agf

    def run_folded(self) -> Tensor:
        """Gates of all decoder layers; Float[M, I, N]."""
        gates = FoldedGates(self.folded.config, *self.folded(self.features_NRD, self.layout))
        layers = range(self.shape.layers)
        return torch.stack([gates(m, self.hidden_BTD, self.contexts) for m in layers])

    def run_direct(self, modules: list[DirectAgf]) -> Tensor:
        """The same, by attention over all tokens in each decoder layer."""
        images, width = self.shape.images, (self.shape.width,)
        features_INPD = self.features_NRD.view(len(self.features_NRD), images, -1, *width).transpose(0, 1)
        return torch.stack(
            [
                module(F.rms_norm(features_INPD, width, eps=EPS), F.rms_norm(self.hidden_BTD, width, eps=EPS))
                for module in modules
            ]
        )


def case(shape: Shape, device: str, dtype: torch.dtype) -> Case:
    """Random inputs and weights."""
    torch.manual_seed(0)
    config, wide = AgfConfig(), AgfConfig(hidden_size=shape.width)
    layers, rows = shape.layers, shape.images * shape.patches
    direct = [DirectAgf(config, layers, shape.width).to(device, dtype) for _ in range(layers)]
    folded = Agf(config, layers, layers, shape.width).to(device, dtype)
    for name, parameter in folded.named_parameters():
        parameter.data = torch.stack([module.folded()[name] for module in direct])
    placeholder = torch.zeros(shape.images, shape.length, dtype=torch.bool, device=device)
    placeholder[:, 8 : 8 + shape.patches] = True
    return Case(
        shape=shape,
        features_NRD=torch.randn(layers, rows, shape.width, device=device, dtype=dtype, requires_grad=True),
        hidden_BTD=torch.randn(shape.images, shape.length, shape.width, device=device, dtype=dtype, requires_grad=True),
        layout=lay_out(placeholder, [shape.patches] * shape.images),
        contexts=Contexts(torch.ones_like(placeholder)[:, None], torch.arange(shape.images, device=device)),
        direct=direct,
        wide=[DirectAgf(wide, layers, shape.width).to(device, dtype) for _ in range(layers)],
        folded=folded,
    )


def step_ms(run: Callable[[], Tensor]) -> float:
    """Forward and backward, milliseconds."""
    synchronise()
    start = clock()
    torch.autograd.backward(run().float().sum())
    synchronise()
    return 1000 * (clock() - start)


def saved_MiB(run: Callable[[], Tensor], given: list[Tensor]) -> float:
    """Memory that the forward pass keeps for the backward pass, inputs and parameters left out."""
    storages = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    assert result.requires_grad
    return sum(size for pointer, size in storages.items() if pointer not in known) / 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="cpu512")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    exact = case(Shape(width=64, images=2, patches=9, length=20), "cpu", torch.float64)
    difference = (exact.run_folded() - exact.run_direct(exact.direct)).abs().max().item()
    print(f"largest difference of the gates in float64: {difference:.1e}")
    measured = case(shape, arguments.device, getattr(torch, arguments.dtype))
    forms: dict[str, Callable[[], Tensor]] = {
        "folded": measured.run_folded,
        "direct, width 256": lambda: measured.run_direct(measured.direct),
        f"direct, width {shape.width}": lambda: measured.run_direct(measured.wide),
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    for repeat in range(arguments.repeats + 1):
        for name, run in forms.items():
            elapsed = step_ms(run)
            if repeat:
                times[name].append(elapsed)
    modules = [measured.folded, *measured.direct, *measured.wide]
    given = [measured.features_NRD, measured.hidden_BTD, *(p for module in modules for p in module.parameters())]
    saved = {name: saved_MiB(run, given) for name, run in forms.items()}
    for name, values in times.items():
        ratios = f"{median(values) / median(times['folded']):6.1f} x, {saved[name] / saved['folded']:6.1f} x saved"
        print(
            f"{name:20} median {median(values):8.1f} ms, min {min(values):8.1f}; saved {saved[name]:8.1f} MiB; {ratios}"
        )


if __name__ == "__main__":
    main()
