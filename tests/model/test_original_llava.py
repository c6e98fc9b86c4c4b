"""Checkpoints in the original LLaVA layout: read as their twins in Hugging Face's, and refused where they are not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from cli_ray.config import LoraConfig, ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.build import build_model, load_processor, resolve_injection
from tests.model.batches import batch, injection, logits
from tests.model.originals import VICUNA_ROWS, original

PLAIN = LoraConfig()


def built(model: ModelConfig) -> Any:
    return build_model(model, injection(), PLAIN, dtype=torch.float32, seed=0).eval()


@pytest.mark.parametrize(
    ("tower_inside", "binary", "tied"), [(True, False, False), (False, True, False), (True, False, True)]
)
def test_an_original_gives_the_logits_of_its_twin(
    family: str, tower_inside: bool, binary: bool, tied: bool, tmp_path: Path
) -> None:
    folder, twin = original(tmp_path, family, tower_inside=tower_inside, binary=binary, tie_word_embeddings=tied)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    model = ModelConfig(family=family, checkpoint=str(folder))
    processor, read = load_processor(model), built(model)
    assert read.config.image_token_id == twin.config.image_token_id == processor.image_token_id
    assert read.config.text_config.vocab_size == twin.config.text_config.vocab_size == len(read.lm_head.weight)
    assert read.config.vision_feature_layer == twin.config.vision_feature_layer
    inputs = batch(processor, [1, 2])
    real = inputs["attention_mask"].bool()  # the padding token is new
    assert torch.equal(logits(read, inputs)[real][:, :rows], logits(twin, inputs)[real][:, :rows])
    assert not any(parameter.is_meta for parameter in read.parameters())


def test_an_original_is_saved_in_the_layout_of_hugging_face(family: str, tmp_path: Path) -> None:
    folder, _ = original(tmp_path, family, tower_inside=False)
    model = ModelConfig(family=family, checkpoint=str(folder))
    processor, read = load_processor(model), built(model)
    read.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert not any("mm_projector" in name or "vision_tower.vision_tower" in name for name in names)
    assert "mm_" not in (tmp_path / "saved" / "config.json").read_text()
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved").eval()
    inputs = batch(AutoProcessor.from_pretrained(tmp_path / "saved"), [1])
    assert torch.equal(logits(again, inputs), logits(read, inputs))


def test_the_class_token_is_kept_where_the_checkpoint_keeps_it(tmp_path: Path) -> None:
    folder, twin = original(tmp_path, "llava", tower_inside=True, mm_vision_select_feature="cls_patch")
    twin.config.vision_feature_select_strategy = "full"
    model = ModelConfig(checkpoint=str(folder))
    inputs = batch(load_processor(model), [1])
    assert int((inputs["input_ids"] == twin.config.image_token_id).sum()) == 17
    assert torch.equal(logits(built(model), inputs)[..., :VICUNA_ROWS], logits(twin, inputs)[..., :VICUNA_ROWS])


def test_new_tokens_stand_out_from_nothing(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=True)
    read = built(ModelConfig(checkpoint=str(folder)))
    for matrix in (read.get_input_embeddings().weight, read.lm_head.weight):
        assert torch.allclose(matrix[VICUNA_ROWS:], matrix[:VICUNA_ROWS].mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mm_projector_type": "linear"},
            r"mm_projector_type = 'linear' in config\.json, which is not read: mlp2x_gelu is",
        ),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end = True"),
        ({"image_aspect_ratio": "anyres"}, "is a LLaVA-NeXT .* the nearest are liuhaotian/llava-v1.5-7b"),
        ({"architectures": ["LlavaMptForCausalLM"]}, "is a LlavaMptForCausalLM; those that are read are"),
        ({"architectures": ["LlavaQwenForCausalLM"]}, "set it to 'llava_onevision'"),
        ({"mm_hidden_size": 1024}, "has hidden_size = 48, but mm_hidden_size = 1024"),
        ({"mm_vision_tower": "/nowhere/clip"}, r"mm_vision_tower in the config\.json .* set model\.vision_tower"),
    ],
)
def test_other_originals_are_refused_before_weights_are_read(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=True, **change)
    with pytest.raises(UserError, match=message) as error:
        resolve_injection(ModelConfig(checkpoint=str(folder)), injection())
    assert "\n" not in str(error.value).split(": We couldn't")[0]


def test_a_projector_alone_is_refused(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=True)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights .* projector \(mm_projector\.bin\), which is not read alone"):
        resolve_injection(ModelConfig(checkpoint=str(folder)), injection())


def test_another_tower_may_be_named(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=True, mm_vision_tower="/nowhere/clip")
    model = ModelConfig(checkpoint=str(folder), vision_tower=str(tmp_path / "tower"))
    assert resolve_injection(model, injection())[0].vision_config.hidden_size == 48


def test_tiles_may_be_written_as_their_first_and_last(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava_onevision", tower_inside=True, image_grid_pinpoints="(1x1),...,(2x3)")
    processor = load_processor(ModelConfig(family="llava_onevision", checkpoint=str(folder)))
    grid = [[32, 32], [64, 32], [96, 32], [32, 64], [64, 64], [96, 64]]
    assert processor.image_processor.image_grid_pinpoints == grid


@pytest.mark.parametrize("grid", [None, [], "anyres"])
def test_an_original_without_tiles_is_refused(grid: object, tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava_onevision", tower_inside=True, image_grid_pinpoints=grid)
    with pytest.raises(UserError, match=r"image_grid_pinpoints = .* names no sizes"):
        resolve_injection(ModelConfig(family="llava_onevision", checkpoint=str(folder)), injection())


def test_a_pickle_that_is_no_weight_is_not_run(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=True, binary=True)

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "burnt").touch, ())

    torch.save({"model.norm.weight": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match="Weights only load failed"):
        built(ModelConfig(checkpoint=str(folder)))
    assert not (tmp_path / "burnt").exists()
