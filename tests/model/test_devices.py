"""Models that are spread over several devices."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin
from transformers.integrations.accelerate import infer_auto_device_map

from cli_ray.model.context import Contexts
from cli_ray.model.injection import Injection
from cli_ray.model.rows import lay_out
from tests.model.batches import batch, cli_model, logits

KINDS = pytest.mark.parametrize("kind", ["cli", "none", "amp_only", "deepstack", "static", "external"])


def device_of(name: str, plan: dict[str, int | str]) -> int | str:
    """Where a plan puts a parameter."""
    return next(plan[name[:end]] for end in range(len(name), -1, -1) if name[:end] in plan)


def cut(model: PreTrainedModel, plan: dict[str, int | str]) -> list[str]:
    """Modules that must be on one device, and are not."""
    whole = [(name, module) for name, module in model.named_modules() if must_be_whole(name, module)]
    return [
        name
        for name, module in whole
        if len({device_of(f"{name}.{parameter}", plan) for parameter, _ in module.named_parameters()}) > 1
    ]


def must_be_whole(name: str, module: nn.Module) -> bool:
    """Layers with a residual path, and modules that compute with parameters of their own."""
    is_layer = ".layers." in name and name.rsplit(".", 1)[-1].isdigit()
    return is_layer or name in ("model.amp", "model.agf") or hasattr(module, "external")


@KINDS
def test_no_plan_cuts_a_layer(family: str, kind: str) -> None:
    model = cli_model(family, kind=kind)
    size = sum(parameter.nbytes for parameter in model.parameters())
    plans = []
    for share in range(5, 45, 3):
        limits: dict[int | str, int | str] = dict.fromkeys(range(4), size * share // 100)
        plan = infer_auto_device_map(model, limits | {"cpu": 2 * size}, model._no_split_modules)
        assert cut(model, plan) == [], (share, plan)
        plans.append(tuple(plan.items()))
    assert len(set(plans)) > 5


@KINDS
def test_modules_that_are_fetched_from_disk_give_the_same(
    family: str, processor: ProcessorMixin, kind: str, tmp_path: Path
) -> None:
    """Every module has the hooks that bring inputs to it and take its weights away after it."""
    model = cli_model(family, kind=kind)
    model.save_pretrained(tmp_path)
    plan = dict.fromkeys(parts_of(model), "cpu")
    plan |= dict.fromkeys(plan.keys() & {"model.multi_modal_projector", "model.amp", "model.agf"}, "disk")
    fetched = AutoModelForImageTextToText.from_pretrained(
        tmp_path, device_map=plan, offload_folder=tmp_path / "offloaded"
    )
    inputs = batch(processor, [1, 2], side="left")
    assert torch.equal(logits(fetched, inputs), logits(model, inputs))
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    assert torch.equal(fetched.generate(**inputs, **settings), model.generate(**inputs, **settings))


@pytest.mark.parametrize(
    "changes", [{"agf": {"context": "visual"}}, *({"kind": kind} for kind in ("cli", "amp_only", "deepstack"))], ids=str
)
def test_what_is_injected_follows_the_layers(family: str, processor: ProcessorMixin, changes: dict[str, Any]) -> None:
    """The device `meta` refuses to compute with tensors of the first device, as a second GPU does."""
    model = cli_model(family, **changes)
    far = re.compile(r".*layers\.[345]|.*norm|lm_head")
    plan = {name: "meta" if far.fullmatch(name) else "cpu" for name in parts_of(model)}
    spread(model, plan)
    output = model.model(**batch(processor, [1, 2]))  # the outer model would bring its output back
    assert output.last_hidden_state.device == output.gates.device == torch.device("meta")
    assert output.gates.shape == (3, 3, 3)


def test_the_projector_is_not_moved_to_amp(family: str) -> None:
    model = cli_model(family)
    plan = {name: "meta" if name == "model.amp" else "cpu" for name in parts_of(model)}
    spread(model, plan)
    inner = model.model
    (layers,), _ = inner.amp._hf_hook.pre_forward(inner.amp, [torch.zeros(2)], projector=inner.multi_modal_projector)
    assert layers[0].device == torch.device("meta")
    assert inner.multi_modal_projector.linear_1.weight.device == torch.device("cpu")


def test_the_state_is_copied_once_to_each_device() -> None:
    placeholder_BT = torch.ones(1, 4, dtype=torch.bool)
    contexts = Contexts(placeholder_BT.unsqueeze(1), torch.zeros(1, dtype=torch.long))
    state = Injection(torch.zeros(2, 4, 3), lay_out(placeholder_BT, [4]), torch.ones(3, 2), contexts)
    moved = state.to("meta")
    tensors = [moved.features_NRD, moved.gates, *vars(moved.contexts).values(), *vars(moved.layout).values()]
    assert {tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor)} == {"meta"}
    assert moved is state.to("meta")
    assert state.to("cpu") is state is moved.to("cpu")
    assert moved.applied is state.applied


def spread(model: PreTrainedModel, plan: dict[str, str]) -> None:
    """As transformers does it for `device_map`."""
    dispatch_model(model, plan, main_device="cpu", force_hooks=True, skip_keys=model._skip_keys_device_placement)


def parts_of(model: PreTrainedModel) -> list[str]:
    """The parts that a plan may place, layer by layer."""
    inner = model.model
    names = [f"model.{name}" for name, _ in inner.named_children() if name != "language_model"]
    names += [f"model.{name}" for name, _ in inner.named_parameters(recurse=False)]
    text = [name for name, _ in inner.language_model.named_children() if name != "layers"]
    text += [f"layers.{index}" for index in range(len(inner.language_model.layers))]
    return [*names, *(f"model.language_model.{name}" for name in text), "lm_head"]
