"""Compiled ops. Training compiles none: its optimiser is torch's AdamW and its collectives are NCCL's or gloo's."""

from cli_ray.doctor.finding import Finding
from cli_ray.doctor.machine import TOOLS, Machine

STALE_S = 1800
"""A build takes minutes; a lock this old was left by one that died, and all later builds wait for it for ever."""


def check_ops(machines: dict[str, Machine]) -> list[Finding]:
    """Build locks that were left behind, and whether ops could be compiled."""
    stale = [
        Finding(
            "ops", "error", f"{name}: {lock} is {age_s / 3600:.1f} h old, builds wait for it for ever", f"rm {lock}"
        )
        for name, machine in machines.items()
        for lock, age_s in machine.locks.items()
        if age_s > STALE_S
    ]
    lacking = sorted({tool for machine in machines.values() for tool in TOOLS if tool not in machine.tools})
    able = f"{', '.join(lacking)} not found on all nodes, and not needed" if lacking else "they could be"
    return stale or [Finding("ops", "ok", f"no op of DeepSpeed has to be compiled ({able})")]
