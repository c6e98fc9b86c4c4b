"""What the processors of all families share: they mark the replies of a chat, and keep images within a budget.

So gates read at inference what they read in training, and see images as they did there.
"""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar

import torch
from transformers import ProcessorMixin

from cli_ray.config import DataConfig
from cli_ray.costs.sizes import SQUARE_LENGTH
from cli_ray.tiles import Shrinker, Size, View

# Content is a string with `<image>` marks or a list of parts, as in the templates on the hub.
RENDER_CONTENT = (
    "{%- macro render(content) -%}{%- if content is string -%}{{ content }}{%- else -%}{%- for part in content -%}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
)
"""The macro `render` that the chat templates of the families begin with."""
_OF_TOKENS = ("tokenize", "return_dict", "return_tensors", "return_assistant_tokens_mask", "processor_kwargs")
_OF_THE_END = ("add_generation_prompt", "continue_final_message")


class FamilyProcessor(ProcessorMixin):
    """Mixin of the processors, before the plain one's class."""

    usual_length: ClassVar[int] = SQUARE_LENGTH
    """`data.max_length` of runs that name none."""

    def limit_images(self, data: DataConfig) -> None:
        """Gives the processor the image budget of a run, in place of the one that it may have been stored with.

        Raises:
            UserError: a budget that images of the family cannot keep.
        """
        raise NotImplementedError

    @property
    def shrinker(self) -> Shrinker | None:
        """What keeps a sample's only image within the budget; None where all images take the same."""
        return None

    def view(self, sizes: Sequence[Size]) -> View:
        """How the rows of a sample's first image lie in the picture, in the finest of the ways that it is shown.

        Args:
            sizes: of the images of the sample, (height, width) in pixels.
        """
        raise NotImplementedError

    def process_images(self, images: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        """What the model is given of images, within the budget, and for each the text that stands for it."""
        processed: tuple[Any, list[str]] = self._process_images(images, **kwargs)
        return processed

    def plain(self) -> ProcessorMixin:
        """A copy as the class that this one was mixed into: it encodes alike but for the budget, and a process that
        unpacks it loads no model."""
        plain: Any = copy(self)
        plain.__class__ = next(kind for kind in type(self).__mro__ if not issubclass(kind, FamilyProcessor))
        return plain

    def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **kwargs: Any) -> Any:
        """As in transformers; with `tokenize` and `return_dict` also the model's `turn_ids`, where there are replies.

        Raises:
            ValueError: the template does not render message by message, so that nothing tells where a reply begins.
        """
        is_batch = not isinstance(conversation[0], Mapping)
        chats: Sequence[Any] = conversation if is_batch else [conversation]
        has_replies = any(message["role"] == "assistant" for chat in chats for message in chat)
        if not (kwargs.get("tokenize") and kwargs.get("return_dict") and has_replies):
            return super().apply_chat_template(conversation, chat_template, **kwargs)
        replies = [self.replies(chat, chat_template, **kwargs) for chat in chats]
        offsets = {"return_offsets_mapping": True, "return_text_replacement_offsets": True}
        changed = {
            "return_assistant_tokens_mask": False,
            "processor_kwargs": (kwargs.get("processor_kwargs") or {}) | offsets,
        }
        inputs = super().apply_chat_template(conversation, chat_template, **kwargs | changed)
        masks = self._adjust_assistant_masks_indices(inputs, replies).pop("assistant_masks")
        inputs["turn_ids"] = _turns(masks, inputs.get("attention_mask"), inputs["input_ids"])
        if kwargs.get("return_assistant_tokens_mask"):
            again = super().apply_chat_template(conversation, chat_template, **kwargs)
            inputs["assistant_masks"] = again["assistant_masks"]
        return inputs

    def replies(
        self, chat: Sequence[Mapping[str, Any]], chat_template: str | None = None, **kwargs: Any
    ) -> list[tuple[int, int]]:
        """First and last-plus-one character of each turn of the assistant, without its header.

        Args:
            chat: of which `apply_chat_template` makes a text.
            chat_template: in place of the processor's own.
            kwargs: as for `apply_chat_template`.

        Raises:
            ValueError: the template does not render message by message, so that nothing tells where a reply begins.
        """
        own = {key: value for key, value in kwargs.items() if key not in _OF_TOKENS}
        inner = {key: value for key, value in own.items() if key not in _OF_THE_END}

        def render(turns: int, **end: bool) -> str:
            return str(
                super(FamilyProcessor, self).apply_chat_template(list(chat[:turns]), chat_template, **inner, **end)
            )

        text = str(super().apply_chat_template(chat, chat_template, **own))
        spans = []
        for turn, message in enumerate(chat):
            if message["role"] == "assistant":
                context = render(turn) if turn else ""
                prompt = render(turn, add_generation_prompt=True) if turn else ""
                start = _after_header(text, context, prompt)
                if start is None:
                    raise ValueError(f"the chat template does not render message {turn} after those before it")
                spans.append((start, len(text) if turn == len(chat) - 1 else len(render(turn + 1))))
        return spans


def _after_header(text: str, context: str, prompt: str) -> int | None:
    """Where a reply begins: after the generation prompt; the header of a past turn may have other spaces."""
    if text.startswith(prompt):
        return len(prompt)
    words = map(re.escape, prompt[len(context) :].split())
    header = re.compile(r"\s*" + r"\s*".join(words) + r"\s*")
    match = header.match(text, len(context)) if text.startswith(context) else None
    return None if match is None else match.end()


def _turns(masks: list[list[int]], attention_mask: Any, input_ids: Any) -> Any:
    """`turn_ids` of the type of `input_ids`: tokens of replies counted, -1 at padding."""
    rows = []
    for i, mask in enumerate(masks):
        turn_T = torch.tensor(mask).cumsum(0)
        if attention_mask is not None:
            turn_T = turn_T.masked_fill(torch.as_tensor(attention_mask[i]) == 0, -1)
        rows.append(turn_T)
    return torch.stack(rows) if isinstance(input_ids, torch.Tensor) else [row.tolist() for row in rows]
