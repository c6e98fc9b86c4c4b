"""The driver of a sweep: runs trials on a Ray cluster, as many at once as it has room for, and writes the results.

Called by `cli-ray tune`.
"""

import json
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import ray
import tomli_w
from ray import tune
from ray.tune import Callback, FailureConfig, Tuner

from cli_ray.autoscaler import start_helpers
from cli_ray.capacity import await_room
from cli_ray.cluster import connect, refuse_to_lose
from cli_ray.config import RunConfig, SweepConfig
from cli_ray.config.run import with_absolute_paths
from cli_ray.data.index import build_index
from cli_ray.errors import StoppedError, StorageError, UserError
from cli_ray.model.build import resolve_injection
from cli_ray.need import STREAM_CPUS, Need
from cli_ray.storage.folder import Folder
from cli_ray.text import last_line, say
from cli_ray.train.run_folder import differences
from cli_ray.tune.console import Console
from cli_ray.tune.figures import draw_figures
from cli_ray.tune.results import TrialResult, front, importance, ranked, to_parquet
from cli_ray.tune.search import SAMPLERS, scheduler, searcher
from cli_ray.tune.space import candidates, configured, ray_space
from cli_ray.tune.trial import SHARED, STOP, Trial

DRIVER_BYTES = 1 << 20
"""Memory that Ray Tune reserves for the driver of a trial, which only waits. It must reserve something, and a fraction
of a CPU would keep the workers of the trials from the rest of it."""
MOST = 64
"""Trials at once that an autoscaling cluster is asked to make room for."""
ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables: they are made for terminals
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ray Tune's own handler does not tell its caller of the signal
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # some objectives come with the last report only
    "TUNE_GLOBAL_CHECKPOINT_S": "5",  # a sweep that is killed forgets the trials drawn since its last save
}
"""Variables that Ray Tune reads."""


def sweep(config: SweepConfig, base: RunConfig) -> list[TrialResult]:
    """Runs a sweep, or goes on with it when its folder exists.

    Returns:
        The trials, see `ranked`; also written to the sweep's folder, with the best config,
        the importance of each hyperparameter and figures.

    Raises:
        UserError: space, base, data or cluster do not fit each other; names the field to change.
        StorageError: trials cannot write; goes on once they can.
        StoppedError: a signal stopped it.
    """
    refuse_to_lose("sweeps_dir", config.sweeps_dir)
    folder = Folder(config.folder)
    check_objectives(config, base)
    configs = list(candidates(base, config))
    for where, candidate in configs:
        check_candidate(where, candidate)
    trials = with_absolute_paths(base).model_copy(update={"runs_dir": folder.uri + "/trials", "name": config.name})
    connect(needs(trials)[0], log_to_driver=False)
    most = config.max_concurrent or (MOST if config.search == "grid" else min(MOST, config.num_trials))
    at_once = min(most, trials_at_once([candidate for _, candidate in configs], most))
    start_helpers()
    claim(folder, config, trials)
    runs = Folder(trials.runs_dir)
    prepare_indices(runs, trials)
    with stop_signals(runs) as received:
        ended = tuner(config, trials, folder, at_once).fit()
    if received:  # Ray Tune counts the trials that it ended as terminated
        raise StoppedError(received[0], "the sweep was stopped")
    for metrics in (trial.metrics or {} for trial in ended):
        if metrics.get("state") == "halted":
            raise StorageError(f"the sweep ends, for the storage of its trials fails: {metrics['reason']}")
    results = ranked(config, [result_of(config, trial) for trial in ended])
    write_results(folder, config, base, results)
    return results


def check_objectives(config: SweepConfig, base: RunConfig) -> None:
    """Raises UserError when trials would not measure what is looked for."""
    if "validation_loss" in config.objectives and not base.validation.sources:
        raise UserError('objectives names "validation_loss", but the base config has no validation.sources')
    if config.scheduler == "asha" and config.objectives[0] != "validation_loss":
        raise UserError(
            f'scheduler = "asha" compares trials on their way, and {config.objectives[0]} comes at their end: put '
            '"validation_loss" first in objectives, or set scheduler = "none"'
        )
    if any(name.startswith("eval/") for name in config.objectives) and not base.evaluation.every:
        raise UserError('objectives names "eval/...", but the base config has evaluation.every = 0')


