"""Tiny checkpoints in the original LLaVA layout, beside their twins in Hugging Face's."""

import io
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, SiglipVisionConfig, SiglipVisionModel

from cli_ray.model.tiny import build_tiny

WORDS = (
    "the",
    "a",
    "cat",
    "dog",
    "sees",
    "what",
    "is",
    "this",
    "image",
    "USER",
    "ASSISTANT",
    "describe",
    "tell",
    "more",
)
KINDS = {"llava": "LlavaLlamaForCausalLM", "llava_onevision": "LlavaQwenForCausalLM"}
VICUNA_ROWS, QWEN_ROWS = 320, 288
"""Embeddings of the originals: Vicuna's has no room for an image token, Qwen's has."""
LAYOUT = (
    ("model.language_model.", "model."),
    ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
)
"""From the name of a weight in transformers 5 to the original one."""
TEXT = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range",
)  # fmt: skip


def vicuna_tokenizer(folder: Path) -> None:
    """A SentencePiece tokenizer as Vicuna's on the hub: tokenizer.model, and no tokenizer.json."""
    draw, model = random.Random(0), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(draw.choices(WORDS, k=12)) for _ in range(300)]),
        model_writer=model,
        vocab_size=VICUNA_ROWS,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens | settings))
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens | {"pad_token": "<unk>"}))


def qwen_tokenizer(folder: Path) -> int:
    """A byte-level tokenizer as Qwen2's, and how many tokens it has."""
    vocabulary = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        # Qwen2's own, which knows no images.
        chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
    )
    fast.save_pretrained(folder)
    return len(fast)


def original(
    folder: Path, family: str, *, tower_inside: bool, binary: bool = False, **changes: Any
) -> tuple[Path, PreTrainedModel]:
    """Writes a tiny original checkpoint, its vision tower in a folder beside it.

    Args:
        folder: to write to.
        family: LLaVA-1.5 with a SentencePiece tokenizer, or LLaVA-OneVision.
        tower_inside: whether the weights of the tower are in the checkpoint too.
        binary: pytorch_model.bin instead of safetensors.
        changes: to its config.json.

    Returns:
        The folder of the checkpoint, and the stock model of transformers with the same weights.
    """
    target = folder / "checkpoint"
    target.mkdir(parents=True)
    if family == "llava":
        vicuna_tokenizer(target)
        rows, image = VICUNA_ROWS, VICUNA_ROWS
    else:
        rows, image = QWEN_ROWS, qwen_tokenizer(target)
    tied = changes.get("tie_word_embeddings", False)
    twin = _twin(family, rows if image < rows else -(-(rows + 2) // 64) * 64, image, tied=tied)
    _write_tower(twin, family, folder / "tower")
    state = {_original_name(name): weight for name, weight in twin.state_dict().items()}
    state = {name: weight for name, weight in state.items() if tower_inside or "vision_tower" not in name}
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][:rows].clone()
    if tied:
        del state["lm_head.weight"]
    (target / "config.json").write_text(json.dumps(_config(twin, family, rows, folder / "tower") | changes))
    _write_weights(target, state, binary=binary)
    return target, twin


def _twin(family: str, rows: int, image: int, *, tied: bool) -> PreTrainedModel:
    config = build_tiny(family).config
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    config.text_config.vocab_size = rows
    config.image_token_index, config.pad_token_id = image, None
    config.text_config.pad_token_id = None
    if family == "llava_onevision":
        config.video_token_index = image + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return type(build_tiny(family))(config).eval()


def _write_weights(folder: Path, state: dict[str, Tensor], *, binary: bool) -> None:
    """Weights in one file, and the projector of an earlier stage beside it, which nobody must read."""
    torch.save({"model.mm_projector.0.weight": torch.zeros(1)}, folder / "mm_projector.bin")
    if binary:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file({name: weight.contiguous() for name, weight in state.items()}, folder / "model.safetensors")


def _original_name(name: str) -> str:
    for ours, theirs in LAYOUT:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _write_tower(plain: PreTrainedModel, family: str, folder: Path) -> None:
    tower = plain.model.vision_tower
    if family == "llava":
        tower.save_pretrained(folder)
        return
    # The published tower has one block more, and a head, which the original code takes away.
    values = tower.config.to_dict() | {"num_hidden_layers": tower.config.num_hidden_layers + 1, "vision_use_head": True}
    whole = SiglipVisionModel(SiglipVisionConfig(**values))
    whole.load_state_dict(tower.state_dict(), strict=False)
    whole.save_pretrained(folder)


def _config(plain: PreTrainedModel, family: str, rows: int, tower: Path) -> dict[str, Any]:
    text = plain.config.text_config.to_dict()
    flat = {name: text[name] for name in TEXT} | {
        "architectures": [KINDS[family]],
        "model_type": "llava",
        "vocab_size": rows,
        "rope_theta": text["rope_parameters"]["rope_theta"],
        "tie_word_embeddings": False,
        "mm_vision_tower": str(tower),
        "mm_hidden_size": plain.config.vision_config.hidden_size,
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "torch_dtype": "float32",
    }
    if family == "llava":
        return flat | {"image_aspect_ratio": "pad"}
    return flat | {
        "image_aspect_ratio": plain.config.vision_aspect_ratio,
        "image_grid_pinpoints": [[width, height] for height, width in plain.config.image_grid_pinpoints],
        "mm_patch_merge_type": "spatial_unpad",
    }
