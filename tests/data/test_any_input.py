"""Whatever a record or the bytes of an image are: something right comes out of them, or BadDataError."""

import io
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cli_ray.data.conversation import Conversation, read_conversation
from cli_ray.data.fields import parse_json
from cli_ray.data.images import Limits, decode
from cli_ray.data.sample import IMAGE_MARK, BadDataError, Reason
from tests.data.shards import turns

quick = settings(derandomize=True, database=None, max_examples=150, deadline=None)
LIMITS = Limits(100_000, 1 << 16)

NAMES = st.sampled_from(
    ["id", "images", "image", "messages", "conversations", "caption", "bytes", "path", "system", "tools", "videos"]
)
TEXTS = st.text(max_size=9) | st.sampled_from(
    ["user", "assistant", "human", "gpt", "system", "image", "text", IMAGE_MARK, "\ud800", "[]"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=9)
KEYS = NAMES | st.sampled_from(
    ["role", "content", "from", "value", "type", "text", "weight", "train", "index", "url", "image_url", "base64"]
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
PARTS = st.lists(st.dictionaries(KEYS, LEAVES, max_size=3) | st.fixed_dictionaries({"type": TEXTS, "text": TEXTS}))
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": TEXTS | LEAVES, "content": TEXTS | VALUES | PARTS}, optional={"weight": LEAVES})
    | st.sampled_from(turns()),
    max_size=4,
)


def check_refusal(error: BadDataError, *reasons: str) -> None:
    """It can be printed, and has one of the reasons."""
    assert error.detail.isprintable()
    assert error.reason in (reasons or get_args(Reason))


def check_conversation(record: dict[str, Any], llava: bool) -> None:
    """What comes out alternates, has text, and as many marks as there are images."""
    found = Conversation()
    try:
        read_conversation(record, "Describe.", llava, found)
    except BadDataError as error:
        check_refusal(error)
        return
    roles = [message.role for message in found.messages if message.role != "system"]
    assert roles == ["user", "assistant"] * (len(roles) // 2) != []
    assert sum(message.content.count(IMAGE_MARK) for message in found.messages) == len(found.images)
    assert all(message.content.encode().strip() for message in found.messages)
    assert all(isinstance(image, bytes | str) for image in found.images)
    assert any(message.supervised for message in found.messages if message.role == "assistant")


@quick
@given(record=st.dictionaries(NAMES, VALUES | MESSAGES, max_size=4), llava=st.booleans())
def test_records_of_any_values(record: dict[str, Any], llava: bool) -> None:
    check_conversation(record, llava)


@quick
@given(messages=MESSAGES, images=st.lists(st.just(b"x"), max_size=2), llava=st.booleans())
def test_conversations_of_any_turns(messages: list[Any], images: list[bytes], llava: bool) -> None:
    check_conversation({"messages": messages, "images": images}, llava)


@quick
@given(text=st.binary(max_size=40) | st.text(st.sampled_from('{}[]",:0eN\\u\ud800 '), max_size=40))
def test_any_text_as_json(text: bytes | str) -> None:
    try:
        parse_json(text, "the record")
    except BadDataError as error:
        check_refusal(error, "broken record")


def encoded(kind: str) -> bytes:
    """A small image."""
    file = io.BytesIO()
    Image.effect_noise((24, 17), 60).convert("RGB").save(file, kind)
    return file.getvalue()


GOOD = {kind: encoded(kind) for kind in ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")}


@pytest.mark.parametrize("kind", GOOD)
@settings(derandomize=True, database=None, max_examples=40, deadline=None)
@given(data=st.data())
def test_images_with_changed_bytes(kind: str, data: st.DataObject) -> None:
    changed = bytearray(GOOD[kind])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255)), max_size=6)
    ):
        changed[place] = value
    check_image(bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))]))


@quick
@given(start=st.sampled_from([content[:12] for content in GOOD.values()]) | st.just(b""), rest=st.binary(max_size=200))
def test_images_of_any_bytes(start: bytes, rest: bytes) -> None:
    check_image(start + rest)


def check_image(content: bytes) -> None:
    """What comes out is an RGB image within the limits."""
    try:
        image = decode(content, LIMITS)
    except BadDataError as error:
        check_refusal(error, "broken image", "image too large")
    else:
        assert image.mode == "RGB"
        assert 0 < image.width * image.height <= LIMITS.max_pixels
        assert len(image.tobytes()) == 3 * image.width * image.height
