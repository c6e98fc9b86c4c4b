"""The nodes of the cluster, and one function on each of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError

from cli_ray.doctor.finding import Finding

HERE = "this-machine"
"""Name of the only node there is without a cluster."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Answers(Generic[Answer]):
    """What each node answered, by its name."""

    found: dict[str, Answer] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    """Why a node gave no answer."""


def node_names() -> dict[str, str]:
    """Name of each living node by its id: its address, and a part of the id where nodes share an address."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    shared = Counter(node["NodeManagerAddress"] for node in alive)
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        + (f"-{node['NodeID'][:8]}" if shared[node["NodeManagerAddress"]] > 1 else "")
        for node in alive
    }


def on_every_node(function: Callable[..., Answer], *arguments: object, timeout_s: float) -> Answers[Answer]:
    """What `function(name, *arguments)` returns on each node; on this machine alone without a cluster.

    Args:
        function: of a module, for nodes import it.
        arguments: after the node's name.
        timeout_s: seconds for all nodes together.
    """
    if not ray.is_initialized():
        return Answers({HERE: function(HERE, *arguments)})
    names: dict[Any, str] = {}
    for node, name in node_names().items():
        options = {"num_cpus": 0, "max_retries": 0, "label_selector": {"ray.io/node-id": node}}
        names[ray.remote(function).options(**options).remote(name, *arguments)] = name
    done, late = ray.wait(list(names), num_returns=len(names), timeout=timeout_s)
    answers: Answers[Answer] = Answers(silent={names[task]: f"no answer within {timeout_s:g} s" for task in late})
    for task in late:
        ray.cancel(task, force=True)
    for task in done:
        try:
            answers.found[names[task]] = ray.get(task)
        except (RayError, ImportError) as error:
            answers.silent[names[task]] = str(error).strip().splitlines()[-1]
    return answers


def silent_nodes(answers: Answers[Answer]) -> list[Finding]:
    """A finding for each node that gave no answer."""
    fix = "install the same cli_ray and constraints.txt on all nodes, or take the node out of the cluster (`ray stop`)"
    return [Finding("nodes", "error", f"{name}: {reason}", fix) for name, reason in sorted(answers.silent.items())]
