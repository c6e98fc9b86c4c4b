"""What a drill will do: which kills it deals and when, drawn from a seed alone, and on what nodes.

Called by `cli-ray drill` before it starts its cluster.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cli_ray.config import ClusterConfig
from cli_ray.errors import UserError

Kind = Literal[
    "worker", "node", "driver", "storage", "preemption", "interrupt", "controller",
    "pulse", "watcher", "barrier", "datasets", "statistics", "coordinator", "reader", "agent",
]  # fmt: skip
Moment = Literal["step", "checkpoint", "start"]

KINDS: tuple[Kind, ...] = ("worker", "node", "driver", "storage", "preemption", "interrupt", "controller")
HELPERS: tuple[Kind, ...] = (
    "pulse", "watcher", "barrier", "datasets", "statistics", "coordinator", "reader", "agent",
)  # fmt: skip
"""Processes beside workers and controller, most of whose deaths a run does not feel."""
MOMENTS: tuple[Moment, ...] = ("step", "checkpoint", "start")
LEAST_OUTAGE_S, LONGEST_OUTAGE_S = 1.0, 5.0
LEAST_NODES = 3
"""Workers of a run then stand on two nodes at least, and the stream has a CPU beside them."""


@dataclass(frozen=True)
class Course:
    """How the undisturbed run went, which says when there is something to hit."""

    steps: int
    every: int
    """Steps between checkpoints."""
    start_s: float
    """From the command to the first step."""
    step_s: float
    """Of one step, checkpoints included."""
    whole_s: float
    """From the command to its end."""


@dataclass(frozen=True)
class Kill:
    """One kill, in a run of its own."""

    kind: Kind
    moment: Moment
    """`start` is before the first step, `checkpoint` right after a step that a checkpoint follows."""
    step: int
    """Waited for before the delay; 0 at the start."""
    due: int
    """The first step from then on that a checkpoint follows."""
    delay_s: float
    """From then to the kill."""
    draw: float
    """In [0, 1): which worker or node, and how long storage stays away."""
    back_by: int
    """Storage is back by this step, so that the last checkpoint, without which no run ends well, can be written."""

    @property
    def outage_s(self) -> float:
        """How long storage stays away once a checkpoint was due."""
        return LEAST_OUTAGE_S + (LONGEST_OUTAGE_S - LEAST_OUTAGE_S) * self.draw


class Room(NamedTuple):
    """What a node offers."""

    cpus: int = 1
    gpus: tuple[int, ...] = ()
    """Devices of this machine."""


def plan(kinds: Sequence[Kind], times: int, seed: int, course: Course) -> list[Kill]:
    """`times` kills of each kind, their moments in turn; the same seed and course give the same kills."""
    draw = random.Random(seed)
    order = (*KINDS, *HELPERS)
    return [
        _kill(kind, MOMENTS[(seed + number + order.index(kind)) % len(MOMENTS)], course, draw)
        for number in range(times)
        for kind in kinds
    ]


def rooms(cluster: ClusterConfig, nodes: int, gpus: int) -> list[Room]:
    """What each node of the cluster offers: all the same CPUs, and GPUs as far as this machine has them.

    No node holds all workers, unless there is only one worker; a worker takes one logical CPU.

    Args:
        cluster: of the run.
        nodes: of the cluster.
        gpus: of this machine.

    Raises:
        UserError: there are too few GPUs.
    """
    workers = cluster.max_workers
    per_node = math.ceil(workers / (nodes - 1))
    devices = math.ceil(per_node * cluster.gpus_per_worker)
    if devices and (gpus // devices) * per_node < workers:
        raise UserError(
            f"cluster.gpus_per_worker = {cluster.gpus_per_worker:g} for {workers} workers, {per_node} a node, needs "
            f"{devices} GPUs a node, and this machine has {gpus} in all: lower cluster.num_workers, or "
            "cluster.gpus_per_worker (0 drills on CPU)"
        )
    shares = [tuple(range(node * devices, (node + 1) * devices)) for node in range(nodes)]
    return [Room(per_node, share if share and share[-1] < gpus else ()) for share in shares]


def check_drill(cluster: ClusterConfig, kinds: Sequence[Kind]) -> None:
    """Refuses kills that the config does not let the run survive, and runs that cannot be compared.

    Raises:
        UserError: Ray Train would restart no worker, or another number of them.
    """
    if cluster.min_workers != cluster.max_workers:
        raise UserError(
            f"cluster.num_workers = [{cluster.min_workers}, {cluster.max_workers}]: sums over another number of "
            f"workers differ in their last bits, so drill one number: --cluster.num-workers {cluster.max_workers}"
        )
    if cluster.max_failures == 0 and {"worker", "node", "controller", "agent"} & set(kinds):
        raise UserError(
            "cluster.max_failures = 0 ends the run when a worker, a node or Ray Train's controller dies: set it to 1 "
            "or more, or drill --kill driver storage only"
        )


def _kill(kind: Kind, moment: Moment, course: Course, draw: random.Random) -> Kill:
    """Storage is taken away between two checkpoints always; before the first step nothing is stored."""
    # The last checkpoint is left alone where there are others, for after it nothing goes on.
    due = draw.choice(range(course.every, course.steps, course.every) or [course.steps])
    if kind == "storage":
        moment, step = "step", draw.randint(max(1, due - course.every), max(1, due - 1))
    elif moment == "checkpoint":
        step = due
    elif moment == "step":
        step = draw.randint(1, max(1, course.steps - 1))
    else:
        step = 0
    delay_s = draw.uniform(0, course.step_s if step else course.start_s)
    return Kill(kind, moment, step, due, delay_s, draw.random(), back_by=course.steps - 1)
