"""Check of the folder of runs: every node writes to it, reads what the others wrote, and deletes it.

Called by the examination.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from pyarrow import ArrowException

from cli_ray.doctor.cluster import Answers, on_every_node, silent_nodes
from cli_ray.doctor.finding import Finding
from cli_ray.doctor.hardware import GIB
from cli_ray.storage.folder import Folder
from cli_ray.text import first_line

FULL = 0.95
"""Share of a disk from which on Ray writes nothing to it, see RAY_local_fs_capacity_threshold."""
MARKER = ".doctor-"
"""How the name of the folder of markers, below the folder of runs, begins."""


@dataclass(frozen=True, slots=True)
class Written:
    """How writing a marker went."""

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
    writers = [name for name, result in written.by_node.items() if not result.fault]
    unseen = on_every_node(unseen_markers, folder, writers, timeout_s=timeout_s)
    removed = on_every_node(remove_markers, folder, timeout_s=timeout_s)
    # A node that did not answer more than one of the three is listed once.
    silent: Answers[object] = Answers(silent=removed.silent | unseen.silent | written.silent)
    faults = [_unwritable(uri, name, result.fault) for name, result in written.by_node.items() if result.fault]
    faults += [_unshared(uri, name, names) for name, names in unseen.by_node.items() if names and name in writers]
    faults += [
        Finding("storage", "error", f"{name}: what was written to {uri} cannot be deleted: {fault}", f"rm -r {folder}")
        for name, fault in removed.by_node.items()
        if fault
    ]
    disks = {name: result for name, result in written.by_node.items() if result.total_bytes}
    full = [_full(uri, name, disk) for name, disk in disks.items() if _used_share(disk) > FULL]
    return [*silent_nodes(silent), *faults, *full] or [_sound(uri, written.by_node)]


def write_marker(name: str, folder: str) -> Written:
    """Writes a marker and looks how much room is left.

    Args:
        name: of the node, which the marker gets.
        folder: of the markers, a path or URI.
    """
    try:
        markers = Folder(folder)
        markers.write(name, name)
        if not markers.is_local:
            return Written("")
        disk = shutil.disk_usage(markers.path)
    except (OSError, ArrowException) as error:
        return Written(first_line(error))
    return Written("", disk.free, disk.total)


def unseen_markers(name: str, folder: str, names: list[str]) -> list[str]:
    """Those of `names` whose markers this node cannot read."""
    markers = Folder(folder)
    unseen = []
    for writer in names:
        try:
            text = markers.read(writer)
        except (OSError, ArrowException):
            text = None
        if text != writer:
            unseen.append(writer)
    return unseen


def remove_markers(name: str, folder: str) -> str:
    """Removes the markers that this node sees; says why it could not."""
    markers = Folder(folder)
    try:
        with suppress(FileNotFoundError):  # another node was faster
            markers.delete("")
    except (OSError, ArrowException) as error:
        return first_line(error) if markers.names("") else ""
    return ""


def _unwritable(uri: str, name: str, fault: str) -> Finding:
    fix = "mount it there for reading and writing, let this user write to it, or give another --runs-dir"
    return Finding("storage", "error", f"{name}: {uri} cannot be written: {fault}", fix)


def _unshared(uri: str, name: str, unseen: list[str]) -> Finding:
    what = f"{name}: does not see what {', '.join(unseen)} wrote to {uri}, which is not shared"
    return Finding("storage", "error", what, "mount one filesystem there on all nodes, or give a URI such as s3://")


def _full(uri: str, name: str, disk: Written) -> Finding:
    what = f"{name}: the disk of {uri} is {_used_share(disk):.0%} full, {disk.free_bytes / GIB:.1f} GiB are free"
    return Finding("storage", "error", what, "make room: a checkpoint that finds none is left out")


def _sound(uri: str, written: dict[str, Written]) -> Finding:
    free = [disk.free_bytes for disk in written.values() if disk.total_bytes]
    room = f", {min(free) / GIB:,.1f} GiB free" if free else ""
    seen = f"; {len(written)} nodes see what each of them wrote" if len(written) > 1 else ""
    return Finding("storage", "ok", f"{uri} can be written, read and deleted{room}{seen}")


def _used_share(disk: Written) -> float:
    return 1 - disk.free_bytes / disk.total_bytes
