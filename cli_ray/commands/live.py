"""The live views of runs and sweeps, which the verbs that train show on a terminal: what `cli-ray watch` shows."""

from contextlib import AbstractContextManager

from cli_ray.console import live_view


def live_run(folder: str) -> AbstractContextManager[None]:
    """Within, a run's state stays below the printed lines.

    Args:
        folder: of the run, a path or URI; it may not be there yet.
    """
    from cli_ray.watch.history import read_run
    from cli_ray.watch.views import run_view

    return live_view(lambda: run_view(read_run(folder)))


def live_sweep(folder: str) -> AbstractContextManager[None]:
    """Within, the trials of a sweep stay below the printed lines.

    Args:
        folder: of the sweep, a path or URI; it may not be there yet.
    """
    from cli_ray.watch.sweeps import read_sweep
    from cli_ray.watch.views import sweep_view

    return live_view(lambda: sweep_view(read_sweep(folder)))
