"""From config sections to models, from every kind of source."""

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
)

from cli_ray.config import DataConfig, InjectionConfig, LoraConfig, ModelConfig, SourceConfig
from cli_ray.data.encoder import Encoder
from cli_ray.errors import UserError
from cli_ray.model import attach
from cli_ray.model.attention import check_attention
from cli_ray.model.build import build_model, freeze_unused, load_processor, resolve_injection
from cli_ray.model.parameters import decays, part_of
from cli_ray.model.tiny import build_tiny, tiny_processor
from tests.model.batches import batch, cli_model, image, injection, logits
from tests.model.originals import VICUNA_ROWS, vicuna_tokenizer

PLAIN = LoraConfig()
DATA = DataConfig(sources=(SourceConfig(path="none"),))


def built(model: ModelConfig, seed: int = 0, **changes: Any) -> PreTrainedModel:
    return build_model(model, injection(**changes), PLAIN, dtype=torch.float32, seed=seed)


@pytest.fixture(scope="module")
def parts(family: str, tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """A vision tower and a language model in two folders, as they come from the hub."""
    folder, plain, processor = tmp_path_factory.mktemp("parts"), build_tiny(family), tiny_processor(family)
    text = plain.config.text_config
    language = AutoModelForCausalLM.from_config(text)
    # A tokenizer that knows no images yet, and a model whose embeddings end where it does.
    language.resize_token_embeddings(len(processor.tokenizer) - 10, mean_resizing=False)
    plain.model.vision_tower.save_pretrained(folder / "vision")
    language.save_pretrained(folder / "text")
    processor.tokenizer.save_pretrained(folder / "text")
    return ModelConfig(family=family, vision_tower=str(folder / "vision"), language_model=str(folder / "text"))


def test_parts_are_joined_by_a_fresh_projector(family: str, parts: ModelConfig) -> None:
    processor, model = load_processor(parts), built(parts)
    inputs = dict(
        processor(images=[[image(0)], [image(1)]], text=["a <image> b", "<image>"], padding=True, return_tensors="pt")
    )
    labels = inputs["input_ids"].clone()
    model.train()(**inputs, labels=labels).loss.backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad.any()
    language = AutoModelForCausalLM.from_pretrained(parts.language_model).model.state_dict()
    joined = model.model.language_model.state_dict()
    rows = len(language["embed_tokens.weight"])
    assert all(torch.equal(joined[name][:rows], weight) for name, weight in language.items())
    assert len(joined["embed_tokens.weight"]) == len(processor.tokenizer)
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert processor.chat_template is not None


def test_joined_models_save_and_load(family: str, parts: ModelConfig, tmp_path: Path) -> None:
    processor, model = load_processor(parts), built(parts).eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = built(ModelConfig(family=family, checkpoint=str(tmp_path)))
    inputs = dict(AutoProcessor.from_pretrained(tmp_path)(images=[[image(0)]], text=["<image> b"], return_tensors="pt"))
    assert torch.equal(logits(again, inputs), logits(model, inputs))


def test_a_language_model_as_vicuna_is_stored_can_be_joined_and_saved(tmp_path: Path) -> None:
    """Its tokenizer is a SentencePiece model alone, and its generation config has a temperature without sampling."""
    vicuna_tokenizer(tmp_path / "text")
    plain = build_tiny("llava")
    text = plain.config.text_config
    text.vocab_size = VICUNA_ROWS
    AutoModelForCausalLM.from_config(text).save_pretrained(tmp_path / "text")
    sampling = {"_from_model_config": True, "eos_token_id": 2, "temperature": 0.9, "top_p": 0.6}
    (tmp_path / "text" / "generation_config.json").write_text(json.dumps(sampling))
    plain.model.vision_tower.save_pretrained(tmp_path / "vision")
    vicuna = ModelConfig(vision_tower=str(tmp_path / "vision"), language_model=str(tmp_path / "text"))
    processor, model = load_processor(vicuna), built(vicuna).eval()
    tokenizer = processor.tokenizer
    stored = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "text" / "tokenizer.model"))
    question = "describe this image. ASSISTANT: the 漢 dog\nsees"
    assert tokenizer(question)["input_ids"] == [stored.bos_id(), *stored.encode(question)]
    assert tokenizer.convert_tokens_to_ids("<image>") == VICUNA_ROWS
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, inputs = built(ModelConfig(checkpoint=str(tmp_path / "saved"))), batch(processor, [1])
    assert torch.equal(logits(again, inputs), logits(model, inputs))
    assert Encoder(load_processor(ModelConfig(checkpoint=str(tmp_path / "saved"))), DATA)


