"""A kill at its moment, and what follows."""

import time

from cli_ray.drill.job import Job
from cli_ray.drill.kill import strike
from cli_ray.drill.plan import Kill
from cli_ray.drill.site import Site


class Strike:
    """A kill and what follows, until the run is further than it was."""

    def __init__(self, kill: Kill, job: Job, site: Site) -> None:
        self._kill, self._job, self._site = kill, job, site
        self.step = 0
        """The last one logged before the kill, or before its effect."""
        self.redone = 0
        self.recovery_s: float | None = None

    def deal(self) -> None:
        """Waits for the moment, kills, and waits for the next new step."""
        job, record = self._job, self._job.record
        job.until(lambda: record.step >= self._kill.step)
        time.sleep(self._kill.delay_s)
        self.step, starts, began = record.step, len(record.starts), time.monotonic()
        strike(self._kill, job, self._site)
        if self._kill.kind != "storage":
            job.until(lambda: self._begun_again(starts) or job.ended())
        job.until(lambda: record.step > self.step or job.ended())
        if record.step > self.step:
            self.recovery_s = time.monotonic() - began
        for start in record.starts[max(starts, 1) :]:
            self.redone = max(self.redone, self.step - start)

    def _begun_again(self, starts: int) -> bool:
        """Whether the workers have started once more. A step that was under way at the kill may end before that."""
        if len(self._job.record.starts) > starts:
            return True
        self.step = max(self.step, self._job.record.step)
        return False
