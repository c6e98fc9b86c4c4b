"""What is shown of a sample: the chat that the model reads, its pictures, and what of the record was read.

All texts come from data that nobody vouches for, and leave this module with all that cannot be seen written out.
`console` prints a view and `page` makes HTML of it.

Legend: T tokens.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IGNORED, IMAGE_MARK, LITERAL_MARK, BadSample, Encoded, Sample, clean
from cli_ray.data.show.pictures import Picture, pictures_of

MAX_PIECES = 60
"""Of a conversation that are shown, from its beginning."""
MAX_TEXT = 2000
"""Characters of a piece that are shown, two thirds of them from its beginning."""

Kind = Literal["context", "supervised", "image", "message"]
Unit = Literal["tokens", "characters"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the rendered chat."""

    kind: Kind
    """`message` stands for a whole one as it was read, of a sample that cannot be encoded."""
    head: str
    tokens: int
    left_out: int = 0
    """Characters between `head` and `tail`."""
    tail: str = ""

    @classmethod
    def of(cls, kind: Kind, text: str, tokens: int) -> "Piece":
        """A piece of any text, shortened and made visible."""
        left_out = len(text) - MAX_TEXT
        if left_out <= 0:
            return cls(kind, visible(text), tokens)
        end = MAX_TEXT * 2 // 3
        return cls(kind, visible(text[:end]), tokens, left_out, visible(text[end + left_out :]))


@dataclass(frozen=True, slots=True)
class View:
    """A sample, or what stands in its place."""

    id: str
    source: str
    where: str
    fault: str = ""
    """Why it would be quarantined; empty for a good one."""
    pieces: list[Piece] = field(default_factory=list)
    """The chat; of a sample that cannot be encoded its messages as they were read."""
    more_pieces: int = 0
    """Those that are not shown."""
    pictures: list[Picture] = field(default_factory=list)
    more_pictures: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)
    """Name and value: sizes, fields, remarks."""


def view(sample: Sample | BadSample, encoder: Encoder, unit: Unit) -> View:
    """What is shown of a sample.

    Args:
        sample: as it was read.
        encoder: of the run, or one of the family's template.
        unit: of the size of texts; `characters` where the encoder has no model's vocabulary.
    """
    source, fields = clean(sample.source, 1000), _fields(sample)
    row = encoder(sample)
    pictures = pictures_of(sample, row, encoder) if isinstance(sample, Sample) else []
    more_pictures = len(sample.images) - len(pictures) if isinstance(sample, Sample) else 0
    if isinstance(row, Encoded):
        fault, fields = "", [("size", _size(row, encoder, unit)), *fields]
        pieces = pieces_of(row, encoder)
    else:
        messages = sample.messages if isinstance(sample, Sample) else []
        fault = _fault(row)
        texts = [f"{message.role}: {message.content.replace(LITERAL_MARK, IMAGE_MARK)}" for message in messages]
        pieces = [Piece.of("message", text, 0) for text in texts]
    more = max(0, len(pieces) - MAX_PIECES)
    return View(sample.id, source, sample.where, fault, pieces[:MAX_PIECES], more, pictures, more_pictures, fields)


def pieces_of(row: Encoded, encoder: Encoder) -> list[Piece]:
    """The chat as the tokens of an encoded sample say it, in stretches of one kind; the tokens of an image are one.

    A sample with several images has the same number of tokens for each.
    """
    image_T = row.input_ids == encoder.image_token_id
    kind_T = np.where(image_T, 2, row.labels != IGNORED)
    per_image = int(image_T.sum()) // max(1, len(row.images))
    starts = [0, *(np.flatnonzero(np.diff(kind_T)) + 1).tolist()]
    pieces: list[Piece] = []
    for start, end in zip(starts, [*starts[1:], len(kind_T)], strict=True):
        if image_T[start]:
            pieces += [Piece("image", IMAGE_MARK, per_image)] * ((end - start) // per_image)
            continue
        # Some tokenizers drop a space at the beginning of what they decode, so the token before comes along.
        before = _text(row.input_ids[max(0, start - 1) : start], encoder)
        text = _text(row.input_ids[max(0, start - 1) : end], encoder)[len(before) :]
        pieces.append(Piece.of("supervised" if kind_T[start] else "context", text, end - start))
    return pieces


def _text(ids_T: NDArray[np.int32], encoder: Encoder) -> str:
    return str(encoder.tokenizer.decode(ids_T.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def visible(text: str) -> str:
    """Text with all that cannot be seen written out, such as terminal codes and marks that turn its direction; lines
    stay."""
    return "\n".join(clean(line, len(line)) for line in text.split("\n"))


def _fault(bad: BadSample) -> str:
    lost = f"; about {bad.samples:,} samples are lost with it" if bad.samples > 1 else ""
    return f"{bad.reason}: {bad.detail}{lost}"


def _size(row: Encoded, encoder: Encoder, unit: str) -> str:
    """Of its text and images."""
    image_T = row.input_ids == encoder.image_token_id
    if unit == "tokens":
        return (
            f"{len(row.input_ids):,} tokens of at most {encoder.max_length:,}: {image_T.sum():,} of images, "
            f"{row.num_supervised:,} supervised"
        )
    lengths = [len(_text(row.input_ids[mask_T], encoder)) for mask_T in (~image_T, row.labels != IGNORED)]
    return f"{lengths[0]:,} characters, {lengths[1]:,} of them supervised; {image_T.sum():,} image tokens"


def _fields(sample: Sample | BadSample) -> list[tuple[str, str]]:
    """What of the record was read and what was not."""
    unread = dict.fromkeys(f"{part.kind} {part.name}" for part in sample.unread)
    remarks = sample.remarks if isinstance(sample, Sample) else ()
    return [
        ("read", ", ".join(sample.read) or "nothing"),
        *([("not read", clean(", ".join(unread), 1000))] if unread else []),
        *(("remark", clean(remark, 500)) for remark in remarks),
    ]
