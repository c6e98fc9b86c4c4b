"""What a cluster of tests has free."""

import time

import ray

PATIENCE_S = 30.0


def await_cpus(count: float) -> float:
    """The CPUs that are free, as soon as they are `count`; Ray tells of what was given back within seconds."""
    until = time.monotonic() + PATIENCE_S
    while (free := ray.available_resources().get("CPU", 0.0)) < count and time.monotonic() < until:
        time.sleep(0.1)
    return float(free)
