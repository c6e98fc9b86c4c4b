"""Memory that nodes share between processes, and open files."""

from cli_ray.doctor.finding import Finding
from cli_ray.doctor.machine import Machine

GIB = 1 << 30
STORE_SHARE = 0.3
"""Of a node's memory goes to the object store by default."""
LEAST_STORE_BYTES = GIB
"""For a stream of images; Ray advises 2 GB a node."""
OPEN_FILES = 8192
"""Ray's advice."""


def check_memory(machines: dict[str, Machine], stores: dict[str, float]) -> list[Finding]:
    """Whether the object store is large enough and fits into /dev/shm, and files may be opened.

    Args:
        machines: by the name of the node.
        stores: bytes of the object store of each node of a running cluster.
    """
    findings = [
        finding
        for name, machine in machines.items()
        for finding in (
            _check_shm(name, machine, stores.get(name, STORE_SHARE * machine.memory_bytes)),
            _check_store(name, stores.get(name)),
            _check_files(name, machine),
        )
        if finding
    ]
    if findings:
        return findings
    shm = min(machine.shm_bytes for machine in machines.values())
    told = f"object store at least {min(stores.values()) / GIB:.1f} GiB, " if stores else ""
    files = min(machine.open_files for machine in machines.values())
    return [Finding("memory", "ok", f"{told}/dev/shm at least {shm / GIB:.1f} GiB, {files:,} open files")]


def _check_shm(name: str, machine: Machine, store_bytes: float) -> Finding | None:
    if machine.shm_bytes >= store_bytes:
        return None
    what = (
        f"{name}: /dev/shm has {machine.shm_bytes / GIB:.2f} GiB, the object store {store_bytes / GIB:.2f} GiB: Ray "
        "puts it on disk, which is slow"
    )
    fix = (
        f"start the container with --shm-size={store_bytes / GIB + 1:.0f}g (Kubernetes: an emptyDir of medium Memory "
        "at /dev/shm), or Ray with a smaller --object-store-memory"
    )
    return Finding("memory", "warning", what, fix)


def _check_store(name: str, store_bytes: float | None) -> Finding | None:
    if store_bytes is None or store_bytes >= LEAST_STORE_BYTES:
        return None
    what = f"{name}: the object store has {store_bytes / GIB:.2f} GiB; the stream spills to disk when it is full"
    return Finding("memory", "warning", what, "ray start --object-store-memory with at least 2000000000 bytes")


def _check_files(name: str, machine: Machine) -> Finding | None:
    if not 0 <= machine.open_files < OPEN_FILES:
        return None
    what = f"{name}: a process may open {machine.open_files:,} files, which is too few for many workers"
    return Finding("memory", "warning", what, f"ulimit -n {OPEN_FILES} before ray start")
