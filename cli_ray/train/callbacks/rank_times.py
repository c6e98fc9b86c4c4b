"""Writes where the time of the steps went on each rank, for `cli-ray why-slow`; on rank 0."""

import json
import time

import torch

from cli_ray.data.share import Share
from cli_ray.storage.lines import Journal, now
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.rank_table import TIMES
from cli_ray.train.run_folder import RANKS

EVERY_S = 30.0
"""Between two lines, so that many ranks and steps make no large file."""
COLUMNS = ("step_ms", *TIMES, "flops", "real_tokens", "positions")


class RankTimes(Callback):
    """A line in ranks.jsonl every so often: of each rank, the mean over the steps that were logged since the line
    before. The first one of a start is left out, for it warms up."""

    def on_start(self, loop: TrainLoop) -> None:
        self._file = Journal(loop.folder, RANKS)
        self._written = time.monotonic()
        self._tables: list[torch.Tensor] = []
        self._is_warm = False

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if metrics is None or loop.ranks is None:
            return
        if not self._is_warm:
            self._is_warm = True
            return
        self._tables.append(torch.stack([loop.ranks.column(name) for name in COLUMNS]))
        if time.monotonic() - self._written >= EVERY_S:
            self._write(loop)

    def on_end(self, loop: TrainLoop) -> None:
        self._write(loop)
        self._file.close()

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        self._write(loop)

    def _write(self, loop: TrainLoop) -> None:
        if not self._tables:
            return
        means_KR = torch.stack(self._tables).mean(0)
        ranks = {name: [round(value, 3) for value in row.tolist()] for name, row in zip(COLUMNS, means_KR, strict=True)}
        line = {"time": now(), "step": loop.progress.step, "steps": len(self._tables), **ranks}
        self._file.add(json.dumps(line, allow_nan=False))
        self._written, self._tables = time.monotonic(), []
