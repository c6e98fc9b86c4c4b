"""Traces of what is injected: they change nothing and measure what they say."""

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from cli_ray.model.injection import Injection
from cli_ray.model.tiny import tiny_processor
from tests.model.batches import SIZES, batch, cli_model


@pytest.mark.parametrize("changes", [{}, {"kind": "deepstack"}, {"agf": {"context": "visual"}}], ids=str)
def test_a_trace_measures_what_is_added_and_changes_nothing(
    family: str, processor: ProcessorMixin, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cli_model(family, **changes).eval()
    inputs = batch(processor, (1, 2, 0), side="left")
    seen: list[tuple[Tensor, Tensor]] = []
    add = Injection.add

    def watched(self: Injection, h_BTD: Tensor, slot: int) -> Tensor:
        out_BTD = add(self, h_BTD, slot)
        rows = self.layout.position_R
        seen.append((h_BTD.flatten(0, 1)[rows], out_BTD.flatten(0, 1)[rows]))
        return out_BTD

    with torch.inference_mode():
        plain = model(**inputs)
        monkeypatch.setattr(Injection, "add", watched)
        with model.base_model.traced() as traces:
            traced = model(**inputs)
        assert model(**inputs).logits.equal(traced.logits)
    (trace,) = traces
    assert plain.logits.equal(traced.logits)
    assert trace.gates_MIN.equal(traced.gates)
    assert trace.image_R.unique().tolist() == [0, 1, 2]
    for slot, (before_RD, after_RD) in enumerate(seen[: len(trace.added_MR)]):
        torch.testing.assert_close(trace.hidden_MR[slot], before_RD.norm(dim=1))
        torch.testing.assert_close(trace.added_MR[slot], (after_RD - before_RD).norm(dim=1), rtol=1e-3, atol=1e-5)
    assert trace.added_MR.sum() > 0


def test_generation_leaves_one_trace(family: str, processor: ProcessorMixin) -> None:
    model = cli_model(family).eval()
    inputs = batch(processor, (1, 1), side="left")
    with torch.inference_mode():
        plain = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        with model.base_model.traced() as traces:
            traced = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert plain.equal(traced)
    assert len(traces) == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_view_names_the_rows_of_the_patches(family: str, processor: ProcessorMixin, size: tuple[int, int]) -> None:
    """Newlines of OneVision, which stand between its lines, get nothing."""
    model = cli_model(family).eval()
    image = Image.effect_noise((size[1], size[0]), 50).convert("RGB")
    inputs = processor(images=[[image]], text=["<image> what?"], return_tensors="pt")
    with torch.inference_mode(), model.base_model.traced() as traces:
        model(**inputs)
    (trace,) = traces
    view = processor.view([size])
    height, width = view.grid
    row_HW = view.first + torch.arange(height).unsqueeze(1) * view.stride + torch.arange(width)
    assert int(row_HW.max()) == len(trace.image_R) - 1 - (view.stride - width)
    assert (trace.added_MR[:, row_HW] > 0).all()
    newlines = set(range(view.first, len(trace.image_R))) - set(row_HW.flatten().tolist())
    assert len(newlines) == height * (view.stride - width)
    assert trace.added_MR[:, sorted(newlines)].sum() == 0


@pytest.mark.parametrize(
    ("pads", "crops", "area"),
    [(True, True, (0, -0.5, 1, 1.5)), (False, True, (0.25, 0, 0.75, 1)), (False, False, (0, 0, 1, 1))],
)
def test_a_view_of_llava_is_its_square(pads: bool, crops: bool, area: tuple[float, ...]) -> None:
    processor = tiny_processor("llava")
    processor.image_processor.do_pad, processor.image_processor.do_center_crop = pads, crops
    if not crops:
        processor.image_processor.size = {"height": 32, "width": 32}
    assert processor.view([(40, 80)]).area == area
