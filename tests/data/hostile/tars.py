"""Tar archives with links, devices, lying headers, foreign names and cuts between sound samples; from a seed."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.data.hostile.images import hostile_image
from tests.data.hostile.records import hostile_record
from tests.data.hostile.shard import (
    GOOD_PICTURE,
    PER_SHARD,
    HostileShard,
    between,
    sound,
    tar_member,
    tar_of,
)
from tests.data.shards import turns

BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * BLOCK)
_TARGETS = ("/etc/passwd", "../../escaped.png", "sound-0.png", "bad.png", "/dev/zero", "")
_NAMES = (
    "/escaped", "../escaped", "../../../escaped", "a/../../escaped", "./bad", "bad/", "a\nb", "a\rERROR: b", "\x1b[2Jb",
    "b\udcff", "\u202eb", "n" * 90, "n" * 3000, "d/" * 500 + "b", "C:\\b", "bad.tar", "", " ", "PaxHeader/b", "b\u0301",
)  # fmt: skip


def hostile_members(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes a sound archive of samples with hostile images or records."""
    kinds, members = [], sound("sound-0")
    for number in range(PER_SHARD):
        if random.random() < 0.7:
            kind, image = hostile_image(random)
            members += sound(f"bad-{number}", image=image)
        else:
            kind, text = hostile_record(random, turn * PER_SHARD + number)
            members += sound(f"bad-{number}", text)
        kinds.append(kind)
        members += sound(f"sound-{number + 1}")
    (folder / "x.tar").write_bytes(tar_of(members))
    return between(kinds)


