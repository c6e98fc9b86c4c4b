"""Configs of the sizes of published models; nothing of them is built."""

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaOnevisionConfig,
    Qwen2Config,
    SiglipVisionConfig,
)


def llava_7b() -> LlavaConfig:
    text = LlamaConfig(vocab_size=32064)
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    return LlavaConfig(vision_config=vision, text_config=text)


def onevision(width: int, inner: int, layers: int, heads: int, keys: int) -> LlavaOnevisionConfig:
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )
    text = Qwen2Config(
        vocab_size=152000,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
    )
    return LlavaOnevisionConfig(vision_config=vision, text_config=text)
