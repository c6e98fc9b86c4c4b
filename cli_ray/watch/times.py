"""Where the time of a run's steps went, from metrics.jsonl and ranks.jsonl; `slowness` finds the causes in it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import fmean
from typing import Any

from cli_ray.errors import UserError
from cli_ray.storage.lines import journal_end, read_journal
from cli_ray.train.run_folder import METRICS, RANKS
from cli_ray.watch.history import RunHistory

LOOKED_AT = 1 << 25
"""Bytes of metrics.jsonl: what made a run slow weeks ago matters no more."""
PHASES = {
    "data_wait_ms": "waiting for data",
    "forward_ms": "forward",
    "backward_ms": "backward",
    "optimizer_ms": "optimizer",
    "rank_wait_ms": "waiting for other ranks, exchange",
}
"""Parts of a step that each rank has, by their metric."""
BESIDE = {
    "Checkpointer": "checkpoint",
    "Validator": "validation",
    "ResultJoiner": "evaluation",
    **dict.fromkeys(("metrics", "MetricsFile", "RankTimes", "Console", "SlowRank", "Tracker"), "metrics"),
}
"""Parts between two steps, by the callback that takes the time."""
COLLATING = "collating and the rest of the step"
OTHERS = "other callbacks"
REST = "between the steps, not measured"

Row = dict[str, Any]


@dataclass(frozen=True)
class StepTimes:
    """The time of the steps of a run, means over the logged steps, in milliseconds."""

    pairs: list[tuple[Row, Row]]
    """The lines of metrics.jsonl of neighbouring logged steps of one start. The first step of a start warms up, and is
    no second one of a pair."""
    ranks: list[dict[str, float]]
    """By rank, each part of `PHASES`, `compute_ms` and `flops`; empty where the folder does not have them."""

    @property
    def covered(self) -> int:
        """Steps that the pairs cover, those between two logged ones included."""
        return sum(after["step"] - before["step"] for before, after in self.pairs)

    @property
    def whole_ms(self) -> float:
        """Of a step, with all that came between it and the next one."""
        return sum(_moment(after) - _moment(before) for before, after in self.pairs) * 1e3 / self.covered

    def mean(self, name: str) -> float:
        """The mean of a metric; 0 where no line has it."""
        values = [after[name] for _, after in self.pairs if after.get(name) is not None]
        return fmean(values) if values else 0.0

    def beside(self) -> dict[str, float]:
        """By part, what was done between the steps, as milliseconds of each step."""
        sums: Counter[str] = Counter()
        for _, after in self.pairs:
            for name, value in after.items():
                if name.startswith("beside_ms/"):
                    sums[BESIDE.get(name[10:], OTHERS)] += value
        return {part: value / self.covered for part, value in sums.items()}

    def parts(self) -> dict[str, float]:
        """What the time of a step went to on the mean rank, by part; the sum is the whole."""
        typical = self._mean_rank()
        parts = {title: typical[name] for name, title in PHASES.items()}
        known = sum(typical[name] for name in ("forward_ms", "backward_ms", "optimizer_ms"))
        parts |= {COLLATING: max(0.0, typical["compute_ms"] - known), **self.beside()}
        return parts | {REST: max(0.0, self.whole_ms - sum(parts.values()))}

    def _mean_rank(self) -> dict[str, float]:
        names = (*PHASES, "compute_ms")
        if self.ranks:
            return {name: fmean(rank[name] for rank in self.ranks) for name in names}
        return {name: self.mean(f"{name}/median") for name in names}

    def most(self, name: str) -> tuple[int, float]:
        """The rank that was largest in a metric most often, and in which share of the logged steps."""
        counts = Counter(after[f"{name}/rank"] for _, after in self.pairs if f"{name}/rank" in after)
        rank, count = counts.most_common(1)[0] if counts else (0, 0)
        return rank, count / len(self.pairs)


def step_times(run: RunHistory) -> StepTimes:
    """The times of the last steps of a run.

    Raises:
        UserError: it has not logged two steps of one start yet.
    """
    rows = [row for row in journal_end(run.folder, METRICS, LOOKED_AT) if "step_ms" in row]
    begins = [event["time"] for event in run.events if event["event"] == "begin"]
    pairs = list(_pairs(rows, begins))
    if not pairs:
        raise UserError(
            f"{run.folder.uri} has no two logged steps of one start yet, so nothing tells how long they take"
        )
    return StepTimes(pairs, _ranks(read_journal(run.folder, RANKS)))


def outside_s(run: RunHistory) -> dict[str, float]:
    """Seconds of a run that are none of its steps: its starts, and from the last step to the end.

    An evaluation goes on beside the steps where the cluster has room, else in the second of the two.
    """
    starting, since = 0.0, None
    for event in run.events:
        if event["event"] in ("start", "resume", "restart", "fault", "preempted"):
            since = since or _moment(event)
        elif event["event"] == "begin" and since is not None:
            starting, since = starting + _moment(event) - since, None
    steps = run.steps()
    ended = _moment(run.events[-1]) - _moment(steps[-1]) if steps and run.state.name == "ended" else 0.0
    return {"starting": starting, "from the last step to the end (last checkpoint, evaluation)": max(0.0, ended)}


def _pairs(rows: Sequence[Row], begins: Sequence[str]) -> Iterator[tuple[Row, Row]]:
    """Neighbouring rows without a start of the workers between them."""
    for before, after in pairwise(rows):
        if after["step"] > before["step"] and not any(before["time"] < begin < after["time"] for begin in begins):
            yield before, after


def _ranks(lines: Sequence[Row]) -> list[dict[str, float]]:
    """The means of each rank over the lines that have as many ranks as the last one, for a run may be resized."""
    if not lines:
        return []
    size = len(lines[-1]["step_ms"])
    alike = [line for line in lines if len(line["step_ms"]) == size]
    total = sum(line["steps"] for line in alike)

    def mean(name: str, rank: int) -> float:
        return float(sum(line["steps"] * line[name][rank] for line in alike) / total)

    return [{name: mean(name, rank) for name in (*PHASES, "compute_ms", "flops")} for rank in range(size)]


def _moment(row: Row) -> float:
    return datetime.fromisoformat(row["time"]).timestamp()
