"""Tiny models and processors: sizes agree, text survives, folders load through the Auto classes."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, BatchFeature, PreTrainedModel, ProcessorMixin

from cli_ray.model.tiny import build_tiny, tiny_processor, tiny_tokenizer

SIZES = [(32, 32), (90, 40), (300, 50), (100, 100)]


def encode(processor: ProcessorMixin, texts: list[str], images: list[Image.Image]) -> BatchFeature:
    return processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="left")


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.effect_noise(size, 80).convert("RGB")


def prompt(processor: ProcessorMixin, question: str) -> str:
    messages = [{"role": "user", "content": f"<image>\n{question}"}]
    return str(processor.apply_chat_template(messages, add_generation_prompt=True))


@pytest.mark.parametrize("size", SIZES)
def test_image_tokens_match_the_features(
    processor: ProcessorMixin, plain_model: PreTrainedModel, size: tuple[int, int]
) -> None:
    batch = encode(processor, [prompt(processor, "what?")], [noise(size)])
    marks = int((batch["input_ids"] == plain_model.config.image_token_id).sum())
    inputs = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask")}
    features = plain_model.model.get_image_features(**inputs).pooler_output
    assert marks == sum(len(rows) for rows in features) > 0


def test_onevision_cuts_one_to_ten_tiles() -> None:
    processor = tiny_processor("llava_onevision")
    shapes = [encode(processor, [prompt(processor, "?")], [noise(s)])["pixel_values"].shape for s in SIZES]
    assert [shape[1] for shape in shapes] == [2, 7, 4, 10]


def test_generates_from_a_padded_batch(processor: ProcessorMixin, plain_model: PreTrainedModel) -> None:
    prompts = [prompt(processor, "what?"), prompt(processor, "which colour has it?")]
    batch = encode(processor, prompts, [noise((32, 32)), noise((32, 32))])
    out = plain_model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert out.shape == (2, batch["input_ids"].shape[1] + 3)


def test_round_trip_through_the_auto_classes(
    tmp_path: Path, processor: ProcessorMixin, plain_model: PreTrainedModel
) -> None:
    plain_model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(processor)
    texts, images = [prompt(processor, "naïve 中 <s>")], [noise((90, 40))]
    batch, again = encode(processor, texts, images), encode(loaded, texts, images)
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(model) is type(plain_model)
    with torch.no_grad():
        assert torch.equal(model(**again).logits, plain_model(**batch).logits)


@pytest.mark.parametrize("merges", [0, 20])
def test_tokenizer_encodes_any_text(family: str, merges: int) -> None:
    tokenizer = tiny_tokenizer(family, ["what colour is the highest bar"] * 2, merges)
    text = "what colour? Ünïcødé 中文 🙂\n\t"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    assert len(ids) < len(text.encode()) if merges else len(ids) == len(text.encode())
    assert len(tokenizer) == build_tiny(family, merges=merges).config.text_config.vocab_size


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("llava", "USER: <image>\nhow many? ASSISTANT: 3</s>USER: why? ASSISTANT:"),
        (
            "llava_onevision",
            "<|im_start|>user\n<image>\nhow many?<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n"
            "<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_chat_templates(family: str, expected: str) -> None:
    processor = tiny_processor(family)
    question = [{"type": "image"}, {"type": "text", "text": "how many?"}]
    for content in ("<image>\nhow many?", question):
        messages = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": "3"},
            {"role": "user", "content": "why?"},
        ]
        assert processor.apply_chat_template(messages, add_generation_prompt=True) == expected


def test_weights_are_a_function_of_the_seed(family: str) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, again, other = (build_tiny(family, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
