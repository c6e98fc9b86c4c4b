"""Text is told as soon as it is final: whole characters, and nothing of a stop text."""

from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from cli_ray.inference.reply import Reply, Vocabulary
from cli_ray.model.tiny import tiny_tokenizer

END = 0


def falling_back() -> PreTrainedTokenizerFast:
    """A tokenizer with tokens of single bytes, as Llama's: any text by its bytes."""
    names = ["</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", " "]
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def said(
    tokenizer: PreTrainedTokenizerFast, tokens: Sequence[int], stop: Sequence[str] = ()
) -> tuple[Reply, list[str]]:
    pieces: list[str] = []
    reply = Reply(Vocabulary(tokenizer, frozenset([END])), len(tokens), stop, pieces.append, lambda: False)
    for token in tokens:
        if reply.finish is None:
            reply.take(token)
    return reply, pieces


@pytest.mark.parametrize("family", ["llava", "llava_onevision"])
def test_a_character_of_several_tokens_comes_whole(family: str) -> None:
    tokenizer = tiny_tokenizer(family)
    reply, pieces = said(tokenizer, tokenizer.encode("Ä😀 é", add_special_tokens=False))
    assert pieces == ["Ä", "😀", " é"]
    assert (reply.text, reply.finish) == ("Ä😀 é", "length")


def test_bytes_that_make_no_character_are_told_once_something_follows() -> None:
    tokenizer = tiny_tokenizer("llava")
    tokens = tokenizer.encode("é", add_special_tokens=False)[:1] + tokenizer.encode("ab", add_special_tokens=False)
    reply, pieces = said(tokenizer, tokens)
    assert pieces == ["�a", "b"]
    assert reply.text == tokenizer.decode(tokens)


def test_bytes_that_later_ones_make_invalid_are_held_back() -> None:
    """Whole runs of them are decoded together: a character of it is lost when the next one is cut."""
    tokenizer = falling_back()
    tokens = [byte + 1 for byte in "é😀".encode()][:4]
    reply, pieces = said(tokenizer, tokens)
    assert "".join(pieces) == reply.text == tokenizer.decode(tokens) == "����"
    assert said(tokenizer, [*tokens[:2], 257])[1] == ["éa"]


def test_what_may_begin_a_stop_text_waits() -> None:
    tokenizer = tiny_tokenizer("llava")

    def tokens(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    reply, pieces = said(tokenizer, tokens("a\n\nUSER: b"), ["\n\nUSER:"])
    assert (pieces, reply.text, reply.finish) == (["a"], "a", "stop")
    reply, pieces = said(tokenizer, tokens("ab abc"), ["abd", "abcd"])
    assert "".join(pieces) == reply.text == "ab abc"
    assert reply.finish == "length"
    assert pieces[0] == "ab"


def test_white_space_around_a_reply_is_not_told() -> None:
    tokenizer = tiny_tokenizer("llava")
    reply, pieces = said(tokenizer, [*tokenizer.encode(" \n a b \n", add_special_tokens=False), END, 5])
    assert pieces == ["a", " b"]
    assert (reply.text, reply.finish) == ("a b", "stop")
