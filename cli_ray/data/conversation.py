"""From a sample to the numbers a model is trained on.

Legend: T tokens.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from cli_ray.config import DataConfig
from cli_ray.data.encoded import IGNORED, Encoded, Row
from cli_ray.data.images import Limits, decode_all
from cli_ray.data.pixels import PixelMaker
from cli_ray.data.sample import IMAGE_MARK, LITERAL_MARK, BadDataError, BadSample, Sample
from cli_ray.data.template import ChatTemplate
from cli_ray.errors import UserError

MAX_MESSAGES = 512
"""Of a conversation. Each turn of the assistant renders all those before it, so that time grows with the square:
about a second for so many."""


class Encoder:
    """Decodes, resizes and tokenises samples with a processor's own parts.

    `input_ids` equal those of the processor called with the same text and images. Only the turns of the
    assistant are supervised, each with the token that ends it.

    Raises:
        UserError: at construction, when the processor cannot be used for that.
    """

    def __init__(self, processor: ProcessorMixin, data: DataConfig) -> None:
        tokenizer = processor.tokenizer
        if not tokenizer.is_fast:
            raise UserError("the tokenizer has no offsets; save a fast one (tokenizer.json)")
        self.limits = Limits.of(data)
        self.pad_token_id: int = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._max_length = data.max_length
        self._tokenizer = tokenizer
        self._image_token_id: int = processor.image_token_id
        self._template = ChatTemplate(processor)
        self._pixels = PixelMaker(processor)
        self._literal_ids = _literal_ids(tokenizer)
        self._longest_token = max(map(len, tokenizer.get_vocab()))

    @property
    def tiled(self) -> bool:
        """Whether the model takes several tiles per image."""
        return self._pixels.tiled

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
        ids, labels = self._tokenize(rendered.text, rendered.spans)
        pixels = self._pixels(decode_all(sample.images, self.limits))
        input_ids = self._expand(ids, ids, pixels.num_tokens)
        if len(input_ids) > self._max_length:
            raise BadDataError(
                "too long",
                f"{len(input_ids)} tokens ({sum(pixels.num_tokens)} of images), data.max_length = {self._max_length}",
            )
        if not (labels[1:] != IGNORED).any():
            raise BadDataError("nothing supervised", "no token of the assistant is left to learn")
        labels = self._expand(ids, labels, pixels.num_tokens)
        return Encoded(sample.id, sample.source, input_ids, labels, pixels.images, pixels.sizes)

    def _check_text(self, sample: Sample) -> None:
        """Refuses what cannot fit before time is spent on it: each token has so many characters, each turn a token."""
        characters, messages = sum(len(message.content) for message in sample.messages), len(sample.messages)
        if messages > MAX_MESSAGES:
            raise BadDataError("too long", f"{messages:,} messages, a conversation may have {MAX_MESSAGES:,}")
        if characters > self._max_length * self._longest_token or messages > self._max_length:
            found = f"{characters:,} characters in {messages:,} messages"
            raise BadDataError("too long", f"{found}, data.max_length = {self._max_length}")

    def _tokenize(self, text: str, spans: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Ids and labels, [T] each, before image tokens are expanded.

        A token is supervised when it overlaps a span. Some tokenizers give the spaces in front of a word,
        or a token of spaces, no width; such a token belongs where it ends.
        """
        bos = self._tokenizer.bos_token
        add_special = not (bos and text.startswith(bos))  # as apply_chat_template of transformers does
        encoded = self._tokenizer(text, add_special_tokens=add_special, return_offsets_mapping=True)
        ids = np.array(encoded["input_ids"], np.int32)
        starts, ends = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2).T
        if LITERAL_MARK in text:
            ids, starts, ends = self._with_literals(text, ids, starts, ends)
        starts = np.where(starts == ends, starts - 1, starts)
        supervised = np.zeros(len(ids), bool)
        for start, end in spans:
            supervised |= (starts < end) & (ends > start)
        supervised &= ids != self._image_token_id
        return ids, np.where(supervised, ids, IGNORED).astype(np.int32)

    def _with_literals(
        self, text: str, ids: NDArray[np.int32], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Ids and their places in the text, [T] each, with the characters `<image>` for each `LITERAL_MARK`."""
        places = [i for i, character in enumerate(text) if character == LITERAL_MARK]
        literal = np.isin(starts, places) & (ends > starts)
        first = literal & np.insert(~literal[:-1] | (starts[1:] != starts[:-1]), 0, True)
        repeats = np.where(first, len(self._literal_ids), np.where(literal, 0, 1))
        if first.sum() != len(places) or (ends[literal] != starts[literal] + 1).any():
            raise BadDataError(
                "image marks", f"the tokenizer joins an {IMAGE_MARK} that is text with what is beside it"
            )
        changed = np.repeat(ids, repeats)
        changed[np.repeat(first, repeats)] = np.tile(self._literal_ids, len(places))
        return changed, np.repeat(starts, repeats), np.repeat(ends, repeats)

    def _expand(self, ids: NDArray[np.int32], values: NDArray[np.int32], num_tokens: list[int]) -> NDArray[np.int32]:
        """Repeats the value at each image token as often as its image has tokens.

        Raises:
            BadDataError: there are not as many image tokens as images.
        """
        images = ids == self._image_token_id
        if images.sum() != len(num_tokens):
            raise BadDataError("image marks", f"{images.sum()} image tokens in the text for {len(num_tokens)} images")
        repeats = np.ones(len(ids), np.int64)
        repeats[images] = num_tokens
        return np.repeat(values, repeats)


def _literal_ids(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int32]:
    """The characters `<image>` as a tokenizer writes them within a text, not as its token of that name."""
    before, text = (
        tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        for text in ("\n", f"\n{IMAGE_MARK}")  # some tokenizers put a space at the beginning
    )
    return np.array(text[len(before) :], np.int32)
