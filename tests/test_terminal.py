"""The console: terminals and plain streams, live views that harm nothing, and what of workers is printed."""

import io
import os
import pty
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

from cli_ray.cluster import quiet_workers, without_noise
from cli_ray.commands import train
from cli_ray.commands.main import Pipe, main
from cli_ray.console import VERBOSE, is_terminal, live_view, muted, progress_bar

OWN = "11-27 14:34:18 step 4/6 | loss 4.0913"
NOISE = [
    "/lib/ray/data/options.py:436: RayDeprecationWarning: `exclude_resources` is deprecated",
    "  self.exclude_resources = exclude_resources",
    "/lib/torch/x.py:3: FutureWarning: use another",
    "[2026-11-27 14:22:34,647 E 15673 15707] core_worker.cc:2465: Actor with class name: 'PreemptionWatcher' and ID",
    "Warning: The Ray cluster has no CPUs. The Dataset job will hang unless more CPUs are freed up.",
    "[2026-11-27 14:22:34,647] [INFO] [logging.py:96:log_dist] [Rank 0] DeepSpeed info: version=0.19",
]
TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/lib/torch/x.py", line 3, in forward',
    "    raise IndexError",
    "IndexError: index out of range in self",
    "UserWarning: the loss is not finite",
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """To be put in place of standard output or error, which pytest itself replaces after this."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


@pytest.fixture
def workers() -> Iterator[None]:
    """This process prints the lines of workers, although it has joined no cluster."""
    quiet_workers()
    yield
    dispatcher.remove_handler("ray_print_logs")


def emit(lines: list[str]) -> None:
    """A worker has printed these."""
    batch: dict[str, Any] = {"lines": lines, "pid": "77", "ip": "1.2.3.4", "localhost": "1.2.3.4", "is_err": False}
    dispatcher.emit({**batch, "actor_name": "RayTrainWorker", "task_name": None, "job": "01000000"})


def test_what_libraries_tell_programmers_is_left_out_and_errors_are_not() -> None:
    assert without_noise([OWN, *NOISE, *TRACEBACK]) == [OWN, *TRACEBACK]


@pytest.mark.usefixtures("workers")
def test_lines_of_workers_come_without_a_prefix_and_their_errors_with_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_COLOR_PREFIX", "0")
    emit([OWN, NOISE[0], NOISE[1], TRACEBACK[0], OWN])
    assert capsys.readouterr().out == f"{OWN}\n(RayTrainWorker pid=77) {TRACEBACK[0]}\n{OWN}\n"


def test_all_is_printed_where_it_is_to_be_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VERBOSE, "")
    monkeypatch.setattr(train, "main", lambda words: seen.append((words, os.environ[VERBOSE])))
    seen: list[tuple[list[str], str]] = []
    main(["train", "run.toml", "--verbose", "--seed", "1"])
    assert seen == [(["run.toml", "--seed", "1"], "1")]
    quiet_workers()
    assert not [name for name, _ in dispatcher.handlers if name == "ray_print_logs"]


@pytest.mark.parametrize("verb", ["train", "tune", "eval", "export", "data check", "pipeline", "serve"])
def test_each_verb_that_takes_verbose_says_so(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        main([*verb.split(), "--help"])
    assert capsys.readouterr().out.rstrip().endswith("print all that Ray and other libraries say, too.")


def test_other_verbs_do_not_take_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "a", "b", "--verbose"])
    assert "--verbose" in capsys.readouterr().err


def test_a_terminal_is_one_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert (is_terminal(Terminal()), is_terminal(io.StringIO())) == (True, False)
    monkeypatch.setenv("TERM", "dumb")
    assert not is_terminal(Terminal())


def show(terminal: Terminal, draw: Any) -> None:
    """Prints a line within a live view, once it was drawn."""
    drawn = threading.Event()

    def noted() -> Any:
        try:
            return draw()
        finally:
            drawn.set()

    with redirect_stdout(terminal), live_view(noted):
        assert drawn.wait(10)
        print("a line")


def test_lines_are_printed_above_a_live_view(terminal: Terminal) -> None:
    show(terminal, lambda: "the state of the run")
    assert terminal.getvalue().index("a line") < terminal.getvalue().rindex("the state of the run")
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")  # the cursor is shown


class Unrenderable:
    """A fault of a view."""

    def __rich_console__(self, *arguments: Any) -> Iterator[str]:
        raise ZeroDivisionError


@pytest.mark.parametrize("draw", [lambda: 1 / 0, lambda: Unrenderable(), lambda: Path("/absent").read_text()])
def test_a_view_that_cannot_be_drawn_is_left_out(terminal: Terminal, draw: Any) -> None:
    show(terminal, draw)
    assert "a line" in terminal.getvalue()
    assert "Error" not in terminal.getvalue()


def test_a_live_view_hides_no_error_of_what_it_shows(terminal: Terminal) -> None:
    with pytest.raises(KeyError, match="the run failed"), redirect_stdout(terminal), live_view(lambda: ""):
        raise KeyError("the run failed")


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with live_view(lambda: pytest.fail("it draws")), progress_bar() as bar:
        bar.advance(bar.add_task("reading", total=2))
        print("a line")
    assert capsys.readouterr() == ("a line\n", "")


@pytest.mark.parametrize(("verbose", "printed"), [("", ""), ("1", "a bar\n")])
def test_a_library_that_is_muted_prints_nothing_unless_it_is_to_be_verbose(
    verbose: str, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VERBOSE, verbose)
    with muted():
        print("a bar")
    assert capsys.readouterr().out == printed


def test_progress_is_drawn_on_a_terminal(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress_bar() as bar:
        bar.update(bar.add_task("reading [1/2]", total=2), completed=2)
    assert "reading [1/2]" in terminal.getvalue()


def test_output_outlives_a_terminal_that_is_closed() -> None:
    controller, end = pty.openpty()
    with os.fdopen(os.dup(end), "w") as file:
        os.close(end)
        stream = Pipe(file)
        os.close(controller)
        for _ in range(3):
            stream.write("a line\n")
            stream.flush()
