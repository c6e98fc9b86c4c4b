"""The folder of runs: written, read and deleted by every node, each of which must see what the others wrote."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from pyarrow import ArrowException

from cli_ray.doctor.finding import Finding, first_line
from cli_ray.doctor.memory import GIB
from cli_ray.doctor.nodes import Answers, on_every_node, silent_nodes
from cli_ray.storage.folder import Folder

FULL = 0.95
"""Share of a disk from which on Ray writes nothing to it, see RAY_local_fs_capacity_threshold."""
MARKER = ".doctor-"
"""Beginning of the name of the folder of markers below the folder of runs."""


@dataclass(frozen=True, slots=True)
class Written:
    """How it went to write a marker."""

    fault: str
    """Why it could not be written; empty when it was."""
    free_bytes: int = 0
    total_bytes: int = 0
    """Of the disk; 0 for object stores."""


def check_storage(uri: str, timeout_s: float) -> list[Finding]:
    """Writes a marker from each node, reads all of them on each, and removes them.

    Args:
        uri: of the folder of runs.
        timeout_s: seconds for each of the three, over all nodes.
    """
    folder = f"{uri.rstrip('/')}/{MARKER}{uuid4().hex}"
    written = on_every_node(write_marker, folder, timeout_s=timeout_s)
    good = [name for name, one in written.found.items() if not one.fault]
    read = on_every_node(unseen_markers, folder, good, timeout_s=timeout_s)
    left = on_every_node(remove_markers, folder, timeout_s=timeout_s)
    # A node that gives no answer once is told once.
    silent: Answers[object] = Answers(silent=left.silent | read.silent | written.silent)
    faults = [_unwritable(uri, name, one.fault) for name, one in written.found.items() if one.fault]
    faults += [_unshared(uri, name, unseen) for name, unseen in read.found.items() if unseen and name in good]
    faults += [
        Finding("storage", "error", f"{name}: what was written to {uri} cannot be deleted: {fault}", f"rm -r {folder}")
        for name, fault in left.found.items()
        if fault
    ]
    full = [_full(uri, name, one) for name, one in written.found.items() if one.total_bytes and _share(one) > FULL]
    return [*silent_nodes(silent), *faults, *full] or [_well(uri, written.found)]


def write_marker(name: str, folder: str) -> Written:
    """Writes a marker and looks how much room is left.

    Args:
        name: of the node, which the marker gets.
        folder: of the markers, a path or URI.
    """
    try:
        place = Folder(folder)
        place.write(name, name)
        if not place.is_local:
            return Written("")
        disk = shutil.disk_usage(place.path)
    except (OSError, ArrowException) as error:
        return Written(first_line(error))
    return Written("", disk.free, disk.total)


def unseen_markers(name: str, folder: str, names: list[str]) -> list[str]:
    """Those of `names` whose markers this node cannot read."""
    place = Folder(folder)
    unseen = []
    for one in names:
        try:
            text = place.read(one)
        except (OSError, ArrowException):
            text = None
        if text != one:
            unseen.append(one)
    return unseen


def remove_markers(name: str, folder: str) -> str:
    """Removes the markers that this node sees; says why it could not."""
    place = Folder(folder)
    try:
        with suppress(FileNotFoundError):  # another node was faster
            place.delete("")
    except (OSError, ArrowException) as error:
        return first_line(error) if place.names("") else ""
    return ""


def _unwritable(uri: str, name: str, fault: str) -> Finding:
    fix = "mount it there for reading and writing, let this user write to it, or give another --runs-dir"
    return Finding("storage", "error", f"{name}: {uri} cannot be written: {fault}", fix)


def _unshared(uri: str, name: str, unseen: list[str]) -> Finding:
    what = f"{name}: does not see what {', '.join(unseen)} wrote to {uri}, which is not shared"
    return Finding("storage", "error", what, "mount one filesystem there on all nodes, or give a URI such as s3://")


def _full(uri: str, name: str, one: Written) -> Finding:
    what = f"{name}: the disk of {uri} is {_share(one):.0%} full, {one.free_bytes / GIB:.1f} GiB are free"
    return Finding("storage", "error", what, "make room: a checkpoint that finds none is left out")


def _well(uri: str, written: dict[str, Written]) -> Finding:
    free = [one.free_bytes for one in written.values() if one.total_bytes]
    room = f", {min(free) / GIB:,.1f} GiB free" if free else ""
    seen = f"; {len(written)} nodes see what each of them wrote" if len(written) > 1 else ""
    return Finding("storage", "ok", f"{uri} can be written, read and deleted{room}{seen}")


def _share(one: Written) -> float:
    return 1 - one.free_bytes / one.total_bytes
