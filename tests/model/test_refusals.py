"""What cannot work is said in words."""

import copy

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, PreTrainedModel, ProcessorMixin
from transformers.models.llava import LlavaConfig, LlavaForConditionalGeneration

from cli_ray.config import InjectionConfig
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny
from tests.model.batches import batch, cli_model, injection, logits


@pytest.fixture(scope="module")
def model(family: str) -> PreTrainedModel:
    return cli_model(family)


def test_chunked_prefill(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [1])
    with pytest.raises(ValueError, match="prefill_chunk_size"):
        model.generate(**inputs, prefill_chunk_size=4, max_new_tokens=1)


def test_reentrant_checkpointing(family: str) -> None:
    model = cli_model(family)
    with pytest.raises(ValueError, match="use_reentrant=False"):
        model.activation_checkpointing_enable({"use_reentrant": True})
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_video(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    with pytest.raises(ValueError, match="video"):
        model(**batch(processor, [1]), pixel_values_videos=torch.zeros(1, 2, 3, 32, 32))
    with pytest.raises(ValueError, match="video"):
        model(**batch(processor, [0]), mm_encoder_outputs={"video": torch.zeros(1)})


def test_another_base_layer_than_the_config(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [1])
    pixels = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    same = {"vision_feature_layer": model.config.vision_feature_layer}
    assert torch.equal(logits(model, inputs, **same), logits(model, inputs))
    [found], [expected] = (model.get_image_features(**pixels, **given).pooler_output for given in (same, {}))
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="vision_feature_layer = -3"):
        model(**inputs, vision_feature_layer=-3)
    with pytest.raises(ValueError, match="vision_feature_layer = -3"):
        model.get_image_features(**pixels, vision_feature_layer=-3)


def test_tokens_that_do_not_match_the_images(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [1])
    inputs["input_ids"] = inputs["input_ids"][:, :10]
    with pytest.raises(ValueError, match=r"\d+ image tokens in the text but \d+ image features from 1 images"):
        model(input_ids=inputs.pop("input_ids"), **{k: v for k, v in inputs.items() if k != "attention_mask"})


def test_an_unknown_text_model_is_refused_where_something_is_injected() -> None:
    tiny = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = MistralConfig(vocab_size=99, num_key_value_heads=2, **tiny)
    vision = build_tiny("llava").config.vision_config
    plain = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=7))
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    expected = logits(plain, inputs)
    assert torch.equal(logits(attach(copy.deepcopy(plain), injection(kind="none")), inputs), expected)
    with pytest.raises(ValueError, match="MistralDecoderLayer: injection knows the layers Llama"):
        attach(plain, injection(decoder_layers=[0]))


def test_a_model_that_is_no_llava() -> None:
    with pytest.raises(ValueError, match="GPT2LMHeadModel"):
        attach(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=9)), injection())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_layers": [5]}, r"injection.decoder_layers: \[5\] must be distinct indices in 0..4"),
        ({"vision_layers": [0]}, "injection.vision_layers"),
        ({"vision_layers": {"count": 9}}, "count = 9"),
        ({"kind": "deepstack", "decoder_layers": [0]}, "vision_layers names 3 and decoder_layers 1"),
        ({"kind": "static", "decoder_layers": [0]}, "joins one vision layer to one decoder layer"),
    ],
)
def test_layers_that_do_not_exist(family: str, changes: dict[str, object], message: str) -> None:
    config = InjectionConfig.model_validate(injection().model_dump(mode="json") | changes)
    with pytest.raises(ValueError, match=message):
        attach(build_tiny(family), config)