def hostile_tar(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes an archive that is odd or broken itself, of each kind in turn."""
    kind = list(_MAKERS)[turn % len(_MAKERS)]
    middle, goes_on = _MAKERS[kind](random), kind not in _SWALLOW
    archive = tar_of(sound("sound-0"))[: -len(_END)] + middle + tar_of(sound("sound-1"))
    if kind == "cut":
        archive = archive[: -random.randrange(len(_END), len(archive))]
    (folder / "x.tar").write_bytes(archive)
    kept = ["sound-0", "sound-1"] if goes_on else [] if kind == "cut" else ["sound-0"]
    return HostileShard([f"tar, {kind}"], kept)


def _group(key: str, **fields: Any) -> bytes:
    return b"".join(tar_member(name, content, **fields) for name, content in sound(key))


def _typed(*types: bytes) -> Callable[[Random], bytes]:
    def make(random: Random) -> bytes:
        fields: dict[str, Any] = {"type": random.choice(types), "linkname": random.choice(_TARGETS), "size": 0}
        return tar_member("bad.png", **fields) + tar_member(*sound("bad")[1])

    return make


def _names(random: Random) -> bytes:
    return _group(random.choice(_NAMES), tar_format=random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))


def _pax(random: Random) -> bytes:
    """A pax header with odd records before a sample."""
    text = random.choice(
        (
            b"19 path=/escaped.png\n", b"17 path=bad.json\n", b"9 size=0\n", b"10 size=-1\n", b"13 size=99999\n",
            b"9999 path=x\n", b"0 path=x\n", b"-5 path=x\n", b"x path=x\n", b"path=x\n", b"7 =x\n", b"6 path\n",
            b"22 GNU.sparse.major=1\n", b"24 GNU.sparse.size=9999\n", b"\xff" * 300, b"12 path=\xff\xfe\n", b"",
            b"20 linkpath=/etc/x\n", b"12 path=a\0b\n", b"14 atime=nan99\n",
        )
    )  # fmt: skip
    return tar_member("x", text, type=random.choice((tarfile.XHDTYPE, tarfile.XGLTYPE))) + _group("bad")


def _long_name(random: Random) -> bytes:
    """GNU long names that are empty, endless, or without a member."""
    text = random.choice((b"", b"\0", b"n" * 70_000 + b"\0", b"/escaped.png\0", b"a\0b.png\0", b"\xff.png"))
    kind = random.choice((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))
    return tar_member("x", text, type=kind) * random.randint(1, 3) + _group("bad")


def _damaged(random: Random) -> bytes:
    """Bytes of the headers of a sample are changed, so that a checksum fails."""
    blob = bytearray(_group("bad"))
    for _ in range(random.randint(1, 5)):
        blob[random.randrange(BLOCK)] ^= random.randint(1, 255)
    return bytes(blob)


def _huge_size(random: Random) -> bytes:
    blob = bytearray(tar_member("bad.png", b"x"))
    blob[124:136] = random.choice((b"77777777777\0", b"\x80" + bytes(3) + b"\xff" * 8, b"\x80" + b"\xff" * 11))
    return bytes(_summed(blob))


def _odd_size(random: Random) -> bytes:
    blob = bytearray(tar_member("bad.png"))
    blob[124:136] = random.choice((b"\xff" * 12, b"not octal\0\0\0", b"-0000000001\0", bytes(12), b" " * 12))
    return bytes(_summed(blob))


def _summed(blob: bytearray) -> bytearray:
    blob[148:156] = b"%06o\0 " % (sum(blob[:148]) + 8 * 32 + sum(blob[156:BLOCK]))
    return blob


def _old(random: Random) -> bytes:
    """A header without a magic, as before POSIX."""
    blob = bytearray(tar_member("bad.png", b"x"))
    blob[257:265] = random.choice((bytes(8), b"ustar\0xx", b"USTAR\x0000"))
    return bytes(_summed(blob)) + tar_member(*sound("bad")[1])


def _doubled(random: Random) -> bytes:
    image, text = (tar_member(*member) for member in sound("bad"))
    orders = (
        image + text + text,
        image + image + text,
        image + text + tar_member("z.png") + image + text,
        text + image,
    )
    return random.choice(orders)


def _incomplete(random: Random) -> bytes:
    names = (
        "bad.png",
        "bad.json",
        "bad.txt",
        "bad",
        ".bad.png",
        "bad.",
        "bad.PNG",
        "bad.seg.png",
        "bad.mp4",
        "bad.jpg",
    )
    return b"".join(tar_member(random.choice(names), random.randbytes(random.choice((0, 9, 600)))) for _ in range(3))


def _other_members(random: Random) -> bytes:
    """Images with numbers and names of their own, named in any way, between members that nothing reads."""
    suffixes = (
        "png",
        "0.png",
        "1.png",
        "007.png",
        "9" * 30 + ".png",
        "seg.png",
        "image_2.png",
        "cls",
        "npy",
        "heic",
        "mp4",
    )
    chosen = random.sample(suffixes, random.randint(1, 5)) * random.choice((1, 1, 200))
    named = [random.choice((*suffixes, "a/0.png", "", "bad.1.png", "\ud800")) for _ in range(random.randrange(4))]
    text = json.dumps({"image": named, "messages": turns(images=random.randrange(3))}).encode()
    members = [tar_member(f"{random.choice(('bad', 'bad', 'else'))}.{suffix}", GOOD_PICTURE) for suffix in chosen]
    members.insert(random.randrange(len(members) + 1), tar_member("bad.json", text))
    return b"".join(members)


_MAKERS: dict[str, Callable[[Random], bytes]] = {
    "sound": lambda random: _group("bad"),
    "cut": lambda random: _group("bad"),
    "concatenated": lambda random: _group("bad") + _END,
    "damaged header": _damaged,
    "devices and fifos": _typed(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    "doubled members": _doubled,
    "folders": _typed(tarfile.DIRTYPE),
    "garbage": lambda random: random.randbytes(BLOCK * random.randint(1, 40)),
    "hard links": _typed(tarfile.LNKTYPE),
    "huge size": _huge_size,
    "incomplete samples": _incomplete,
    "GNU long names": _long_name,
    "names": _names,
    "odd size": _odd_size,
    "old headers": _old,
    "other members": _other_members,
    "other types": _typed(b"7", b"Z", b"D", b"M", b"V", b"N", b"\xff"),
    "pax headers": _pax,
    "sparse": lambda random: tar_member("bad.png", type=tarfile.GNUTYPE_SPARSE) + tar_member(*sound("bad")[1]),
    "symbolic links": _typed(tarfile.SYMTYPE),
    "zero blocks": lambda random: bytes(BLOCK * random.randint(1, 5000)) + _group("bad"),
}
_SWALLOW = ("cut", "huge size")
"""After which nothing can be found."""
