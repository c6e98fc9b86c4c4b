"""From a request to the prompt of the model: the rendered chat and the decoded images.

The engine makes one of each request; it needs neither the weights nor the device.
"""

import hashlib
from collections.abc import Sequence

from transformers import ProcessorMixin

from cli_ray.data.images import decode_all
from cli_ray.data.sample import BadDataError, Message
from cli_ray.inference.inputs import Prompt
from cli_ray.inference.load import chat_of
from cli_ray.inference.pictures import LIMITS
from cli_ray.inference.request import BadRequestError, Request, check_request
from cli_ray.model.processor import FamilyProcessor


class Prompter:
    """Makes prompts of requests.

    Args:
        processor: of the model.
        context: tokens that the model can take.
    """

    def __init__(self, processor: ProcessorMixin, context: int) -> None:
        self._processor = processor
        self._chat = chat_of(processor)
        self._context = context
        self._longest_token = max(map(len, processor.tokenizer.get_vocab()))

    def __call__(self, request: Request) -> Prompt:
        """The prompt of a request.

        Raises:
            BadRequestError: the model cannot be asked this.
        """
        check_request(request)
        characters = sum(len(message.content) for message in request.messages)
        if characters > self._context * self._longest_token:  # before time is spent on it
            raise BadRequestError(
                f"{characters:,} characters are more than the model's context of {self._context:,} tokens can hold: "
                "send less text"
            )
        try:
            text = self._chat(request.messages, True)
            images = decode_all(request.images, LIMITS)
        except BadDataError as error:
            raise BadRequestError(f"{error.reason}: {error.detail}") from error
        token = self._processor.image_token
        if text.count(token) != len(images):
            raise BadRequestError(
                f"a message holds {token}, which the model reads as an image: write it otherwise, such as {token[1:-1]}"
            )
        return Prompt(text, images, _hash(request.images), self._replies(request.messages))

    def _replies(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Where past replies begin in the text, for models whose gates read up to them."""
        has_replies = any(message.role == "assistant" for message in messages)
        if not has_replies or not isinstance(self._processor, FamilyProcessor):
            return ()
        try:
            spans = self._processor.replies(self._chat.turns(messages), add_generation_prompt=True)
        except ValueError as error:
            raise BadRequestError(f"chat template: {error}") from error
        return tuple(start for start, _ in spans)


def _hash(images: Sequence[bytes]) -> str:
    """Over encoded images, whose borders count."""
    content = hashlib.blake2b(digest_size=16)
    for image in images:
        content.update(len(image).to_bytes(8, "little") + image)
    return content.hexdigest()