def check_candidate(where: str, candidate: RunConfig) -> None:
    """Raises UserError, which names the value of the space, when a model does not have what it asks for."""
    try:
        resolve_injection(candidate.model, candidate.injection)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def needs(base: RunConfig) -> tuple[float, float]:
    """CPUs and GPUs of a trial, its stream included."""
    cluster = base.cluster
    cpus = cluster.max_workers * cluster.cpus_per_worker + STREAM_CPUS
    return cpus, cluster.max_workers * cluster.gpus_per_worker


def trials_at_once(configs: Sequence[RunConfig], most: int) -> int:
    """How many trials fit into the cluster together, so that none waits for what another holds.

    Where the cluster grows, as many as it can grow to.

    Args:
        configs: one of them asks for as much as any trial.
        most: trials that the sweep could use at once.

    Raises:
        UserError: the cluster has no room for a single one, and cannot grow to it.
        ClusterError: it did not grow in time.
    """
    (cpus, gpus), cluster = max(((needs(run), run.cluster) for run in configs), key=lambda pair: pair[0][::-1])
    have = ray.cluster_resources()
    at_once = int(have.get("CPU", 0) // cpus)
    if gpus:
        at_once = min(at_once, int(have.get("GPU", 0) // gpus))
    need = Need(cluster.max_workers, cluster.cpus_per_worker, cluster.gpus_per_worker, STREAM_CPUS)
    refusal = (
        f"a trial takes {cpus:g} CPUs ({STREAM_CPUS:g} of them for its stream) and {gpus:g} GPUs, the cluster has "
        f"{have.get('CPU', 0):g} and {have.get('GPU', 0):g}: lower cluster.num_workers or cluster.cpus_per_worker of "
        "the base config"
    )
    notice_s, timeout_s = cluster.notice_s, cluster.timeout_s
    return max(at_once, await_room(need, refusal, copies=most, notice_s=notice_s, timeout_s=timeout_s))


def claim(folder: Folder, config: SweepConfig, base: RunConfig) -> None:
    """Writes sweep.json, or checks that the one there is of the same sweep.

    Raises:
        UserError: it is of another one.
    """
    current = {
        "sweep": config.model_dump(mode="json", exclude={"sweeps_dir", "max_concurrent", "base"}),
        "base": base.model_dump(mode="json", exclude={"runs_dir"}),
    }
    text = folder.read("sweep.json")
    fields = [line.partition(":")[0] for line in differences(json.loads(text), current)] if text is not None else []
    if fields:
        raise UserError(
            f"{folder.uri} holds another sweep; these differ: {', '.join(fields)}. Give the new one another name, or "
            "use the old values to go on"
        )
    folder.write("sweep.json", json.dumps(current, indent=2))


def prepare_indices(trials: Folder, base: RunConfig) -> None:
    """Builds the indices of the sources once for all trials."""
    held_out = base.validation_data if base.validation.sources else None
    for name, data in zip(SHARED, (base.data, held_out), strict=True):
        if data is not None and not trials.exists(name):
            index = build_index(data)
            for line in index.left_out():
                say(line)
            trials.write(name, index.to_json())


def tuner(config: SweepConfig, base: RunConfig, folder: Folder, at_once: int) -> Tuner:
    """Ray Tune's side of a sweep, where it stopped if it has begun."""
    os.environ |= ENVIRONMENT
    logging.getLogger("ray.tune.tune").setLevel(logging.ERROR)  # it advises to go on by its own means
    parameters = {"base": base.model_dump(mode="json"), "sweep": config.model_dump(mode="json")}
    trainable = tune.with_resources(tune.with_parameters(Trial, **parameters), {"memory": DRIVER_BYTES})
    if has_begun(folder):
        unended = {"resume_unfinished": True, "resume_errored": True}
        return Tuner.restore(f"{folder.uri}/tune", trainable, **unended, param_space=ray_space(config))
    return Tuner(
        trainable,
        param_space=ray_space(config),
        tune_config=tune.TuneConfig(
            search_alg=searcher(config, at_once),
            scheduler=scheduler(config, base),
            num_samples=1 if config.search == "grid" else config.num_trials,
            max_concurrent_trials=at_once if config.search in SAMPLERS else None,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=folder.uri,
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=[Console(config, base.runs_dir), Halt()],
            verbose=0,
        ),
    )


def result_of(config: SweepConfig, trial: tune.Result) -> TrialResult:
    """What came of a trial, from what Ray Tune returns of it."""
    metrics, draw = trial.metrics or {}, dict(trial.config or {})
    values = {name: float(metrics[name]) for name in config.objectives if metrics.get(name) is not None}
    state, reason = metrics.get("state", "failed"), metrics.get("reason", "")
    if state == "running":  # it would have gone on
        state = "stopped"
    if trial.error is not None:
        state, reason = "failed", last_line(trial.error)
    name = metrics.get("trial_id") or Path(trial.path).name
    return TrialResult(trial=name, state=state, step=metrics.get("step", 0), values=values, draw=draw, reason=reason)


def write_results(folder: Folder, config: SweepConfig, base: RunConfig, results: list[TrialResult]) -> None:
    """Writes trials.parquet, results.json, best.toml and the figures."""
    best, shares = front(config, results), importance(config, results)
    folder.write_bytes("trials.parquet", to_parquet(config, results))
    values = {
        "front": [result.trial for result in best],
        "importance": shares,
        "trials": [result.model_dump() for result in results],
    }
    folder.write("results.json", json.dumps(values, indent=2))
    if best:
        folder.write("best.toml", best_toml(config, base, best[0]))
    for name, content in draw_figures(config, results, best, shares).items():
        folder.write_bytes(f"figures/{name}.svg", content)


def best_toml(config: SweepConfig, base: RunConfig, best: TrialResult) -> str:
    """The config of the best trial as a file that `cli-ray train` takes: what differs from the defaults."""
    run = configured(base, config, best.draw).model_copy(update={"name": f"{config.name}-best"})
    values = ", ".join(f"{name} = {value:.6g}" for name, value in best.values.items())
    return f"# Trial {best.trial} of sweep {config.name}: {values}.\n" + tomli_w.dumps(
        run.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    )


def has_begun(folder: Folder) -> bool:
    """Whether Ray Tune has saved the state of a sweep.

    Raises:
        UserError: it was cut while it was written.
    """
    states = [name for name in folder.names("tune") if name.startswith("experiment_state-")]
    if not states:  # of a driver that was killed in its first seconds, at most
        return False
    try:
        json.loads(folder.read(f"tune/{states[-1]}") or "")
    except ValueError:
        raise UserError(
            f"{folder.uri}/tune/{states[-1]}, which says how far the sweep is, was cut, as by a full disk: put an "
            f"older one in its place, or give the sweep another name. The runs in {folder.uri}/trials are untouched"
        ) from None
    return True


class Halt(Callback):
    """Ends the loop of Ray Tune, in order, when the storage of a trial fails: the others write there too."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Stops Ray Tune when a trial reports `halted`."""
        if result["state"] == "halted":
            signal.raise_signal(signal.SIGUSR1)


@contextmanager
def stop_signals(runs: Folder) -> Iterator[list[signal.Signals]]:
    """Turns SIGINT and SIGTERM into an orderly stop, and yields the list of those received.

    Ray Tune gets them as SIGUSR1, on which it saves its state and ends the trials; the trials find a file that names
    the signal, and write checkpoints.

    A second signal ends this process at once.

    Args:
        runs: holds the run folders of the trials.
    """
    received: list[signal.Signals] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)  # Ray ends the trials of a driver that is gone
        received.append(signal.Signals(number))
        if not callable(signal.getsignal(signal.SIGUSR1)):  # Ray Tune has not begun
            raise KeyboardInterrupt  # which Ray's compiled parts let through
        say(f"{received[0].name}: stopping the trials after checkpoints; a second one ends at once")
        with suppress(OSError):  # trials that cannot be told could not write a checkpoint either
            runs.write(STOP, json.dumps({"signal": received[0].name}))
        signal.raise_signal(signal.SIGUSR1)

    if runs.exists(STOP):  # of a driver that was killed
        runs.delete_file(STOP)
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # perhaps of an earlier sweep
    try:
        yield received
    except KeyboardInterrupt:
        raise StoppedError(received[0], "the sweep was stopped") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
