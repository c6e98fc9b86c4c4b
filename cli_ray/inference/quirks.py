"""What is special to single families of other models; `foreign` asks here, and so do counts of image tokens."""

from collections.abc import Callable
from functools import partial
from typing import Any

PALIGEMMA = (
    "{%- if messages | length != 1 or messages[0]['role'] != 'user' -%}"
    "{{ raise_exception('PaliGemma answers one question, without a system message or turns before it') }}{%- endif -%}"
    "{%- for part in messages[0]['content'] if part['type'] == 'image' -%}<image>{%- else -%}"
    "{{ raise_exception('PaliGemma answers questions about images alone') }}{%- endfor -%}"
    "{{ 'answer en ' }}"
    "{%- for part in messages[0]['content'] if part['type'] == 'text' -%}{{ part['text'] }}{%- endfor -%}"
)
"""PaliGemma has no chat: its prompts are the images, a task and its words, and a question is the task `answer` in some
language (big_vision, configs/proj/paligemma/README.md). Its processor adds `<bos>` behind the images and a line end."""

TEMPLATES = {"paligemma": PALIGEMMA}
"""Chat templates of families whose checkpoints have none, by model type."""


def image_counter(processor: Any) -> Callable[..., Any] | None:
    """What a processor has to count the tokens of images by their sizes; None if it has nothing.

    SmolVLM lays images out as Idefics 3 does, whose count it lacks.
    """
    from transformers import Idefics3Processor, SmolVLMProcessor

    if isinstance(processor, SmolVLMProcessor):
        return partial(Idefics3Processor._get_num_multimodal_tokens, processor)
    counter: Callable[..., Any] | None = getattr(processor, "_get_num_multimodal_tokens", None)
    return counter
