"""A trial of a sweep: a run of its own, trained by a driver that Ray Tune places, watched through its metrics.

Ray Tune creates a `Trial` for each draw; the search reads the metrics of earlier starts with the functions below it.
"""

import hashlib
import json
import threading
from pathlib import Path
from signal import Signals
from statistics import median
from typing import Any

from pyarrow import fs
from ray import tune

from cli_ray.config import RunConfig, SweepConfig
from cli_ray.errors import ClusterError, StoppedError, StorageError, UserError, disk_fault
from cli_ray.model.build import resolve_injection
from cli_ray.model.cost import cost, typical_sample
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import json_lines, read_journal
from cli_ray.train.checkpoint.files import complete_checkpoints, name_of
from cli_ray.train.run_folder import METRICS, RunFolder
from cli_ray.train.trainer import train
from cli_ray.tune.space import Draw, configured

POLL_S = 1.0
"""Seconds between looks at the metrics of the run."""
OUTCOME = "outcome.json"
"""In the run folder of a trial that ended by itself: its last report."""
SHARED = ("index.json", "validation-index.json")
"""Of the sources; made once for all trials that read the same ones."""
STOP = "stop.json"
"""Beside the run folders while a sweep is being stopped: the signal that its driver received."""


class Ended(Exception):
    """The sweep wants no more of this trial."""


