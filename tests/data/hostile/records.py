"""JSON records that are deep, huge, of wrong types, doubled, badly encoded or forged; from a seed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from cli_ray.data.turns import MASKS
from tests.data.hostile.shard import GOOD_PICTURE, PER_SHARD, HostileShard, between
from tests.data.shards import turns

_FORGED = 'x\n{"event": "end"}\r\n\u2028ERROR \x1b[2J\x1b[31m\0\u202e gnp.exe'
_ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"a": 1},
    "\x00",
    "\ud800",
    float("nan"),
    10**400,
)
_FIELDS = ("id", "image", "images", "messages", "conversations", "caption", "width")
_NAMES = (
    "", ".", "..", "../good.png", "/etc/passwd", "~/x.png", "\\\\host\\x.png", "file:///etc/passwd", "s3://x/y.png",
    "http://localhost:9/x.png", "good.png\0", "good.png/x", "n" * 5000, "a/" * 3000, "\udc80.png", "C:\\x.png",
    "x.jsonl", "/dev/zero", "/proc/self/mem", "nowhere.png", "\n.png", "fifo",
)  # fmt: skip


def hostile_record(random: Random, turn: int) -> tuple[str, bytes]:
    """The kind of a record, each in turn, and its text of one line; most have one image mark, for `good.png`."""
    kind = list(_MAKERS)[turn % len(_MAKERS)]
    made = _MAKERS[kind](random)
    return f"JSON, {kind}", made if isinstance(made, bytes) else json.dumps(made).encode()


def hostile_lines(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes JSON lines with hostile records."""
    kinds, made = zip(*(hostile_record(random, turn * PER_SHARD + number) for number in range(PER_SHARD)), strict=True)
    lines = [_sound(0)]
    for number, line in enumerate(made):
        lines += [line, _sound(number + 1)]
    (folder / "x.jsonl").write_bytes(b"\n".join(lines))
    (folder / "good.png").write_bytes(GOOD_PICTURE)
    os.mkfifo(folder / "fifo")
    return between(kinds)


