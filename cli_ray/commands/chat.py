"""`cli-ray chat --model M`: a conversation with a model, in the terminal or line by line from standard input."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from cli_ray.commands.asking import LONGEST_QUESTION, AskingArguments, engine_of, sampling_of, shown, tell, text_of
from cli_ray.config.load import arguments
from cli_ray.errors import UserError
from cli_ray.text import columns

if TYPE_CHECKING:
    from cli_ray.inference.conversation import Conversation

HELP = (
    ("/image PATH", "show a picture with the next question; again for more"),
    ("/system TEXT", "tell the model something before all turns; nothing without a text"),
    ("/clear", "forget all turns and pictures"),
    ("/help", "this list"),
    ("/quit", "end, as Ctrl-D does; Ctrl-C stops a reply"),
)


class ChatArguments(AskingArguments):
    """Talks to a model in turns. A line is a question; one that begins with `/` is a command, which `/help` lists.
    Without a terminal, lines are read from standard input and replies written to standard output."""


def main(words: list[str]) -> None:
    """Talks until the input ends."""
    settings = arguments(ChatArguments, words, "cli-ray chat")
    engine = engine_of(settings, "chat")
    from cli_ray.inference.conversation import Conversation

    conversation = Conversation(engine, settings.system, sampling_of(settings), allow_urls=settings.allow_urls)
    if sys.stdin.isatty():
        print("/image PATH shows a picture, /help lists the other commands, Ctrl-D ends", file=sys.stderr)
    Talk(conversation, allow_urls=settings.allow_urls).go()


class Talk:
    """The lines of a person and what comes of each.

    Args:
        conversation: with the model.
        allow_urls: whether pictures may be named by web addresses.
    """

    def __init__(self, conversation: "Conversation", *, allow_urls: bool) -> None:
        self._conversation = conversation
        self._allow_urls = allow_urls
        self._shown: list[bytes] = []
        """Pictures of the next question."""

    def go(self) -> None:
        """Takes lines until they end, or one says so; a line that cannot be done is told, and the next one taken."""
        for line in lines():
            try:
                if not self.take(line):
                    return
            except UserError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)

    def take(self, line: str) -> bool:
        """Does what a line says; whether the talk goes on.

        Raises:
            UserError: it cannot be done.
        """
        if not line.startswith("/"):
            self._ask(line)
            return True
        command, _, rest = line.partition(" ")
        match command:
            case "/quit":
                return False
            case "/help":
                print("\n".join(columns(HELP)))
            case "/clear":
                self._conversation.clear()
                self._shown.clear()
            case "/system":
                self._conversation.system = rest.strip()
            case "/image":
                if not rest.strip():
                    raise UserError("/image needs the path of a picture")
                self._shown.append(shown(rest.strip(), allow_urls=self._allow_urls))
            case _:
                raise UserError(f"there is no command {command}: /help lists them")
        return True

    def _ask(self, question: str) -> None:
        if not question.strip():
            return
        with interruptions() as stopped:
            self._conversation.ask(question, self._shown, on_text=tell, is_cancelled=stopped.is_set)
        self._shown.clear()
        print(flush=True)


def lines() -> Iterator[str]:
    """What a person types, or the lines of standard input, without their ends.

    Raises:
        UserError: standard input holds no text.
    """
    if not sys.stdin.isatty():
        while line := sys.stdin.buffer.readline(LONGEST_QUESTION + 1):
            yield text_of(line)
        return
    with suppress(ImportError):  # lets `input` edit lines and remember them; not everywhere there
        import readline  # noqa: F401
    while True:
        try:
            yield input("> ").strip()
        except KeyboardInterrupt:
            print("\nCtrl-D or /quit ends", file=sys.stderr)
        except EOFError:
            print()
            return


@contextmanager
def interruptions() -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event, so that a reply ends and the talk goes on; a second one ends it all."""
    stopped = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
