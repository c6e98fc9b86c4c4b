"""The drill: a training run undisturbed, then once for each kill. Called by `cli-ray drill`."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cli_ray.drill.job import Job, JobError
from cli_ray.drill.kill import Strike
from cli_ray.drill.outcome import Outcome, SampleCounts, difference
from cli_ray.drill.plan import Course, Kill
from cli_ray.drill.site import Site

SLACK_S = 120.0
"""A disturbed run hangs without a sign of life for three times the length of the undisturbed one, and for so long."""


class Drill:
    """Runs of one config on a site; construction trains the undisturbed one.

    Args:
        words: of the command, behind `cli-ray train`.
        every: steps between its checkpoints.
        runs_dir: where all runs go.
        patience_s: the undisturbed run hangs when it gives no sign of life for so long.
        count: the samples of a run folder that came twice or are missing.

    Raises:
        JobError: the undisturbed run failed.
    """

    def __init__(
        self,
        site: Site,
        words: Sequence[str],
        every: int,
        runs_dir: Path,
        patience_s: float,
        count: Callable[[Path], SampleCounts | None],
    ) -> None:
        self._site, self._words, self._runs_dir, self._count = site, words, runs_dir, count
        self._runs = 0
        with self._job("undisturbed", patience_s) as job:
            self.course = _course(job, every)
            self._losses = job.files.losses

    def disturbed(self, kill: Kill) -> Outcome:
        """Another run, with one kill."""
        self._runs += 1
        with self._job(f"{self._runs:02}-{kill.kind}", SLACK_S + 3 * self.course.whole_s) as job:
            strike, fault = Strike(kill, job, self._site), ""
            try:
                strike.deal()
                job.until(job.ended)
            except JobError as error:
                fault = str(error)
            return Outcome(
                kill=kill,
                step=strike.step,
                redone=strike.redone,
                recovery_s=strike.recovery_s,
                whole_s=time.monotonic() - job.began,
                difference=difference(self._losses, job.files.losses),
                samples=self._count(job.files.folder),
                exit_code=job.driver.poll(),
                fault=fault,
            )

    def _job(self, name: str, patience_s: float) -> Job:
        return Job(self._words, self._runs_dir, name, self._site.address, patience_s)


def _course(job: Job, every: int) -> Course:
    """How the undisturbed run went; waits until it has ended."""
    start_s = job.until(lambda: job.files.step > 0)
    last = (job.files.step, start_s)
    first = last

    def look() -> bool:
        nonlocal last
        if job.files.step > last[0]:
            last = (job.files.step, time.monotonic() - job.began)
        return job.ended()

    whole_s = job.until(look)
    step_s = (last[1] - start_s) / max(1, last[0] - first[0])
    return Course(last[0], every, start_s, step_s, whole_s)
