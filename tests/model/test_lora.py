"""LoRA on the language model."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin

from cli_ray.config import LoraConfig, ModelConfig
from cli_ray.model.build import build_model
from cli_ray.model.lora import merge_lora, save_lora
from tests.model.batches import batch, injection, logits, open_gates


@pytest.fixture
def model(family: str) -> PreTrainedModel:
    config = ModelConfig(family=family, checkpoint="tiny")
    built = build_model(config, injection(), LoraConfig(rank=4, alpha=8), dtype=torch.float32, seed=0)
    open_gates(built)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return built


def test_adapters_sit_on_every_projection_of_the_decoder_only(model: PreTrainedModel) -> None:
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert len(adapted) == 6 * 7
    assert all(".language_model.layers." in name for name in adapted)


def test_merging_changes_no_logit_and_leaves_a_plain_folder(
    model: PreTrainedModel, processor: ProcessorMixin, tmp_path: Path
) -> None:
    inputs = batch(processor, [1, 2])
    expected = logits(model, inputs)
    merge_lora(model)
    assert torch.allclose(logits(model, inputs), expected, atol=1e-5)
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(logits(loaded, inputs), logits(model, inputs))


def test_adapters_saved_apart_go_back_with_peft(
    model: PreTrainedModel, processor: ProcessorMixin, tmp_path: Path
) -> None:
    inputs = batch(processor, [1, 2])
    expected = logits(model, inputs)
    save_lora(model, tmp_path)
    model.save_pretrained(tmp_path)
    base = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert not torch.allclose(logits(base, inputs), expected, atol=1e-5)
    assert torch.allclose(logits(PeftModel.from_pretrained(base, tmp_path / "adapter"), inputs), expected, atol=1e-6)
