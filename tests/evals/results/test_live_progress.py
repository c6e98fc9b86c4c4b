"""Progress: few plain lines into files, one table on terminals, and never the end of a run."""

import io

import pytest

from cli_ray.evals.generation.job import PoolState
from cli_ray.evals.results.aggregate import row
from cli_ray.evals.results.progress import Progress
from tests.evals.results.outputs import made, samples
from tests.said import said

ROW = row(made(), samples([1, 0, 1, 1], per_cluster=2), 4, "lmms-eval/0.7.3")


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_plain_lines_are_few_and_whole() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock) as progress:
        progress.start("toy", 1_004, 4)
        progress.start("later", 2_000, 0)
        for _ in range(25):
            progress.advance("toy", 10)
            clock.now_s += 1
        progress.finish(ROW)
    assert said(stream.getvalue()) == [
        "evaluation 114/3,004 samples | 10.0 samples/s | 4 min 49 s left | toy 114/1,004",
        "evaluation 214/3,004 samples | 10.0 samples/s | 4 min 39 s left | toy 214/1,004",
        "TOY: accuracy 75.00 ± 25.00 (4/4 scored)",
    ]


def test_what_an_earlier_call_did_is_not_in_the_rate() -> None:
    clock = Clock()
    progress = Progress(io.StringIO(), clock)
    progress.start("toy", 2_000, 1_000)
    assert progress.sum().rate(clock()) is None
    progress.advance("toy", 16)
    assert progress.sum().rate(clock()) is None
    clock.now_s += 4
    progress.advance("toy", 8)
    assert progress.counts["toy"].rate(clock()) == progress.sum().rate(clock()) == 2
    assert (progress.sum().done, progress.sum().total) == (1_024, 2_000)


def test_a_benchmark_that_an_earlier_call_completed() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.finish(ROW)
    assert said(stream.getvalue()) == ["TOY: accuracy 75.00 ± 25.00 (4/4 scored)"]
    assert progress.sum().done == 4


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream, clock = Terminal(), Clock()
    with Progress(stream, clock) as progress:
        progress.start("toy", 4, 0)
        progress.start("later", 2_000, 0)
        progress.advance("later", 100)
        clock.now_s += 10
        progress.advance("later", 100)
        progress.finish(ROW)
    last = stream.getvalue()[stream.getvalue().rindex("benchmark") :]
    shown = [[cell.strip() for cell in line.split("│")[1:-1]] for line in last.splitlines() if "│" in line]
    assert ["later", "200/2,000", "10.0", "3 min 00 s", ""] in shown
    assert ["TOY", "0/4", "", "", "75.00 ± 25.00"] in shown
    assert ["all", "200/2,004", "10.0", "3 min 00 s", ""] in shown


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.finish(ROW)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_lines_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(stream, live=False) as progress:
        progress.finish(ROW)
    assert said(stream.getvalue()) == ["TOY: accuracy 75.00 ± 25.00 (4/4 scored)"]


def test_plain_lines_tell_of_replicas_when_a_wait_begins_or_ends_or_one_dies() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.start("toy", 4, 0)
        for state in [
            (0, 2, 0),
            (0, 3, 0),
            (1, 2, 0),
            (2, 1, 0),
            (3, 0, 0),
            (2, 1, 1),
            (3, 0, 1),
            (1, 0, 1),
            (0, 0, 1),
        ]:
            progress.replicas(PoolState(*state))
    assert said(stream.getvalue()) == [
        "replicas: 0 ready, 2 starting or waiting for room",
        "replicas: 1 ready, 2 starting or waiting for room",
        "replicas: 2 ready, 1 starting or waiting for room, 1 lost",
    ]


def test_a_cluster_without_room_is_reported() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.replicas(PoolState(0, 0, 0))
    assert said(stream.getvalue()) == ["replicas: 0 ready, none starting, for the cluster has no room"]


@pytest.mark.parametrize(("done", "shown"), [(3, True), (4, False)])
def test_the_table_shows_replicas_while_samples_are_left(
    monkeypatch: pytest.MonkeyPatch, done: int, shown: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.start("toy", 4, done)
        progress.replicas(PoolState(1, 2, 1))
    last = stream.getvalue()[stream.getvalue().rindex("benchmark") :]
    assert ("replicas: 1 ready, 2 starting or waiting for room, 1 lost" in last) is shown


def test_what_the_work_used_stands_behind_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, 5.0, 11.0, 11.0))
    lines, table = io.StringIO(), Terminal()
    with Progress(lines, clock=lambda: next(times, 11.0)) as progress:
        progress.start("toy", 4, 0)
        progress.note("7 tokens")
        progress.advance("toy", 1)
        progress.advance("toy", 1)
    assert said(lines.getvalue())[-1].endswith(" | 7 tokens")
    monkeypatch.setenv("TERM", "xterm")
    with Progress(table) as progress:
        progress.start("toy", 4, 0)
        progress.note("7 tokens")
    assert "7 tokens" in table.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_failing_run_ends_the_display(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def fail() -> None:
        with Progress(stream) as progress:
            progress.start("toy", 4, 0)
            raise KeyError("node lost")

    with pytest.raises(KeyError, match="node lost"):
        fail()
    if stream.isatty():
        assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex(
            "\x1b[?25l"
        )  # the cursor is shown again


def test_a_run_outlives_its_reader() -> None:
    with Progress(Closed()) as progress:
        progress.finish(ROW)
    assert progress.counts["toy"].row == ROW
