"""The processor's own chat template, rendered so that the supervised text is known to the character.

`encoder` renders conversations of training by `ChatTemplate`, the evaluations their prompts by `Chat`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from transformers import ProcessorMixin

from cli_ray.data.sample import IMAGE_MARK, BadDataError, Message
from cli_ray.errors import UserError

_PROBE = "probe"
_MARKS_IN_FRONT = re.compile(rf"(?:\s*{IMAGE_MARK})+\s*")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of a conversation."""

    text: str
    """With one image token per image."""
    spans: list[tuple[int, int]]
    """First and last-plus-one character of each assistant turn, its end token included."""


class Chat:
    """Renders messages as the chat template of a processor does, typed parts as parts.

    Text with its image marks in front is what the image parts and one text part are: the template puts between
    them what it puts there for everybody. Marks elsewhere stay in the text, since most templates put all images first.
    A template for strings alone gets strings.

    Args:
        processor: that has the template.
        **variables: of the template, beside the messages.
    """

    def __init__(self, processor: ProcessorMixin, **variables: bool) -> None:
        self._processor = processor
        self._variables = variables
        self._takes_parts = True
        try:
            probe = self([Message("user", IMAGE_MARK + _PROBE)], False)
        except BadDataError:
            probe = ""
        self._takes_parts = _PROBE in probe and probe.count(processor.image_token) == 1

    def __call__(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """The text, with one image token per image.

        Raises:
            BadDataError: the template refuses it.
        """
        if not messages:
            return ""
        try:
            rendered = self._processor.apply_chat_template(
                self.turns(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **self._variables
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise BadDataError("chat template", str(error)) from error
        return str(rendered)

    def turns(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The messages as they go to the template."""
        return [{"role": message.role, "content": self._content(message)} for message in messages]

    def texts(self, message: Message) -> list[str]:
        """The texts of a message as they go to the template."""
        parts = _parts(message) if self._takes_parts else [message.content]
        return [part.replace(IMAGE_MARK, self._processor.image_token) for part in parts if part != IMAGE_MARK]

    def _content(self, message: Message) -> str | list[dict[str, str]]:
        token = self._processor.image_token
        if not self._takes_parts:
            return message.content.replace(IMAGE_MARK, token)
        return [
            {"type": "image"} if part == IMAGE_MARK else {"type": "text", "text": part.replace(IMAGE_MARK, token)}
            for part in _parts(message)
        ]


def _parts(message: Message) -> Sequence[str]:
    """Texts and marks of a message."""
    if message.parts:
        return message.parts
    front = _MARKS_IN_FRONT.match(message.content)
    text = message.content[front.end() :] if front else message.content
    if front is None or IMAGE_MARK in text:
        return [message.content]
    return [IMAGE_MARK] * front[0].count(IMAGE_MARK) + [text] * bool(text)


class ChatTemplate:
    """Renders conversations as the model meets them when it generates.

    A turn of the assistant is learnt after exactly the generation prompt of the template. Two habits of
    published templates are met: LLaVA-1.5's on the hub ends assistant turns with a space and no end token
    (the tokenizer's is put there, as the original training code did), and LLaVA-OneVision's renders a
    space after `assistant` in a past turn that its generation prompt lacks.

    Raises:
        UserError: at construction, when the template is missing or cannot be rendered turn by turn.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        if not getattr(processor, "chat_template", None):
            raise UserError("the processor has no chat template; put one beside it (chat_template.jinja)")
        self._processor = processor
        self._apply = Chat(processor)
        try:
            self._after, self._end = self._probe_end()
            self.render([Message("user", _PROBE), Message("assistant", _PROBE)] * 2)
        except BadDataError as error:
            raise UserError(f"the processor's chat template cannot be used for training: {error.detail}") from error

    def render(self, messages: Sequence[Message]) -> Rendered:
        """The text of a conversation whose last message is the assistant's.

        Raises:
            BadDataError: the template refuses it, or does not render it turn by turn.
        """
        text, spans, before = "", [], ""
        for turn, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt = self._apply(messages[:turn], True)
            through = self._apply(messages[: turn + 1], False)
            if not prompt.startswith(before):
                raise BadDataError("chat template", f"message {turn} changes how those before it are rendered")
            text += prompt[len(before) :]
            answer = self._answer(prompt, self._apply(messages[:turn], False), through, message) + self._end
            spans.append((len(text), len(text) + len(answer)))
            text += answer + self._after.partition(self._end)[2]
            before = through
        return Rendered(text, spans)

    def _answer(self, prompt: str, context: str, through: str, message: Message) -> str:
        """What the template puts between its generation prompt and the end of the turn.

        Args:
            prompt: the messages before it and the generation prompt.
            context: the messages before it.
            through: the messages before it and the message.
            message: of the assistant.
        """
        if through.startswith(prompt):
            answer = through[len(prompt) :]
        else:
            header, content, rest = through[len(context) :].partition(self._first_text(message))
            if not through.startswith(context) or header.split() != prompt[len(context) :].split():
                raise BadDataError("chat template", "an assistant turn does not begin with the generation prompt")
            answer = content + rest
        if not answer.endswith(self._after):
            raise BadDataError("chat template", f"an assistant turn does not end with {self._after!r}")
        return answer[: len(answer) - len(self._after)]

    def _probe_end(self) -> tuple[str, str]:
        """What the template puts after the text of an assistant turn, and the token that ends the turn."""
        rendered = self._apply([Message("user", "x"), Message("assistant", _PROBE)], False)
        if _PROBE not in rendered:
            raise BadDataError("chat template", "the text of an assistant turn is not in what it renders")
        after = rendered.rpartition(_PROBE)[2]
        tokenizer = self._processor.tokenizer
        added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        ends = [token for token in added if token in after]
        if ends:
            first = min(ends, key=after.index)
            return after, after[: after.index(first) + len(first)]
        if after.strip() or tokenizer.eos_token is None:
            raise BadDataError("chat template", f"no token ends an assistant turn, only {after!r}")
        return after, str(tokenizer.eos_token)

    def _first_text(self, message: Message) -> str:
        return next(text for text in self._apply.texts(message) if text.strip())
