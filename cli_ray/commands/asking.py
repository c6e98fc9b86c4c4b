"""What the verbs that put questions to a model share: their arguments, the loaded model, and text on its way to people.

Called by `ask` and `chat`.
"""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cli_ray.config.base import Section
from cli_ray.console import quiet_warnings
from cli_ray.errors import UserError
from cli_ray.text import printable

if TYPE_CHECKING:
    from cli_ray.inference.engine import Engine
    from cli_ray.inference.sampling import Sampling

LONGEST_NAME = 200
"""Characters of a picture's name that are shown."""
LONGEST_QUESTION = 2**20
"""Bytes that are read of standard input; no context holds as much."""


class AskingArguments(Section):
    """The model, where it runs, and how its replies are made."""

    model: str = ""
    """Exported folder, run folder (its newest checkpoint is exported first) or hub id."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs over which the layers are spread; 0 runs on CPU; one where torch finds any, when not given."""
    dtype: Literal["bf16", "fp32"] | None = None
    """Weights and activations; bf16 on GPUs and fp32 on CPU, when not given."""
    system: str = ""
    """What the model is told before the question."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Tokens of a reply at most."""
    temperature: float = Field(default=0.0, ge=0, le=100)
    """What logits are divided by before a token is drawn; 0 takes the likeliest one."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw among the likeliest tokens that have this probability together."""
    seed: int | None = None
    """Of what is drawn; the same seed gives the same reply."""
    allow_urls: bool = False
    """Read images from web addresses, from public ones alone; else they are refused."""


def engine_of(settings: AskingArguments, verb: str) -> "Engine":
    """The model, loaded; standard error says where it runs.

    Raises:
        UserError: none is named, or it cannot be loaded.
    """
    if not settings.model:
        raise UserError(f"name a model: cli-ray {verb} --model DIR_OR_RUN")
    quiet_warnings()
    from cli_ray.train.checkpoint.exported import exported_model

    with redirect_stdout(sys.stderr):  # libraries write to the one that is for replies
        model = exported_model(settings.model)
    from cli_ray.inference.engine import Engine
    from cli_ray.inference.loaded import replica_here

    replica = replica_here(settings.gpus, settings.dtype)
    engine = Engine(model, replica)
    where = f"{replica.gpus:g} GPU" if replica.gpus else "CPU"
    print(f"{printable(settings.model)} on {where} in {replica.dtype}", file=sys.stderr, flush=True)
    return engine


def shown(name: str, *, allow_urls: bool) -> bytes:
    """The encoded picture that a word names, which was decoded once: a fault is said at once, with the name.

    Raises:
        UserError: there is none.
    """
    from cli_ray.data.images import decode
    from cli_ray.data.sample import BadDataError
    from cli_ray.inference.pictures import LIMITS, encoded

    content = encoded(name, allow_urls=allow_urls)
    try:
        decode(content, LIMITS)
    except BadDataError as error:
        raise UserError(f"{printable(name[:LONGEST_NAME])} cannot be shown: {error.detail}") from error
    return content


def sampling_of(settings: AskingArguments) -> "Sampling":
    """How replies are made."""
    from cli_ray.inference.sampling import Sampling

    return Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, settings.seed)


def tell(piece: str) -> None:
    """Writes a piece of a reply at once; what a model writes must not steer a terminal."""
    if sys.stdout.isatty():
        piece = "\n".join("\t".join(map(printable, line.split("\t"))) for line in piece.split("\n"))
    sys.stdout.write(piece)
    sys.stdout.flush()


def text_of(content: bytes) -> str:
    """What was read of standard input, as text.

    Raises:
        UserError: it is none, or too long.
    """
    if len(content) > LONGEST_QUESTION:
        raise UserError(f"standard input has more than {LONGEST_QUESTION:,} bytes: no model reads as much")
    try:
        text = content.decode().removeprefix("\ufeff").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is no text in UTF-8: {error.reason} at byte {error.start:,}") from None
    if "\0" in text:
        raise UserError("standard input is no text in UTF-8: it has zero bytes")
    return text
