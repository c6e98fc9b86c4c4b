"""Small random models of each family and their processors, built in memory: the `tiny` checkpoint.

They are the stock classes of transformers with few and narrow layers, so whatever works on them works on
the published checkpoints. Every test uses them, and so does the demo.
"""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from cli_ray.costs.tiny import TINY, TinySize
from cli_ray.model.families import family_named


def tiny_tokenizer(name: str, corpus: Sequence[str] = (), merges: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: 256 bytes, at most `merges` merges learnt from `corpus`, special tokens.

    It encodes any text. LLaVA's puts `<s>` in front, as Llama's does; Qwen's puts nothing.

    Args:
        name: of the family.
        corpus: texts that the merges are learnt from.
        merges: how many.
    """
    family = family_named(name)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + len(family.tiny_tokens) + merges,
        special_tokens=list(family.tiny_tokens),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    if family.bos_token is not None:
        first = family.bos_token
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A $B", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos_token,
        eos_token=family.eos_token,
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def tiny_processor(name: str, size: TinySize = TINY, corpus: Sequence[str] = (), merges: int = 0) -> ProcessorMixin:
    """The processor that fits `build_tiny` of the same arguments.

    Args:
        name: of the family, such as `llava` (centre crop to one square) or `llava_onevision` (anyres, up to 3 x 3
            tiles and the thumbnail).
        size: sizes of the model.
        corpus: texts that the tokenizer learns its merges from; plain bytes without.
        merges: how many.
    """
    return family_named(name).tiny_processor(tiny_tokenizer(name, corpus, merges), size)


def build_tiny(name: str, seed: int = 0, size: TinySize = TINY, merges: int = 0) -> PreTrainedModel:
    """A plain model of the family `name` with random weights drawn from `seed`, in fp32 and evaluation mode."""
    family = family_named(name)
    ids = {token: i for i, token in enumerate(family.tiny_tokens)}
    vocabulary = len(pre_tokenizers.ByteLevel.alphabet()) + len(ids) + merges
    tokens = {
        "bos_token_id": None if family.bos_token is None else ids[family.bos_token],
        "eos_token_id": ids[family.eos_token],
        "pad_token_id": ids["<pad>"],
    }
    vision = family.tiny_vision(size.decoder_width, **_encoder(size))
    config = family.plain_class.config_class(
        vision_config=vision,
        text_config=family.text_config_class(vocab_size=vocabulary, **_decoder(size), **tokens),
        image_token_index=ids["<image>"],
        **family.tiny_fields(ids.__getitem__, vision),
        **tokens,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = family.plain_class(config)
        return model.eval()


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
