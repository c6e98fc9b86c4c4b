"""What cannot be read of the shards of a source: how many samples it held, and what stands there instead of a shard.

The index asks once, when it is made, so that a lost shard counts for more than one bad sample.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median_high

from cli_ray.data.readers import Span
from cli_ray.data.sample import clean
from cli_ray.storage.files import Shard, open_file

_HEAD = 512
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@dataclass(frozen=True, slots=True)
class Damage:
    """A unit that cannot be read and stands for more than the one sample that it counts as in the order."""

    samples: int
    """Samples that it held, by what is sound of its source."""
    is_known: bool
    """Whether anything tells how many these were at most."""
    reason: str
    """Why it cannot be read; empty where its reader says so of the sample."""


def weigh(shards: Sequence[Shard], spans: Sequence[Sequence[Span]]) -> tuple[list[list[Span]], bool]:
    """Says of each damaged span of a source how many samples are lost with it.

    A damaged stretch held as many as so many bytes hold elsewhere in the source. A shard that was cut, or of which
    nothing can be read, held at least as many as the middle one (median) of the source's whole shards.

    Args:
        shards: of the source.
        spans: of each shard; of those that are damaged, `damage` or `broken` says so.

    Returns:
        The spans with their `lost`, and whether there is a whole shard to compare with.
    """
    good = [sum(span.count for span in of_shard if not _is_damaged(span)) for of_shard in spans]
    whole = [
        count for count, of_shard in zip(good, spans, strict=True) if count and not any(map(_is_damaged, of_shard))
    ]
    sizes = [shard.size - _lost_bytes(of_shard) for shard, of_shard in zip(shards, spans, strict=True)]
    density = sum(good) / max(1, sum(size for size, count in zip(sizes, good, strict=True) if count))
    usual = median_high(whole) if whole else 0

    def weighed(shard: Shard, count: int, span: Span) -> Span:
        if not _is_damaged(span):
            return span
        held = max(1, math.ceil(density * (span.end - span.start if count else shard.size)))
        if span.damage == "stretch" and count:
            return replace(span, lost=held)
        return replace(span, damage="cut", lost=max(held, usual - count))

    pairs = zip(shards, good, spans, strict=True)
    return [[weighed(shard, count, span) for span in of_shard] for shard, count, of_shard in pairs], bool(whole)


def _is_damaged(span: Span) -> bool:
    return bool(span.broken) or span.damage != "none"


def _lost_bytes(spans: Sequence[Span]) -> int:
    return sum(span.end - span.start for span in spans if _is_damaged(span))


def impostor(path: str, size: int) -> str:
    """What a file that cannot be read is instead of a shard, for people; empty when its first bytes do not tell."""
    with open_file(path) as file:
        head, tail = bytes(file.read_at(_HEAD, 0)), bytes(file.read_at(4, max(0, size - 4)))
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        size_line = re.search(rb"^size ([0-9]{1,18})$", text, re.MULTILINE)
        length = f" of {int(size_line[1]):,} bytes" if size_line else ""
        return f"a git-lfs pointer and not the file{length}; fetch it (git lfs pull)"
    if re.match(rb"<(!doctype\s+html|html|head|\?xml|error)", text, re.IGNORECASE):
        kind = "XML" if text[:2] == b"<?" or text[:6].lower() == b"<error" else "HTML"
        words = re.sub(rb"<[^>]*>?", b" ", text).decode("utf-8", "replace").split()
        return f"an {kind} page and not the file ({clean(' '.join(words), 80)}); download it again"
    if text.startswith(b"PAR1") and tail != b"PAR1":
        return "no Parquet file that can be read: it was cut, its end is missing; download it again"
    packed = next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")
    return f"a file packed by {packed}; unpack it" if packed else ""