class Trial(tune.Trainable):
    """Ray Tune's side of a run: a report per validation, and one at the end with `state` and `reason`.

    Reports hold `step`, the objectives that are known, and `state`: `running`, `finished`, `failed`, or `halted` by
    the storage.
    """

    def setup(self, config: Draw, base: dict[str, Any], sweep: dict[str, Any]) -> None:
        """Ray Tune calls this first; the run starts with the first `step`, for what it goes on from comes after."""
        self._base, self._sweep = RunConfig.model_validate(base), SweepConfig.model_validate(sweep)
        self._runs = Folder(self._base.runs_dir)
        self._begin(config)

    def reset_config(self, new_config: Draw) -> bool:
        """Ray Tune calls this when this process, which has loaded all that a trial needs, is to drive another one."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, draw: Draw) -> None:
        self._draw = draw
        self._added_parameters: int | None = None
        self._name, self._run = self.trial_id, RunFolder(f"{self._base.runs_dir}/{self.trial_id}")
        self._thread: threading.Thread | None = None
        self._unwanted, self._over = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._reason = ""
        self._reported = 0  # last step of a report; those of an earlier start are reported again
        self._is_stopped = False

    def step(self) -> dict[str, Any]:
        """Waits for the next validation, or for the end of the run."""
        try:
            return self._next_report()
        except StorageError as error:
            reason: str | None = str(error)
        except OSError as error:
            reason = disk_fault(error)
            if reason is None:
                raise
        return {"step": self._reported, "state": "halted", "reason": reason, "done": False}

    def _next_report(self) -> dict[str, Any]:
        if self._thread is None:
            if (outcome := self._run.read(OUTCOME)) is not None:
                return dict(json.loads(outcome))
            self._thread = threading.Thread(target=self._train, name="trial", daemon=True)
            self._thread.start()
        while not self._over.wait(POLL_S):
            lines = complete_lines(self._run)
            new_rows = [row for row in validations(lines) if row["step"] > self._reported]
            if not new_rows:
                continue
            self._reported = new_rows[0]["step"]
            if new_rows[0]["validation_loss"] is not None:
                rows = [row for row in json_lines(lines) if row["step"] <= self._reported]
                return self._report(rows) | {"state": "running", "reason": "", "done": False}
            self._reason = f"the validation loss of step {self._reported} is not finite"
            self._unwanted.set()
        return self._last_report()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes where the run stands: a few bytes, for its checkpoints stay in its folder."""
        steps = [checkpoint.progress.step for checkpoint in complete_checkpoints(self._run)]
        position = {"run": self._name, "step": steps[-1] if steps else None}
        Path(checkpoint_dir, "place.json").write_text(json.dumps(position))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on as this run, or as a new run from a checkpoint of another trial, whose hyperparameters differ."""
        position = json.loads(Path(checkpoint_dir, "place.json").read_text())
        donor = RunFolder(f"{self._base.runs_dir}/{position['run']}")
        here = json.loads(donor.read("config.json") or "{}").get("optim")
        is_own = position["run"].startswith(self.trial_id) and here == self._config().model_dump(mode="json")["optim"]
        drawn = hashlib.sha256(json.dumps(self._draw, sort_keys=True).encode()).hexdigest()[:6]
        forked = f"{self.trial_id}-{drawn}-from-{position['run'].partition('-')[0]}-{position['step'] or 0}"
        self._name = position["run"] if is_own else forked
        self._run = RunFolder(f"{self._base.runs_dir}/{self._name}")
        if not is_own and position["step"] is not None and not self._run.exists("config.json"):
            fork(donor, self._run, position["step"])
        self._reported = max((checkpoint.progress.step for checkpoint in complete_checkpoints(self._run)), default=0)

    def cleanup(self) -> None:
        """Ends a run that is under way: after a checkpoint where the whole sweep is stopped, for it will go on.

        Ray Tune waits ten minutes for this.
        """
        if self._stop_signal() is None:
            self._unwanted.set()
        if self._thread is not None:
            self._thread.join()

    def _config(self) -> RunConfig:
        return configured(self._base, self._sweep, self._draw).model_copy(update={"name": self._name})

    def _train(self) -> None:
        """The thread of the run. A UserError is the trial's own fault; but those of cluster and storage, like all other
        errors, are Ray Tune's to try again."""
        try:
            config = self._config()
            share_indices(self._base, config, self._run)
            train(config, check=self._check)
        except Ended:
            self._run.event("stopped early", reason=self._reason or "by the scheduler of the sweep")
        except StoppedError:
            self._is_stopped = True
        except (ClusterError, StorageError) as error:
            self._error = error
        except UserError as error:
            self._reason = str(error)
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()

    def _check(self) -> Signals | None:
        if self._unwanted.is_set():
            raise Ended
        return self._stop_signal()

    def _stop_signal(self) -> Signals | None:
        text = self._runs.read(STOP)
        return Signals[json.loads(text)["signal"]] if text else None

    def _last_report(self) -> dict[str, Any]:
        if self._error is not None:
            raise self._error
        rows = read_journal(self._run, METRICS)
        if self._is_stopped:  # nobody reads it: Ray Tune has ended its loop
            return self._report(rows) | {"state": "running", "reason": "", "done": False}
        state = {"state": "failed" if self._reason else "finished", "reason": self._reason, "done": True}
        report = self._report(rows) | state
        self._run.write(OUTCOME, json.dumps(report))
        return report

    def _report(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The newest value of each objective.

        `step_ms` is the median over all steps but the first, which warms up.
        """
        report: dict[str, Any] = {"step": max((row["step"] for row in rows), default=0)}
        for row in rows:
            wanted = {key: value for key, value in row.items() if key == "validation_loss" or key.startswith("eval/")}
            report |= {key: value for key, value in wanted.items() if value is not None}
        times = [row["step_ms"] + row["data_wait_ms"] for row in rows if "step_ms" in row][1:]
        if times:
            report["step_ms"] = median(times)
        if not self._reason:
            if self._added_parameters is None:
                self._added_parameters = added_parameters(self._config())
            report["added_parameters"] = self._added_parameters
        return report


def complete_lines(run: RunFolder) -> list[str]:
    """The lines of metrics.jsonl without the last one while it is being written."""
    return (run.read(METRICS) or "").split("\n")[:-1]


def validations(lines: list[str]) -> list[dict[str, Any]]:
    """The rows with a validation loss, which is None where it was not finite.

    Args:
        lines: of metrics.jsonl.
    """
    return list(json_lines(line for line in lines if '"validation_loss"' in line))  # few of many


def added_parameters(config: RunConfig) -> int:
    """Parameters that plain LLaVA does not have, from the configs alone."""
    model, injection = resolve_injection(config.model, config.injection)
    return cost(model, injection, typical_sample(model)).added_parameters


def share_indices(base: RunConfig, config: RunConfig, run: RunFolder) -> None:
    """Gives a new run the indices that the sweep made of the sources, where it reads the same ones."""
    sweep = Folder(base.runs_dir)
    for name, shared, own in zip(SHARED, _sources(base), _sources(config), strict=True):
        text = sweep.read(name)
        if text is not None and shared == own and not run.exists(name):
            run.write(name, text)


def _sources(config: RunConfig) -> tuple[Any, Any]:
    return config.data, config.validation_data


def fork(donor: RunFolder, run: RunFolder, step: int) -> None:
    """Begins a run with a checkpoint of another: that of `step`, or the newest where it is gone."""
    steps = [checkpoint.progress.step for checkpoint in complete_checkpoints(donor)]
    step = step if step in steps else max(steps)
    name = name_of(step)
    run.fs.create_dir(run.join(name), recursive=True)
    fs.copy_files(donor.join(name), run.join(name), source_filesystem=donor.fs, destination_filesystem=run.fs)
    for file in SHARED:
        if (text := donor.read(file)) is not None:
            run.write(file, text)
    run.append(METRICS, donor.metrics_until(step))
