"""A kill at its moment, and what follows."""

import time

from cli_ray.drill import kill as kills
from cli_ray.drill.job import Job
from cli_ray.drill.outage import Outage
from cli_ray.drill.plan import Kill
from cli_ray.drill.site import Site


class Strike:
    """A kill and what follows, until the run is further than it was."""

    def __init__(self, kill: Kill, job: Job, site: Site) -> None:
        self._kill, self._job, self._site = kill, job, site
        self.step = 0
        """The last one logged before the kill, or before its effect."""
        self.redone = 0
        """Steps that were trained a second time."""
        self.recovery_s: float | None = None
        """From the kill to the next new step; None when there was none."""

    def deal(self) -> None:
        """Waits for the moment, kills, and waits for the next new step."""
        job, record = self._job, self._job.record
        job.until(lambda: record.step >= self._kill.step)
        time.sleep(self._kill.delay_s)
        self.step, starts = record.step, len(record.starts)
        if self._kill.kind == "storage":
            self._take_storage_away()
        else:
            dealt = kills.end(self._kill, job, self._site)
            job.until(lambda: self._begun_again(starts) or job.ended())
            self._recover(dealt)
        for start in record.starts[max(starts, 1) :]:
            self.redone = max(self.redone, self.step - start)

    def _take_storage_away(self) -> None:
        """No checkpoint can be written or read until some seconds after the next one was due."""
        job, kill = self._job, self._kill
        with Outage(job.record.folder / "checkpoints"):
            self._recover(time.monotonic())
            job.until(lambda: job.record.step >= kill.due or job.ended())
            back = time.monotonic() + kill.outage_s
            job.until(lambda: time.monotonic() > back or job.record.step >= kill.back_by or job.ended())

    def _recover(self, dealt: float) -> None:
        job = self._job
        job.until(lambda: job.record.step > self.step or job.ended())
        if job.record.step > self.step:
            self.recovery_s = time.monotonic() - dealt

    def _begun_again(self, starts: int) -> bool:
        """Whether the workers have started once more. A step that was under way at the kill may end before that."""
        if len(self._job.record.starts) > starts:
            return True
        self.step = max(self.step, self._job.record.step)
        return False
