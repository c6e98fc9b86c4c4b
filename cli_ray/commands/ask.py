"""`cli-ray ask --model M IMAGE... "question"`: one question to a model, whose reply is written as it comes."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cli_ray.commands.asking import LONGEST_QUESTION, AskingArguments, engine_of, sampling_of, shown, tell, text_of
from cli_ray.config.load import arguments
from cli_ray.errors import UserError
from cli_ray.text import grid

if TYPE_CHECKING:
    from cli_ray.inference.engine import Answer
    from cli_ray.inference.injected import Injected


class AskArguments(AskingArguments):
    """Asks a model about images. The last word is the question, all before it are images: files, data URLs and, with
    `--allow-urls`, web addresses. Without a question, or with `-` for one, it is read from standard input."""

    words: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[IMAGE ...] [QUESTION]")] = ()
    """Images, then the question, in which `<image>` marks may say where each image stands."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Write one JSON object instead: the reply, why it ended, its tokens and seconds; with `--gates`, what was
    injected."""
    gates: bool = False
    """Write the gates of the reply, too: how much of which vision layer was added in which decoder layer."""
    gates_image: str = ""
    """Draw where in the first picture injection changed the hidden states, into this file (.png or .webp)."""


def main(words: list[str]) -> None:
    """Asks, and writes the reply."""
    settings = arguments(AskArguments, words, "cli-ray ask")
    names, question = divided(settings.words)
    images = tuple(shown(name, allow_urls=settings.allow_urls) for name in names)
    answer, seconds = asked(settings, images, from_input() if question is None else question)
    if settings.gates_image:
        draw(settings.gates_image, images, answer.injected)
    if settings.as_json:
        print(json.dumps(as_json(settings, answer, seconds), ensure_ascii=False))
    elif settings.gates:
        print(f"\n{gate_table(answer.injected)}")


def divided(words: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """The images, and the question; None where it is to be read from standard input."""
    from cli_ray.inference.pictures import is_url

    if not words or words[-1] == "-":
        return words[:-1], None
    last = words[-1]
    is_image = last.startswith("data:image/") or is_url(last) or (len(last) < 4096 and Path(last).is_file())
    return (words, None) if is_image else (words[:-1], last)


def from_input() -> str:
    """The question from standard input.

    Raises:
        UserError: that is a terminal, or holds no text.
    """
    if sys.stdin.isatty():
        raise UserError('no question: write it last, as in cli-ray ask --model M photo.jpg "What is it?", or pipe it')
    return text_of(sys.stdin.buffer.read(LONGEST_QUESTION + 1))


def asked(settings: AskArguments, images: tuple[bytes, ...], question: str) -> tuple["Answer", float]:
    """The answer, written as it comes unless it is to be JSON, and the seconds that it took the loaded model."""
    from cli_ray.data.sample import Message
    from cli_ray.inference.conversation import question_of
    from cli_ray.inference.request import Request, check_request

    system = [Message("system", settings.system)] if settings.system else []
    wants_gates = settings.gates or bool(settings.gates_image)
    request = Request((*system, question_of(question, len(images))), images, sampling_of(settings), wants_gates)
    check_request(request)
    engine = engine_of(settings, "ask")
    begun = time.monotonic()
    (answer,) = engine.generate([request], lambda index, piece: None if settings.as_json else tell(piece))
    if isinstance(answer, Exception):
        raise answer
    if not settings.as_json:
        print()
    return answer, time.monotonic() - begun


def as_json(settings: AskArguments, answer: "Answer", seconds: float) -> dict[str, object]:
    """The answer as an object."""
    told: dict[str, object] = {
        "model": settings.model,
        "reply": answer.text,
        "finish": answer.finish,
        "prompt_tokens": answer.prompt_tokens,
        "reply_tokens": answer.reply_tokens,
        "seconds": round(seconds, 3),
    }
    if settings.gates:
        told["injected"] = None if answer.injected is None else answer.injected.model_dump(mode="json")
    return told


def gate_table(injected: "Injected | None") -> str:
    """The mean gates over the images, and the share of what was added, by decoder layer."""
    if injected is None:
        return "nothing was injected: there is no image, or the model is a plain one"
    head = ["decoder layer", *(f"vision {layer}" for layer in injected.vision_layers), "share added"]
    body = [
        [str(layer), *(f"{gate:+.3f}" for gate in gates), f"{share:.1%}"]
        for layer, gates, share in zip(injected.decoder_layers, injected.gate_mean, injected.share, strict=True)
    ]
    return grid(head, body, left=1)


def draw(path: str, images: Sequence[bytes], injected: "Injected | None") -> None:
    """Draws where in the first picture injection changed the hidden states, layer by layer.

    Raises:
        UserError: nothing was injected, or the file cannot be written.
    """
    from cli_ray.data.images import decode
    from cli_ray.inference.pictures import LIMITS
    from cli_ray.report.heat import drawn

    if injected is None or injected.heat is None:
        raise UserError(f"{path} is not drawn, for nothing was injected: show an image to a model with injection")
    try:
        drawn(decode(images[0], LIMITS), injected.heat, injected.decoder_layers).save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be drawn: {error}; name a file that ends with .png or .webp") from error
