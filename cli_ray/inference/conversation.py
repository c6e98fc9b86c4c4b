"""A conversation in turns: what was asked, shown and answered so far, which each new question is asked after.

Each question sends the whole of it to the engine, so that its reply is the one that the model would give to the same
messages anywhere else. Features of images that were shown before are kept by the engine. `cli-ray chat` and the library
have one.
"""

from collections.abc import Callable, Sequence

from cli_ray.data.sample import IMAGE_MARK, Message
from cli_ray.inference.engine import Engine
from cli_ray.inference.pictures import Picture, all_encoded
from cli_ray.inference.request import Request
from cli_ray.inference.sampling import Sampling


def question_of(text: str, images: int) -> Message:
    """The message of the user with so many images: where the text has marks for them, else all in front."""
    return Message("user", text) if IMAGE_MARK in text else Message.of_parts("user", [IMAGE_MARK] * images + [text])


class Conversation:
    """Turns of a user and the model.

    Args:
        engine: that answers.
        system: what the model is told before all turns; empty for nothing.
        sampling: how each reply is made.
        allow_urls: whether images may be named by web addresses.
    """

    def __init__(
        self, engine: Engine, system: str = "", sampling: Sampling | None = None, *, allow_urls: bool = False
    ) -> None:
        self._engine = engine
        self._sampling = sampling or Sampling()
        self._allow_urls = allow_urls
        self._turns: list[Message] = []
        self._images: list[bytes] = []
        self.system = system

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of it, the system message included."""
        return (*([Message("system", self.system)] if self.system else []), *self._turns)

    def ask(
        self,
        question: str,
        images: Picture | Sequence[Picture] = (),
        *,
        on_text: Callable[[str], object] = lambda piece: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> str:
        """The reply to a question; both then belong to the conversation, unless nothing was said.

        Args:
            question: may say by `<image>` marks where in it each image stands; else they come first.
            images: that it shows; those of earlier questions stay in sight.
            on_text: gets the text of the reply in pieces.
            is_cancelled: whether the reply is to end where it is.

        Raises:
            BadRequestError: the question cannot be asked. The conversation is as before.
        """
        content = all_encoded(images, allow_urls=self._allow_urls)
        asked = question_of(question, len(content))
        request = Request((*self.messages, asked), (*self._images, *content), self._sampling)

        def tell(index: int, piece: str) -> None:
            on_text(piece)

        (answer,) = self._engine.generate([request], tell, lambda index: is_cancelled())
        if isinstance(answer, Exception):
            raise answer
        if answer.text:
            self._images += content
            # What a model writes shows no image.
            self._turns += [asked, Message("assistant", answer.text.replace(IMAGE_MARK, "image"))]
        return answer.text

    def clear(self) -> None:
        """Forgets all turns and images; what the model is told before them stays."""
        self._turns.clear()
        self._images.clear()
