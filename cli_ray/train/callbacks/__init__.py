"""Everything beside the training step, one concern a file, and the order in which it happens.

`callbacks_of` is called by `worker.build_loop`; a new callback is a file here and a line in it.
"""

from cli_ray.config import RunConfig
from cli_ray.data.stream import Stream
from cli_ray.train.callbacks.checkpointer import Checkpointer
from cli_ray.train.callbacks.evaluations import ResultJoiner
from cli_ray.train.callbacks.ledger import Ledger
from cli_ray.train.callbacks.log import Console, MetricsFile
from cli_ray.train.callbacks.pauser import Pauser
from cli_ray.train.callbacks.profiler import Profiler
from cli_ray.train.callbacks.quarantiner import Quarantiner
from cli_ray.train.callbacks.rank_times import RankTimes
from cli_ray.train.callbacks.slow_rank import SlowRank
from cli_ray.train.callbacks.trackers import Tracker
from cli_ray.train.callbacks.validator import Validator
from cli_ray.train.loop import Callback


def callbacks_of(config: RunConfig, validation: Stream | None, rank: int) -> list[Callback]:
    """The callbacks of a rank. Those with collectives stand in the same order on every rank."""
    callbacks: list[Callback] = [Quarantiner()]
    if validation is not None:
        callbacks.append(Validator(validation, config.validation.max_samples))
    if rank == 0:
        callbacks += [MetricsFile(), RankTimes(), Console()]
        if config.evaluation.every:
            callbacks.append(ResultJoiner())
    callbacks.append(SlowRank())
    ledger = Ledger() if config.log.ids else None
    if ledger is not None:
        callbacks.append(ledger)
    # Trackers come last, for their end may take seconds, which a checkpoint before a pause has not.
    trackers = [Tracker(name) for name in config.log.sinks] if rank == 0 else []
    traced = config.train.profile.steps
    profilers = [Profiler(*traced)] if traced else []
    return [*callbacks, Pauser(), Checkpointer(ledger), *profilers, *trackers]