def test_the_wrong_tower_is_refused(family: str, parts: ModelConfig) -> None:
    other: str = "llava_onevision" if family == "llava" else "llava"
    with pytest.raises(UserError, match=r"model\.vision_tower"):
        load_processor(parts.model_copy(update={"family": other}))


def test_the_seed_decides_new_weights_and_nothing_else(family: str) -> None:
    tiny = ModelConfig(family=family, checkpoint="tiny")
    before = torch.get_rng_state()
    one, same, other = built(tiny), built(tiny), built(tiny, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.model.agf.value, same.model.agf.value)
    assert not torch.equal(one.model.agf.value, other.model.agf.value)


def test_attaching_touches_no_global_generator(family: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (attach(build_tiny(family), injection(), seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.model.amp.down, again.model.amp.down)
    assert not torch.equal(first.model.amp.down, other.model.amp.down)


def test_bf16_rounds_weights_alone(family: str) -> None:
    """The frequencies of RoPE stay fp32, as in a checkpoint that is loaded in bf16."""
    tiny = ModelConfig(family=family, checkpoint="tiny")
    rounded = build_model(tiny, injection(), PLAIN, dtype=torch.bfloat16, seed=0)
    exact = built(tiny)
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(rounded.buffers(), exact.buffers(), strict=True))
    assert torch.equal(rounded.model.agf.value, exact.model.agf.value.bfloat16())


def test_several_joined_base_layers_need_no_injection(family: str, processor: ProcessorMixin) -> None:
    """As in some published LLaVA: `vision_feature_layer` is a list, whose features the projector joins."""
    config = build_tiny(family).config
    config.vision_feature_layer = [-3, -2]
    plain = AutoModelForImageTextToText.from_config(config).eval()
    inputs = batch(processor, [1])
    expected = logits(plain, inputs)
    model = attach(plain, injection(kind="none"))
    freeze_unused(model)
    assert torch.equal(logits(model, inputs), expected)
    blocks = model.model.vision_tower.named_parameters()
    frozen = {name.split("layers.")[1][0] for name, p in blocks if "layers." in name and not p.requires_grad}
    assert frozen == {"5"}


def test_full_projectors_start_as_copies_from_a_checkpoint(family: str, tmp_path: Path) -> None:
    build_tiny(family).save_pretrained(tmp_path)
    checkpoint = ModelConfig(family=family, checkpoint=str(tmp_path))
    inner = built(checkpoint, amp={"projector": "full"}).model
    for weight in inner.amp.projectors.weight_2:
        assert torch.equal(weight, inner.multi_modal_projector.linear_2.weight.T)


def test_a_cli_checkpoint_keeps_its_injection(family: str, processor: ProcessorMixin, tmp_path: Path) -> None:
    model = cli_model(family)
    model.save_pretrained(tmp_path)
    checkpoint = ModelConfig(family=family, checkpoint=str(tmp_path))
    inputs = batch(processor, [1])
    assert torch.equal(logits(built(checkpoint), inputs), logits(model, inputs))
    with pytest.raises(UserError, match=r"injection\.decoder_layers"):
        built(checkpoint, decoder_layers=[0, 1, 2])


def test_another_family_is_refused(family: str, tmp_path: Path) -> None:
    build_tiny(family).save_pretrained(tmp_path)
    other: str = "llava_onevision" if family == "llava" else "llava"
    with pytest.raises(UserError, match=r"model\.family"):
        built(ModelConfig(family=other, checkpoint=str(tmp_path)))


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    plain = build_tiny("llava")
    state = {name: weight for name, weight in plain.state_dict().items() if "layers.3.mlp" not in name}
    plain.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(UserError, match="lacks 7 weights"):
        built(ModelConfig(checkpoint=str(tmp_path)))


def test_layers_out_of_range_are_a_user_error() -> None:
    with pytest.raises(UserError, match=r"injection\.vision_layers"):
        built(ModelConfig(checkpoint="tiny"), vision_layers=[7])


def test_the_default_injection_fits_a_model_with_fewer_layers(family: str) -> None:
    tiny = ModelConfig(family=family, checkpoint="tiny")
    _, resolved = resolve_injection(tiny, InjectionConfig())
    deepest = 5 if family == "llava" else 6
    assert resolved.vision_layers.layers == tuple(range(1, deepest + 1))
    assert resolved.decoder_layers.layers == (0, 1, 2, 3, 4)
    with pytest.raises(UserError, match="count = 8 but only"):
        resolve_injection(tiny, InjectionConfig.model_validate({"vision_layers": {"count": 8}}))


def test_flash_attention_is_looked_for_with_the_way_to_get_it() -> None:
    with pytest.raises(UserError, match=r"model\.attention = .* not installed here: .* pip install .* flash-attn"):
        check_attention("flash_attention_2", "model.attention")
    check_attention("sdpa", "model.attention")


def test_images_are_padded_to_a_square_when_asked() -> None:
    found = {}
    for pad in (True, False):
        processor = load_processor(ModelConfig(checkpoint="tiny", pad_to_square=pad))
        pixels = processor(images=[image(0)], text=["<image>"], return_tensors="pt")["pixel_values"]
        found[pad] = pixels[0, :, 0].std()
    assert found[True] < 0.01 < found[False]


def test_parts_and_weight_decay(family: str) -> None:
    model = build_model(
        ModelConfig(family=family, checkpoint="tiny"), injection(), LoraConfig(rank=2), dtype=torch.float32, seed=0
    )
    names = [name for name, _ in model.named_parameters()]
    parts = {part: [name for name in names if part_of(name) == part] for part in map(part_of, names)}
    assert parts.keys() == {"vision_tower", "projector", "amp", "agf", "llm", "lora"}
    assert all("language_model.layers" in name for name in parts["lora"])
    assert {name.rsplit(".", 1)[-1] for name in parts["amp"]} == {"down", "up"}
    assert ("model.image_newline" in parts["projector"]) == (family == "llava_onevision")
    assert "lm_head.weight" in parts["llm"]
    decayed = {name for name in names if decays(name)}
    assert {name for name in parts["agf"] if name in decayed} == {"model.agf.value"}
    assert all(parameter.ndim > 1 for name, parameter in model.named_parameters() if name in decayed)


def test_external_weights_belong_to_amp() -> None:
    model = cli_model("llava", kind="external")
    assert [name for name, _ in model.named_parameters() if part_of(name) == "amp"] == [
        "model.multi_modal_projector.external.weight"
    ]


def test_a_processor_loads_from_the_layout_of_the_hub(family: str, processor: ProcessorMixin, tmp_path: Path) -> None:
    """Settings in several files, a video processor among them, and classes that need torchvision."""
    name = {"llava": "Llava", "llava_onevision": "LlavaOnevision"}[family]
    images = processor.image_processor.to_dict() | {"image_processor_type": f"{name}ImageProcessor"}
    names = ("patch_size", "num_additional_image_tokens", "num_image_tokens", "vision_feature_select_strategy")
    settings = {key: getattr(processor, key) for key in names if hasattr(processor, key)}
    video = {"video_processor_type": "LlavaOnevisionVideoProcessor", "size": {"height": 32, "width": 32}}
    processor.tokenizer.save_pretrained(tmp_path)
    build_tiny(family).config.save_pretrained(tmp_path)
    files = {
        "preprocessor_config": images,
        "processor_config": settings | {"processor_class": f"{name}Processor"},
        "chat_template": {"chat_template": processor.chat_template},
    }
    if family == "llava_onevision":
        files["video_preprocessor_config"] = video
    for file, content in files.items():
        (tmp_path / f"{file}.json").write_text(json.dumps(content))
    loaded = load_processor(ModelConfig(family=family, checkpoint=str(tmp_path), pad_to_square=False))
    expected, found = batch(processor, [1, 2]), batch(loaded, [1, 2])
    assert loaded.chat_template == processor.chat_template
    assert all(torch.equal(found[key], expected[key]) for key in expected)
