"""Checkpoints: from plain LLaVA folders, to and from our own, through the Auto classes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    ProcessorMixin,
)

from cli_ray.model.llava import CliLlavaForConditionalGeneration
from cli_ray.model.llava_onevision import CliLlavaOnevisionForConditionalGeneration
from cli_ray.model.onevision_processor import CliLlavaOnevisionProcessor
from tests.model.batches import batch, cli_model, injection, logits

CLASSES: dict[str, Any] = {
    "llava": (LlavaForConditionalGeneration, CliLlavaForConditionalGeneration),
    "llava_onevision": (LlavaOnevisionForConditionalGeneration, CliLlavaOnevisionForConditionalGeneration),
}


@pytest.fixture(scope="module")
def plain_folder(plain_model: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain checkpoint in the key layout of the hub."""
    folder = tmp_path_factory.mktemp("plain")
    plain_model.save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert any(key.startswith("language_model.model.layers.0") for key in file.keys())  # noqa: SIM118
    return folder


@pytest.mark.parametrize("kind", ["cli", "amp_only", "external", "none"])
def test_a_plain_checkpoint_lacks_exactly_the_injection(
    family: str, processor: ProcessorMixin, plain_model: PreTrainedModel, plain_folder: Path, kind: str
) -> None:
    section = injection(kind=kind).model_dump(mode="json")
    model, report = CLASSES[family][1].from_pretrained(plain_folder, cli=section, output_loading_info=True)
    inner = model.model
    new = {id(p) for module in inner.injected_modules() for p in module.parameters()}
    assert set(report["missing_keys"]) == {name for name, p in model.named_parameters() if id(p) in new}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    inputs = batch(processor, [1, 0])
    if kind != "amp_only":
        assert torch.equal(logits(model, inputs), logits(plain_model, inputs))
    if kind == "cli":
        assert not inner.amp.up.any()
        assert inner.amp.down.std().item() == pytest.approx(48**-0.5, rel=0.1)
        assert inner.agf.value.std().item() == pytest.approx(64**-0.5, rel=0.1)
        assert not inner.agf.bias.any()


@pytest.mark.parametrize("kind", ["cli", "external"])
def test_round_trip_through_the_auto_classes(family: str, processor: ProcessorMixin, tmp_path: Path, kind: str) -> None:
    model = cli_model(family, kind=kind)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    config, loaded = AutoConfig.from_pretrained(tmp_path), AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert config.model_type == f"cli_{family}"
    assert config.injection == model.config.injection
    assert type(loaded) is CLASSES[family][1]
    inputs = batch(processor, [1, 3])
    assert torch.equal(logits(loaded, inputs), logits(model, inputs))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    again = batch(AutoProcessor.from_pretrained(tmp_path), [1, 3])
    assert all(torch.equal(again[name], inputs[name]) for name in inputs)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), CliLlavaOnevisionProcessor) == (family != "llava")


def test_a_plain_class_reads_our_folder(
    family: str, processor: ProcessorMixin, plain_model: PreTrainedModel, tmp_path: Path
) -> None:
    cli_model(family).save_pretrained(tmp_path)
    plain, report = CLASSES[family][0].from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    inputs = batch(processor, [1])
    assert torch.equal(logits(plain, inputs), logits(plain_model, inputs))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import cli_ray", "import transformers"),
        ("import transformers", "import cli_ray"),
        ("import cli_ray", "from transformers import LlavaForConditionalGeneration"),
        ("import cli_ray", "from transformers import Qwen2ForCausalLM"),
    ],
)
def test_importing_the_package_registers_the_models(tmp_path: Path, first: str, second: str) -> None:
    cli_model("llava").save_pretrained(tmp_path)
    code = (
        f"{first}\n{second}\nfrom transformers import AutoModelForImageTextToText as Auto\n"
        f"print(type(Auto.from_pretrained({str(tmp_path)!r})).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == CliLlavaForConditionalGeneration.__name__, run.stderr


def test_bf16_keeps_its_dtype(family: str, processor: ProcessorMixin, plain_folder: Path) -> None:
    section = injection().model_dump(mode="json")
    model = CLASSES[family][1].from_pretrained(plain_folder, cli=section, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    inputs = batch(processor, [1])
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    with torch.no_grad():
        assert model(**inputs).gates.dtype == torch.float32
