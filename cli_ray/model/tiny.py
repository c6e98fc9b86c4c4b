"""Small random LLaVA models and their processors, built in memory: the `tiny` checkpoint.

They are the stock classes of transformers with few and narrow layers, so whatever works on them works on
the published checkpoints. Every test uses them, and so does the demo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from cli_ray.model.processor import CliLlavaOnevisionProcessor, CliLlavaProcessor

Family = Literal["llava", "llava_onevision"]

SPECIAL_TOKENS: dict[Family, tuple[str, ...]] = {
    "llava": ("<s>", "</s>", "<pad>", "<image>"),
    "llava_onevision": ("<s>", "</s>", "<pad>", "<image>", "<video>", "<|im_start|>", "<|im_end|>"),
}

# Content is a string with `<image>` marks or a list of parts, as in the templates on the hub.
_CONTENT = (
    "{%- macro render(content) -%}{%- if content is string -%}{{ content }}{%- else -%}{%- for part in content -%}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
)
CHAT_TEMPLATES: dict[Family, str] = {
    "llava": _CONTENT + "{%- for message in messages -%}{%- if message['role'] == 'assistant' -%}"
    "{{ 'ASSISTANT:' }}{%- generation -%}{{ ' ' + render(message['content']) + '</s>' }}{%- endgeneration -%}"
    "{%- elif message['role'] == 'user' -%}{{ 'USER: ' + render(message['content']) + ' ' }}"
    "{%- else -%}{{ render(message['content']) + ' ' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}",
    "llava_onevision": _CONTENT + "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{ render(message['content']) + '<|im_end|>' }}"
    "{%- endgeneration -%}{%- else -%}{{ render(message['content']) + '<|im_end|>' }}{%- endif -%}"
    "{{ '\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}",
}


@dataclass(frozen=True)
class TinySize:
    """Sizes of a tiny model. The two widths differ so that mixing them up is an error."""

    image_size: int = 32
    """Side of the square image (LLaVA-1.5) or tile (OneVision), pixels; a multiple of patch_size."""
    patch_size: int = 8
    """Side of a vision patch, pixels."""
    vision_layers: int = 6
    """Blocks of the vision tower."""
    vision_width: int = 48
    """Hidden size of the vision tower, a multiple of heads."""
    decoder_layers: int = 6
    """Layers of the language model."""
    decoder_width: int = 64
    """Hidden size of the language model, a multiple of heads."""
    heads: int = 4
    """Attention heads of both; the language model has half as many key/value heads."""

    @property
    def patches(self) -> int:
        """Patches of one image or tile."""
        return (self.image_size // self.patch_size) ** 2


TINY = TinySize()


def tiny_tokenizer(family: Family, corpus: Sequence[str] = (), merges: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: 256 bytes, at most `merges` merges learnt from `corpus`, special tokens.

    It encodes any text. LLaVA's puts `<s>` in front, as Llama's does; Qwen's puts nothing.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = list(SPECIAL_TOKENS[family])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + len(special) + merges,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    if family == "llava":
        bos = [("<s>", tokenizer.token_to_id("<s>"))]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=bos)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>" if family == "llava" else None,
        eos_token="</s>" if family == "llava" else "<|im_end|>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def tiny_processor(
    family: Family, size: TinySize = TINY, corpus: Sequence[str] = (), merges: int = 0
) -> ProcessorMixin:
    """The processor that fits `build_tiny` of the same arguments.

    Args:
        family: LLaVA-1.5 (centre crop to one square) or LLaVA-OneVision (anyres, up to 3 x 3 tiles and
            the thumbnail).
        size: sizes of the model.
        corpus: texts that the tokenizer learns its merges from; plain bytes without.
        merges: how many.
    """
    tokenizer = tiny_tokenizer(family, corpus, merges)
    side = {"height": size.image_size, "width": size.image_size}
    if family == "llava":
        return CliLlavaProcessor(
            LlavaImageProcessorPil(size={"shortest_edge": size.image_size}, crop_size=side),
            tokenizer,
            patch_size=size.patch_size,
            vision_feature_select_strategy="default",
            chat_template=CHAT_TEMPLATES[family],
            num_additional_image_tokens=1,
        )
    return CliLlavaOnevisionProcessor(
        LlavaOnevisionImageProcessorPil(size=side, image_grid_pinpoints=_grid(size)),
        tokenizer,
        num_image_tokens=size.patches,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATES[family],
    )


def build_tiny(family: Family, seed: int = 0, size: TinySize = TINY, merges: int = 0) -> PreTrainedModel:
    """A plain LLaVA with random weights drawn from `seed`, in fp32 and evaluation mode."""
    token_ids = {token: i for i, token in enumerate(SPECIAL_TOKENS[family])}
    vocabulary = len(pre_tokenizers.ByteLevel.alphabet()) + len(token_ids) + merges
    build = _build_llava if family == "llava" else _build_onevision
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(size, vocabulary, token_ids).eval()


def _build_llava(size: TinySize, vocabulary: int, token_ids: dict[str, int]) -> PreTrainedModel:
    tokens = {"bos_token_id": token_ids["<s>"], "eos_token_id": token_ids["</s>"], "pad_token_id": token_ids["<pad>"]}
    text = LlamaConfig(vocab_size=vocabulary, **_decoder(size), **tokens)
    vision = CLIPVisionConfig(projection_dim=size.decoder_width, **_encoder(size))
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_ids["<image>"],
        image_seq_length=size.patches,
        **tokens,
    )
    return LlavaForConditionalGeneration(config)


def _build_onevision(size: TinySize, vocabulary: int, token_ids: dict[str, int]) -> PreTrainedModel:
    tokens = {"bos_token_id": None, "eos_token_id": token_ids["<|im_end|>"], "pad_token_id": token_ids["<pad>"]}
    text = Qwen2Config(vocab_size=vocabulary, **_decoder(size), **tokens)
    vision = SiglipVisionConfig(vision_use_head=False, **_encoder(size))
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_ids["<image>"],
        video_token_index=token_ids["<video>"],
        image_grid_pinpoints=_grid(size),
        **tokens,
    )
    return LlavaOnevisionForConditionalGeneration(config)


def _encoder(size: TinySize) -> dict[str, Any]:
    return {
        "hidden_size": size.vision_width,
        "intermediate_size": 2 * size.vision_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.heads,
        "image_size": size.image_size,
        "patch_size": size.patch_size,
        "initializer_range": size.vision_width**-0.5,
    }


def _decoder(size: TinySize) -> dict[str, Any]:
    return {
        "hidden_size": size.decoder_width,
        "intermediate_size": 2 * size.decoder_width,
        "num_hidden_layers": size.decoder_layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads // 2,
        "max_position_embeddings": 4096,
        # The usual 0.02 suits widths of thousands; here it would make layers that hardly do anything.
        "initializer_range": size.decoder_width**-0.5,
    }


def _grid(size: TinySize) -> list[list[int]]:
    """Resolutions that an image may be cut into, (height, width) in pixels: 1 x 1 to 3 x 3 tiles."""
    return [[rows * size.image_size, columns * size.image_size] for rows in (1, 2, 3) for columns in (1, 2, 3)]
