"""A source of samples: which shards it has, in which format, and the samples of a span of one.

The index opens sources; `reading` and `audit` read their samples.
"""

import errno
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from cli_ray.config import SourceConfig
from cli_ray.data.conversation import Conversation, read_conversation
from cli_ray.data.fields import MAX_JSON_BYTES, parse_json
from cli_ray.data.images import Limits, join_inside, read_small
from cli_ray.data.readers import READERS, Record, Span
from cli_ray.data.readers.webdataset import IMAGES
from cli_ray.data.sample import BadDataError, BadSample, Sample, clean
from cli_ray.errors import UserError
from cli_ray.storage.files import Shard, list_files, open_file, parent

MAX_IMAGES = 4096
"""Of a sample. Each is a file to open; no model takes so many."""

_HF_STATE = "state.json"
_MAX_NAME = 1000
"""Characters of a shard's path in messages."""
_PACKED = (".gz", ".tgz", ".zip", ".zst", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".lz4")
_ABSENT = (errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
"""Why a named file cannot be opened, now or later."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader must know of a source."""

    label: str
    format: str
    root: str
    """The folder that all shards lie in; ids name shards from there."""
    image_folder: str
    prompt: str
    shards: tuple[Shard, ...]
    image_roots: tuple[str, ...] = ()
    llava_preprocessing: bool = False
    left_out: tuple[str, ...] = ()
    """Files at its path that are no shards, a kind each, for people."""


def open_source(config: SourceConfig) -> Source:
    """Lists the shards of a source and settles its format.

    Raises:
        UserError: nothing is there, or the format cannot be told.
    """
    hf = _hf_shards(config.path) if config.format in ("auto", "hf") else None
    if hf is not None:
        return _source(config, "hf", hf)
    files = list_files(config.path)
    chosen = config.format if config.format != "auto" else _guess_format(config.path, files)
    suffixes = READERS[chosen].suffixes
    shards = tuple(shard for shard in files if _ending(shard.path).endswith(suffixes))
    left_out = _left_out([shard for shard in files if not _ending(shard.path).endswith(suffixes)], chosen)
    if not shards:
        raise UserError(
            f"{config.path}: none of {len(files)} files ends in {', '.join(suffixes)}, as format = {chosen!r} needs"
            f"{_in_message(left_out)}"
        )
    return _source(config, chosen, shards, left_out)


def read_samples(
    source: Source, path: str, span: Span, first: int, limits: Limits, low: int = 0, high: int | None = None
) -> Iterator[Sample | BadSample]:
    """The samples `low <= i < high` of a span, and what stands in place of the broken ones.

    Args:
        source: the source.
        path: one of its shards.
        span: where to read.
        first: number of the span's first sample within the shard.
        limits: of images.
        low: first sample wanted.
        high: one past the last; all when None.

    Raises:
        UserError: the shard is not the one that was indexed.
    """
    name = shard_name(source, path)
    if span.broken:
        detail = clean(span.broken, _MAX_NAME)
        yield BadSample(f"{name}#{first}", source.label, clean(path, _MAX_NAME), "broken shard", detail, span.lost)
        return
    high = span.count if high is None else high
    count = 0
    for count, record in enumerate(READERS[source.format].records(path, span, limits), start=1):
        if count > low:
            identity = f"{name}#{first + count - 1}" + (f":{clean(record.key, 200)}" if record.key else "")
            sample = _sample(source, path, record, identity, limits)
            if isinstance(sample, BadSample) and span.damage != "none":
                sample = replace(sample, samples=span.lost)
            yield sample
        if count == high:
            return
    raise UserError(f"{path}: holds {count} samples where the index has {span.count}, it changed: start a new run")


def shard_name(source: Source, path: str) -> str:
    """What the ids of a shard's samples begin with: its path below the common folder of the source's shards."""
    return clean(_plain(path).removeprefix(source.root).lstrip("/"), _MAX_NAME)


def _sample(source: Source, path: str, record: Record, identity: str, limits: Limits) -> Sample | BadSample:
    where = f"{clean(path, _MAX_NAME)}, {record.where}"
    conversation = Conversation(unread=list(record.unread))
    try:
        if isinstance(record.content, BadDataError):
            raise record.content
        read_conversation(record.content, source.prompt, source.llava_preprocessing, conversation)
        if len(conversation.images) > MAX_IMAGES:
            raise BadDataError("too long", f"{len(conversation.images):,} images, a sample may have {MAX_IMAGES:,}")
        images: list[bytes] = []
        for entry in conversation.images:
            images.append(entry if isinstance(entry, bytes) else _load(source, parent(path), entry, limits))
            limits.check_bytes("images", list(map(len, images)))
    except BadDataError as error:
        unread, read = tuple(conversation.unread), tuple(conversation.read)
        return BadSample(identity, source.label, where, error.reason, error.detail, error.samples, unread, read)
    return Sample(
        id=identity,
        images=images,
        messages=conversation.messages,
        source=source.label,
        where=where,
        unread=tuple(conversation.unread),
        remarks=tuple(dict.fromkeys(conversation.remarks)),
        read=tuple(conversation.read),
    )


def _load(source: Source, beside: str, name: str, limits: Limits) -> bytes:
    folder = source.image_folder or beside
    path = join_inside(folder, name, source.image_roots, "; data.sources.image_roots allows folders that links lead to")
    try:
        return read_small(path, limits.max_bytes)
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and error.errno not in _ABSENT:
            raise  # storage that fails is no fault of the sample; another try may find it
        raise BadDataError("missing image", f"{name!r} in {folder}: {error.strerror or 'no such file'}") from error


def _hf_shards(path: str) -> tuple[Shard, ...] | None:
    """The stream files of a dataset that `save_to_disk` wrote; None when there is no such dataset."""
    folder, mark, query = path.partition("?") if "://" in path else (os.path.expanduser(path), "", "")
    folder = folder.rstrip("/")
    try:
        with open_file(f"{folder}/{_HF_STATE}{mark}{query}") as file:
            state = file.read(MAX_JSON_BYTES + 1)
    except (OSError, ValueError):
        return None  # not there, or no path at all, which listing the files will say
    try:
        names = [join_inside(folder, entry["filename"]) for entry in parse_json(state, _HF_STATE)["_data_files"]]
    except (KeyError, TypeError, BadDataError) as error:
        raise UserError(f"{folder}/{_HF_STATE}: not the state of a Hugging Face dataset: {error}") from error
    streams = {name: list_files(name + mark + query) for name in names}
    for name, shards in streams.items():
        if [posixpath.basename(_plain(shard.path)) for shard in shards] != [posixpath.basename(name)]:
            raise UserError(f"{folder}/{_HF_STATE}: not the state of a Hugging Face dataset: {name} is a folder")
    return tuple(shard for shards in streams.values() for shard in shards)


def _guess_format(path: str, files: list[Shard]) -> str:
    """The one format that the endings of the files tell."""
    endings = [_ending(shard.path) for shard in files]
    formats = [name for name, reader in READERS.items() if any(ending.endswith(reader.suffixes) for ending in endings)]
    if "hf" in formats:
        raise UserError(
            f"{path}: .arrow files but no {_HF_STATE}; give the folder that save_to_disk wrote, of one split"
        )
    known = [name for name in formats if name != "llava"]  # read like messages
    if len(known) != 1:
        what = f"files of several formats ({', '.join(known)})" if known else "no file with a known ending"
        left_out = "" if known else _in_message(_left_out(files, ""))
        raise UserError(f"{path}: {what}{left_out}; set format, or name the files by a glob")
    return known[0]


def _left_out(files: list[Shard], chosen: str) -> tuple[str, ...]:
    """What files are that are no shards of the chosen format, a line for each ending.

    The images that JSON files name lie among them, and are no more than that.
    """
    by_ending: dict[str, list[str]] = {}
    for shard in files:
        name = posixpath.basename(_plain(shard.path))
        _, dot, ending = name.lower().rpartition(".")
        if not (READERS[chosen].names_images if chosen else False) or ending not in IMAGES:
            by_ending.setdefault(dot + ending if dot else "", []).append(name)
    lines = []
    for ending, names in sorted(by_ending.items()):
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        packed = ": packed files are not read, unpack them" if ending in _PACKED else ""
        lines.append(clean(f"{len(names):,} {ending or 'other'} ({some}){packed}", _MAX_NAME))
    return tuple(lines)


def _in_message(left_out: tuple[str, ...]) -> str:
    return f": {'; '.join(left_out[:5])}" if left_out else ""


def _source(config: SourceConfig, chosen: str, shards: tuple[Shard, ...], left_out: tuple[str, ...] = ()) -> Source:
    paths = sorted(_plain(shard.path) for shard in shards)
    steps = zip(paths[0].split("/")[:-1], paths[-1].split("/"), strict=False) if paths else ()
    root = "/".join(step for step, _ in takewhile(lambda pair: pair[0] == pair[1], steps))
    return Source(
        config.label,
        chosen,
        root,
        os.path.expanduser(config.image_folder),
        config.prompt,
        shards,
        config.image_roots,
        config.llava_preprocessing,
        left_out,
    )


def _ending(path: str) -> str:
    return _plain(path).lower()


def _plain(path: str) -> str:
    """A path, or a URI without its query."""
    return path.partition("?")[0] if "://" in path else path
