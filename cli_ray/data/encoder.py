"""From a sample to the numbers a model is trained on: tokens, labels, and resized images as uint8.

Ray tasks of the stream call it, `cli-ray data check` and `cli-ray data show`. Text goes through the processor's own
chat template and tokenizer, images through its own resizing and tiling, up to but without rescaling and normalising,
which `collate` leaves to the device.

Legend: T tokens.
"""

import re
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_backends import PilBackend

from cli_ray.config import DataConfig
from cli_ray.data.chat_template import ChatTemplate
from cli_ray.data.images import Limits, decode_all
from cli_ray.data.pixels import PixelMaker
from cli_ray.data.sample import IGNORED, IMAGE_MARK, LITERAL_MARK, BadDataError, BadSample, Encoded, Row, Sample
from cli_ray.errors import UserError
from cli_ray.tiles import UNLIMITED

MAX_MESSAGES = 512
"""Of a conversation. Each turn of the assistant renders all those before it, so that time grows with the square:
about a second for so many."""


class Encoder:
    """Decodes, resizes and tokenises samples with a processor's own parts.

    `input_ids` equal those of the processor called with the same text and images. Only the turns of the
    assistant are supervised, each with the token that ends it, unless their message is not.

    Args:
        processor: of the model; the budget that it may hold gives way to that of `data`.
        data: the section of a run.

    Raises:
        UserError: at construction, when the processor cannot be used for that, or cannot keep the image budget.
    """

    def __init__(self, processor: ProcessorMixin, data: DataConfig) -> None:
        tokenizer = processor.tokenizer
        if not tokenizer.is_fast:
            raise UserError("the tokenizer has no offsets; save a fast one (tokenizer.json)")
        self.limits = Limits.of(data)
        self.pad_token_id: int = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        processor = copy(processor)
        processor.limit_images(data)
        self.max_length: int = data.max_length or processor.usual_length
        """Tokens of a sample at most."""
        self._shrinks = data.shrinks
        self._shrinker = processor.shrinker
        processor = processor.plain()
        self.tokenizer = tokenizer
        self.image_token_id: int = processor.image_token_id
        self._template = ChatTemplate(processor)
        self._pixels = PixelMaker(processor, self._shrinker)
        self._image_token: str = processor.image_token
        self._any_mark = re.compile(f"{re.escape(self._image_token)}|{LITERAL_MARK}")
        self._literal_ids = _literal_ids(tokenizer)
        self._longest_token = max(map(len, tokenizer.get_vocab()))
        self.needs_torch = _needs_torch(processor)
        """Whether a process that unpacks it must find torch."""

    @property
    def tiled(self) -> bool:
        """Whether the model takes several tiles per image."""
        return self._pixels.tiled

    def canvas(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Height and width of all tiles of an image together, pixels; None where the model takes no tiles.

        Args:
            size: of `Encoded.sizes`.
        """
        return None if self._shrinker is None else self._shrinker.tiles.lay(size, UNLIMITED).canvas

    def largest_image(self, beside: Encoded) -> tuple[int, int] | None:
        """Height and width of the image of most tiles that has room beside the text of an encoded sample; None where
        all images are of one size."""
        text = int((beside.input_ids != self.image_token_id).sum())
        return None if self._shrinker is None else self._shrinker.largest(self.max_length - text)

    def __call__(self, sample: Sample | BadSample) -> Row:
        """The encoded sample, or why it cannot be used."""
        if isinstance(sample, BadSample):
            return sample
        try:
            return self._encode(sample)
        except BadDataError as error:
            return BadSample(sample.id, sample.source, sample.where, error.reason, error.detail)
        except Exception as error:
            error.add_note(f"while encoding sample {sample.id} of source {sample.source}: {sample.where}")
            raise

    def _encode(self, sample: Sample) -> Encoded:
        self._check_text(sample)
        rendered = self._template.render(sample.messages)
        is_learnt = [message.supervised for message in sample.messages if message.role == "assistant"]
        ids, labels, turns = self._tokenize(rendered.text, rendered.spans, is_learnt)
        room = self.max_length - int((ids != self.image_token_id).sum()) if self._shrinks else None
        pixels = self._pixels(decode_all(sample.images, self.limits), room)
        input_ids = self._expand(ids, ids, pixels.num_tokens)
        if len(input_ids) > self.max_length:
            raise BadDataError(
                "too long",
                f"{len(input_ids)} tokens ({sum(pixels.num_tokens)} of images), data.max_length = {self.max_length}",
            )
        if not (labels[1:] != IGNORED).any():
            raise BadDataError("nothing supervised", "no token of the assistant is left to learn")
        labels, turns = (self._expand(ids, values, pixels.num_tokens) for values in (labels, turns))
        return Encoded(sample.id, sample.source, input_ids, labels, pixels.images, pixels.sizes, turns, pixels.shrunk)

    def _check_text(self, sample: Sample) -> None:
        """Refuses what cannot fit before time is spent on it: each token has so many characters, each turn a token."""
        characters, messages = sum(len(message.content) for message in sample.messages), len(sample.messages)
        if messages > MAX_MESSAGES:
            raise BadDataError("too long", f"{messages:,} messages, a conversation may have {MAX_MESSAGES:,}")
        if characters > self.max_length * self._longest_token or messages > self.max_length:
            size = f"{characters:,} characters in {messages:,} messages"
            raise BadDataError("too long", f"{size}, data.max_length = {self.max_length}")

    def _tokenize(
        self, text: str, spans: Sequence[tuple[int, int]], learnt: Sequence[bool]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Ids, labels and turns, [T] each, before image tokens are expanded.

        A token is of a reply when it overlaps its span. Some tokenizers give the spaces in front of a word,
        or a token of spaces, no width; such a token belongs where it ends. A mark that is text is tokenised as
        the image token, which no tokenizer joins with what is beside it, and its characters are put there afterwards.

        Args:
            text: of the conversation.
            spans: characters of the replies.
            learnt: whether each is supervised.
        """
        marks = [mark == LITERAL_MARK for mark in self._any_mark.findall(text)]
        spans = [(self._moved(text, start), self._moved(text, end)) for start, end in spans]
        text = text.replace(LITERAL_MARK, self._image_token)
        bos = self.tokenizer.bos_token
        add_special = not (bos and text.startswith(bos))  # as apply_chat_template of transformers does
        encoded = self.tokenizer(text, add_special_tokens=add_special, return_offsets_mapping=True)
        ids = np.array(encoded["input_ids"], np.int32)
        starts, ends = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2).T
        starts = np.where(starts == ends, starts - 1, starts)
        supervised, turns = np.zeros(len(ids), bool), np.zeros(len(ids), np.int32)
        for (start, end), is_learnt in zip(spans, learnt, strict=True):
            reply = (starts < end) & (ends > start)
            supervised |= reply & is_learnt
            turns += reply.cumsum() > 0
        is_mark = ids == self.image_token_id
        if is_mark.sum() != len(marks):
            raise BadDataError("image marks", f"{is_mark.sum()} image tokens for {len(marks)} marks in the text")
        literal = np.zeros(len(ids), bool)
        literal[is_mark] = marks
        supervised &= literal | ~is_mark
        repeats = np.where(literal, len(self._literal_ids), 1)
        ids, supervised, turns = (np.repeat(values, repeats) for values in (ids, supervised, turns))
        ids[np.repeat(literal, repeats)] = np.tile(self._literal_ids, literal.sum())
        return ids, np.where(supervised, ids, IGNORED).astype(np.int32), turns

    def _moved(self, text: str, place: int) -> int:
        """A place in a text once each `LITERAL_MARK` is as long as the image token."""
        return place + text.count(LITERAL_MARK, 0, place) * (len(self._image_token) - len(LITERAL_MARK))

    def _expand(self, ids: NDArray[np.int32], values: NDArray[np.int32], num_tokens: list[int]) -> NDArray[np.int32]:
        """Repeats the value at each image token as often as its image has tokens.

        Raises:
            BadDataError: there are not as many image tokens as images.
        """
        images = ids == self.image_token_id
        if images.sum() != len(num_tokens):
            raise BadDataError("image marks", f"{images.sum()} image tokens in the text for {len(num_tokens)} images")
        repeats = np.ones(len(ids), np.int64)
        repeats[images] = num_tokens
        return np.repeat(values, repeats)


def _needs_torch(processor: ProcessorMixin) -> bool:
    """Not where Pillow resizes and all classes are those of transformers, which has these parts without torch too."""
    parts = (processor, processor.tokenizer, processor.image_processor)
    are_stock = all(type(part).__module__.startswith("transformers.") for part in parts)
    return not (are_stock and isinstance(processor.image_processor, PilBackend))


def _literal_ids(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int32]:
    """The characters `<image>` as a tokenizer writes them within a text, not as its token of that name."""
    before, text = (
        tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for text in ("\n", f"\n{IMAGE_MARK}")  # some tokenizers put a space at the beginning
    )
    return np.array(text[len(before) :], np.int32)
