"""Formats of checkpoints that are not read: one line that names the format and the nearest that works."""

import json
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlavaConfig, LlavaNextConfig, MistralConfig

from cli_ray.config import InjectionConfig, ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.build import load_processor, resolve_injection
from cli_ray.model.tiny import build_tiny, tiny_processor


def refusal(model: ModelConfig) -> str:
    with pytest.raises(UserError) as error:
        resolve_injection(model, InjectionConfig())
    return str(error.value)


def test_an_adapter_names_its_base(tmp_path: Path) -> None:
    build_tiny("llava").config.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "lmsys/vicuna-7b-v1.5"}))
    told = refusal(ModelConfig(checkpoint=str(tmp_path)))
    assert "is an adapter (adapter_config.json) of 'lmsys/vicuna-7b-v1.5'" in told
    assert "merge" in told


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (LlavaNextConfig().to_dict(), "is a llava_next, which is not read: .* nearest are llava-hf/llava-1.5-7b-hf"),
        (LlamaConfig().to_dict(), "it is a language model alone, give it as model.language_model"),
        ({"model_type": "siglip_vision_model"}, "it is a vision tower alone"),
        (
            {"model_type": "of_tomorrow"},
            "is a of_tomorrow, which is not read: llava .* and llava_onevision .* are read",
        ),
        (
            {"model_type": "qwen3_vl"},
            "is a qwen3_vl, which is not read: cli_ray.model.attach gives it injection, but what encodes its images",
        ),
        ({"hidden_size": 8}, "is a None, which is not read"),
    ],
)
def test_other_types_are_refused_in_a_line(values: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    told = refusal(ModelConfig(checkpoint=str(tmp_path)))
    with pytest.raises(UserError, match=message):
        raise UserError(told)
    assert "\n" not in told
    with pytest.raises(UserError, match="not read"):
        load_processor(ModelConfig(checkpoint=str(tmp_path)))


def test_a_language_model_without_injection_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    LlavaConfig(text_config=MistralConfig()).save_pretrained(tmp_path)
    assert "the language model is a mistral" in refusal(ModelConfig(checkpoint=str(tmp_path)))


def test_parts_of_an_unknown_type_name_their_field(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of_tomorrow"}))
    parts = ModelConfig(vision_tower=str(tmp_path), language_model=str(tmp_path))
    assert "its config.json has model_type = 'of_tomorrow'" in refusal(parts)


def test_a_tower_beside_a_whole_checkpoint_is_refused(tmp_path: Path) -> None:
    build_tiny("llava").config.save_pretrained(tmp_path)
    tiny_processor("llava").save_pretrained(tmp_path)
    assert "leave model.vision_tower out" in refusal(ModelConfig(checkpoint=str(tmp_path), vision_tower="x"))


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    assert "has no config.json" in refusal(ModelConfig(checkpoint=str(tmp_path)))
