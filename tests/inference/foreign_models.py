"""Tiny random models of other families than ours, made from their own config, processor and image processor classes.

Their chat templates are short ones of the same form as those on the hub. `save_foreign` writes one as its publisher
would: a folder that the Auto classes of transformers load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.inference import foreign_builders as builders

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_ML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Messages in turn and their parts in order; `IMAGE` stands for what a family puts for an image."""


@dataclass(frozen=True)
class Foreign:
    """A family of transformers."""

    build: Callable[["PreTrainedTokenizerFast"], tuple[Any, tuple[Any, Any, dict[str, Any]]]]
    """The model; and class, image processor and fields of its processor."""
    tokens: Sequence[str]
    """Special tokens beside those of every family."""
    template: str | None
    named: dict[str, str] = field(default_factory=dict)
    """Special tokens that the tokenizer has attributes of."""
    bos: bool = False
    """The tokenizer puts `<s>` in front."""


def tokenizer_of(foreign: Foreign) -> "PreTrainedTokenizerFast":
    """Bytes and special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", *foreign.tokens]
    size = len(alphabet) + len(tokens)
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(vocab_size=size, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False)
    )
    if foreign.bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=foreign.named,
        model_max_length=builders.CONTEXT,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _chat(image: str) -> str:
    return CHAT_ML.replace("IMAGE", image)


VISION = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
IDEFICS_TOKENS = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")
AYA = ("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL", "TILE_1",
       "TILE_2", "TILE_3", "TILE_4")  # fmt: skip
TILES = ("<global-img>", *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)))
FOREIGN = {
    "qwen2_5_vl": Foreign(builders.qwen2_5_vl, QWEN, _chat(VISION)),
    "qwen3_vl": Foreign(builders.qwen3_vl, QWEN, _chat(VISION)),
    "idefics3": Foreign(builders.idefics3, IDEFICS_TOKENS + TILES, _chat("<image>"), bos=True),
    "smolvlm": Foreign(builders.smolvlm, IDEFICS_TOKENS + TILES, _chat("<image>")),
    "idefics2": Foreign(builders.idefics2, IDEFICS_TOKENS, _chat("<image>"), bos=True),
    "internvl": Foreign(
        builders.internvl,
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        _chat("<IMG_CONTEXT>"),
        {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
         "video_token": "<video>"},
    ),
    "gemma3": Foreign(
        builders.gemma3,
        ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        GEMMA,
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        bos=True,
    ),
    "paligemma": Foreign(builders.paligemma, ("<image>",), None, {"image_token": "<image>"}, bos=True),
    "llava_next": Foreign(builders.llava_next, ("<image>",), _chat("<image>\n"), bos=True),
    "aya_vision": Foreign(
        builders.aya_vision,
        AYA,
        _chat("<image>"),
        bos=True,
    ),
    "mllama": Foreign(
        builders.mllama, ("<|image|>", "<|python_tag|>"), _chat("<|image|>"), {"image_token": "<|image|>"}, bos=True
    ),
    "glm4v": Foreign(
        builders.glm4v,
        ("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
        _chat("<|begin_of_image|><|image|><|end_of_image|>"),
    ),
}  # fmt: skip
"""By model type. Each needs neither torchvision nor a package of its own, but for SmolVLM, which needs num2words."""


RUNNABLE = [name for name in FOREIGN if name != "smolvlm" or find_spec("num2words")]
"""Those whose packages are here."""


def save_foreign(folder: Path, name: str, seed: int = 0) -> str:
    """A tiny model with its processor in a folder."""
    import torch
    from transformers import GenerationConfig

    from cli_ray.inference.foreign import without_video

    foreign = FOREIGN[name]
    tokenizer = tokenizer_of(foreign)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, (kind, images, fields) = foreign.build(tokenizer)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.8, repetition_penalty=1.1, eos_token_id=[2, 4], pad_token_id=0
    )
    model.save_pretrained(folder)
    fields |= {"chat_template": foreign.template}
    without_video(kind)(images, tokenizer, **fields).save_pretrained(folder)
    return str(folder)