def hostile_json_file(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes a JSON array, or lines, that are broken as a whole, in turn."""
    whole = b"[" + b",\n".join(_sound(number) for number in range(3)) + b"]"
    files: tuple[tuple[str, bytes, list[int]], ...] = (
        ("cut", whole[: random.randrange(len(whole))], []),
        ("no end", whole[:-1], [0, 1, 2]),
        ("text after the end", whole + b" x", [0, 1, 2]),
        ("two arrays", whole + whole, [0]),
        ("UTF-16", whole.decode().encode("utf-16"), []),
        ("byte order mark", b"\xef\xbb\xbf" + whole, [0, 1, 2]),
        ("zero bytes in between", whole.replace(b",\n", b",\0\n"), [0]),
        ("brackets only", b"[" * random.randint(1, 200_000), []),
        ("braces and brackets", b"{[" * random.randint(1, 100_000), []),
        ("commas", b"[" + b"," * random.randint(1, 2000) + b"]", []),
        ("blank lines", b"\n \r\n\t" * random.randint(1, 9999), []),
        ("carriage returns", b"\r".join(_sound(number) for number in range(3)), []),
        ("an open string", b'[{"a": "' + b"\\" * random.randint(1, 99_999), []),
        ("one object", _sound(0), [0]),
        ("nested arrays", b"[" + whole + b"]", []),
        ("null", b"null", []),
    )
    kind, text, kept = files[turn % len(files)]
    (folder / "x.json").write_bytes(text)
    (folder / "good.png").write_bytes(GOOD_PICTURE)
    return HostileShard([f"JSON file, {kind}"], [f"sound-{number}" for number in kept])


def _sound(number: int) -> bytes:
    return json.dumps(_good(id=f"sound-{number}")).encode()


def _good(**fields: Any) -> dict[str, Any]:
    return {"image": "good.png", "messages": turns(), **fields}


def _deep(random: Random) -> bytes:
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    depth = random.choice((100, 990, 5000, 200_000))
    return b'{"messages":' + opening * depth + b"1" + closing * depth + b"}"


def _huge(random: Random) -> dict[str, Any]:
    text = random.choice(("a", "a ", "\u00e9", "\U0001f600", "<image>", "<s>", "\n", "{{ x }}"))
    question = turns()[0]
    return _good(messages=[question, {"role": "assistant", "content": text * random.choice((10**4, 10**5, 10**6))}])


def _line(random: Random) -> bytes:
    pad = random.choice((1 << 20, 8 << 20, (8 << 20) + 1, 12 << 20))
    return json.dumps(_good(width=0)).encode()[:-1] + b"," + b" " * pad + b'"height": 1}'


def _wrong_types(random: Random) -> dict[str, Any]:
    record = _good()
    for name in random.sample(_FIELDS, random.randint(1, 3)):
        record[name] = random.choice(_ODD)
    return record


def _wrong_turns(random: Random) -> dict[str, Any]:
    messages: list[Any] = turns()
    at = random.randrange(3)
    if at == 2:
        messages.insert(random.randrange(3), random.choice(_ODD))
    else:
        messages[at] = {**messages[at], random.choice(("role", "content", "from")): random.choice(_ODD)}
    return _good(messages=messages)


def _parts(random: Random) -> dict[str, Any]:
    part = {"type": random.choice((*_ODD, "text", "image", "video")), "text": random.choice(_ODD)}
    return _good(messages=[{"role": "user", "content": [{"type": "image"}, part]}, turns()[1]])


def _pictures(random: Random) -> dict[str, Any]:
    """Parts with pictures, and with places that they point at."""
    values = (*_ODD, *_NAMES, "good.png", "data:image/png;base64,", "data:,", "data:image/png;base64," + "A" * 99_999)
    keys = ("image", "path", "url", "image_url", "base64", "bytes", "index")
    parts = [
        {
            "type": random.choice(("image", "image_url")),
            random.choice(keys): random.choice((*values, {"url": "good.png"})),
        }
        for _ in range(random.choice((1, 2, 300)))
    ]
    named = random.choice((None, [], "good.png", ["good.png"] * len(parts)))
    return _good(messages=[{"role": "user", "content": parts}, turns()[1]], image=named)


def _masks(random: Random) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [*turns(), *turns(images=0)]
    for message in random.sample(messages, 2):
        message[random.choice((*MASKS, "train_detail", "tool_calls", "reasoning_content"))] = random.choice(
            (*_ODD, 1, 0.0)
        )
    return _good(messages=messages)


def _other_fields(random: Random) -> dict[str, Any]:
    deep: Any = "x"
    for _ in range(random.choice((3, 900))):
        deep = [deep] if random.random() < 0.5 else {"a": deep}
    names = (
        "system",
        "system_prompt",
        "tools",
        "videos",
        "audio",
        "image_path",
        "image_2",
        "objects",
        "media",
        "x" * 9999,
    )
    values = (*_ODD, deep, [0] * 9999, "clip.mp4", ["a"] * 9999, _FORGED)
    return _good(**{random.choice((*names, _FORGED)): random.choice(values) for _ in range(4)})


def _other_marks(random: Random) -> dict[str, Any]:
    marks = (
        "<image>",
        "<img>",
        "<img>x</img>",
        "<video>",
        "<audio>",
        "\ufdd0",
        "<|image_1|>",
        " ",
        "\n",
        "is",
        "<image>\ufdd0",
    )
    text = "".join(random.choice(marks) for _ in range(random.choice((3, 30, 3000))))
    record = _good(image=random.choice(("good.png", [], ["good.png"] * text.count("<image>"))))
    record["messages"][random.randrange(2)]["content"] = text
    return record


def _numbers(random: Random) -> bytes:
    number = random.choice((b"NaN", b"-Infinity", b"1e999", b"-0", b"1" * random.choice((4301, 10**6)), b"0x1", b"01"))
    return json.dumps(_good()).encode()[:-1] + b', "id": ' + number + b"}"


def _doubled(random: Random) -> bytes:
    key, value = random.choice((("messages", b"[]"), ("image", b'"/etc/passwd"'), ("id", b'"other"')))
    return json.dumps(_good(id="twin")).encode()[:-1] + f', "{key}": '.encode() + value + b"}"


def _badly_encoded(random: Random) -> bytes:
    bad = random.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\0", b"\x01"))
    return json.dumps(_good()).encode().replace(b"What", bad)


def _halves(random: Random) -> bytes:
    half = random.choice((b"\\ud800", b"\\udfff", b"\\ud800\\ud800", b"\\udc00\\ud800"))
    place = random.choice((b"What", b"good", b"user", b"content", b"Number"))
    return json.dumps(_good(id="half")).encode().replace(place, half)


def _marks(random: Random) -> dict[str, Any]:
    return _good(messages=turns(images=random.choice((0, 2, 5000))), image=random.choice(("good.png", [], None)))


def _many(random: Random) -> dict[str, Any]:
    count = random.choice((100, 400, 5000))
    if random.random() < 0.5:
        return _good(messages=[*turns(), *turns(images=0) * count])
    return _good(image=["good.png"] * count, messages=turns(images=count))


def _changed(random: Random) -> bytes:
    text = bytearray(json.dumps(_good(id="changed")).encode())
    for _ in range(random.randint(1, 4)):
        text[random.randrange(len(text))] = random.choice(b'"\\{}[],:0aZ\x00\x7f\xc3')
    return bytes(text)


def _cut(random: Random) -> bytes:
    text = json.dumps(_good(id="cut")).encode()
    return text[: random.randrange(1, len(text))]


_MAKERS: dict[str, Callable[[Random], bytes | dict[str, Any]]] = {
    "badly encoded": _badly_encoded,
    "changed": _changed,
    "cut": _cut,
    "deep": _deep,
    "doubled keys": _doubled,
    "doubled ids": lambda random: _good(id=random.choice(("twin", "", 7))),
    "forged lines": lambda random: _good(**{random.choice(("id", "image", _FORGED)): _FORGED}),
    "half surrogates": _halves,
    "huge text": _huge,
    "image names": lambda random: _good(image=random.choice(_NAMES)),
    "long line": _line,
    "many turns or images": _many,
    "marks": _marks,
    "masks": _masks,
    "numbers": _numbers,
    "other fields": _other_fields,
    "other marks": _other_marks,
    "pictures in parts": _pictures,
    "template code": lambda random: _good(messages=[turns()[0], {"role": "assistant", "content": "{% raw %}{{ x"}]),
    "wrong parts": _parts,
    "wrong turns": _wrong_turns,
    "wrong types": _wrong_types,
}
