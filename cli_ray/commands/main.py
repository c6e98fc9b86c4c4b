"""The command line, `cli-ray VERB ...`: finds the verb, runs it, and explains its errors.

Called by the installed command and by the scripts in jobs/. Verbs import torch and ray only once they run.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any, TextIO

import cli_ray
from cli_ray.console import VERBOSE, quiet_warnings
from cli_ray.errors import StoppedError, UserError, disk_fault
from cli_ray.signals import received, sigterm_interrupts
from cli_ray.text import columns

VERBS = {
    "demo": "cli_ray.commands.demo",
    "configs": "cli_ray.commands.configs",
    "doctor": "cli_ray.commands.doctor",
    "plan": "cli_ray.commands.plan",
    "train": "cli_ray.commands.train",
    "tune": "cli_ray.commands.tune",
    "runs": "cli_ray.commands.runs",
    "watch": "cli_ray.commands.watch",
    "why-slow": "cli_ray.commands.why_slow",
    "drill": "cli_ray.commands.drill",
    "data check": "cli_ray.commands.data_check",
    "data show": "cli_ray.commands.data_show",
    "data verify": "cli_ray.commands.data_verify",
    "export": "cli_ray.commands.export",
    "ask": "cli_ray.commands.ask",
    "chat": "cli_ray.commands.chat",
    "eval": "cli_ray.commands.eval",
    "judge": "cli_ray.commands.judge",
    "pipeline": "cli_ray.commands.pipeline",
    "serve": "cli_ray.commands.serve",
    "compare": "cli_ray.commands.compare",
    "report": "cli_ray.commands.report",
}
MEANINGS = {
    "demo": "train plain LLaVA and CLI on synthetic images, on this machine",
    "configs": "list the configs and sweeps that come along, or copy one",
    "doctor": "look at versions, GPUs, storage, memory and data of a cluster before a run; each finding has its fix",
    "plan": "what a run will need before it starts: memory, hours, price, and what fits where it does not",
    "train": "train a model as a TOML config says; the same command resumes",
    "tune": "search hyperparameters with Ray Tune as a TOML sweep says; the same command resumes",
    "runs": "list the runs, sweeps and results below a folder, with what became of each",
    "watch": "show how far a run, a sweep or an evaluation is that runs elsewhere, from its files",
    "why-slow": "say where the time of a run's steps went, and which field to change",
    "drill": "kill workers, nodes, drivers and storage of a training and compare the losses",
    "data check": "count, measure and audit a dataset before training on it",
    "data show": "show samples as the model sees them: the chat, what is supervised, the pictures",
    "data verify": "prove from a run's record that no sample came twice and none is missing",
    "export": "write a run's checkpoint as a Hugging Face folder",
    "ask": "put a question about images to a model",
    "chat": "talk to a model about images, in turns",
    "eval": "evaluate a model on benchmarks; the same command resumes",
    "judge": "put the stored replies of an evaluation to a judge",
    "pipeline": "train, export and evaluate in one; the same command goes on with what is not complete",
    "serve": "serve a model on Ray Serve with an OpenAI-compatible API, until it is stopped",
    "compare": "the paired difference of two evaluated models, with intervals",
    "report": "write one HTML file on runs, sweeps and results: curves, gates, scores, samples that flipped",
}

VERBOSE_VERBS = ("train", "tune", "eval", "export", "data check", "pipeline", "serve")
"""Verbs that take `--verbose`."""
VERBOSE_HELP = f"--verbose of {', '.join(VERBOSE_VERBS)}: print all that Ray and other libraries say, too."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Returns:
        The exit code: 0, 1 for an error that was explained, 2 for wrong usage, 128 + n when signal n stopped it.

    Raises:
        SystemExit: of tyro, with 0 or 2, when it has printed help or what is wrong with the words.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with redirect_stdout(Pipe(sys.stdout)) as out, redirect_stderr(Pipe(sys.stderr)), sigterm_interrupts():
        try:
            return _run(words)
        finally:
            out.flush()


def _run(words: list[str]) -> int:
    verb = next((verb for verb in VERBS if words[: len(verb.split())] == verb.split()), None)
    if verb is None:
        if words[:1] in (["--help"], ["-h"]):
            print(usage())
            return 0
        if words == ["--version"]:
            print(f"cli_ray {cli_ray.__version__}")
            return 0
        print(f"error: no verb {' '.join(words[:2])!r}\n\n{usage()}", file=sys.stderr)
        return 2
    words = words[len(verb.split()) :]
    if verb in VERBOSE_VERBS:
        words = without_verbose(words)
    try:
        run: Callable[[list[str]], None] = import_module(VERBS[verb]).main
        run(words)
    except StoppedError as error:
        print(error)
        return error.exit_code
    except BaseException as error:
        # Whatever a handler raises may come out of compiled code as another exception.
        if isinstance(error, KeyboardInterrupt) or received() is not None:
            stop = StoppedError(received() or signal.SIGINT, "stopped")
            print(stop)
            exec("")  # else Python, which remembers an interrupt that came out of an exec, ends by SIGINT instead
            return stop.exit_code
        message = reason(error)
        if message is None:
            raise
        print(explained(message, terminal=sys.stderr.isatty()), file=sys.stderr)
        return 1
    finally:
        if verb in VERBOSE_VERBS and {"-h", "--help"} & set(words):
            print(f"\n{VERBOSE_HELP}")
    return 0


def without_verbose(words: list[str]) -> list[str]:
    """The words without `--verbose`, once it has decided what libraries may print, here and in workers."""
    if "--verbose" in words:
        os.environ[VERBOSE] = "1"
    else:
        quiet_warnings()
    return [word for word in words if word != "--verbose"]


def reason(error: BaseException) -> str | None:
    """What an error that is not the program's fault says to people; None for other errors."""
    if isinstance(error, UserError):
        return str(error)
    return disk_fault(error) if isinstance(error, OSError) else None


def explained(reason: str, *, terminal: bool) -> str:
    """An error as people read it; where there is no terminal, as in the log of a job, the last line holds all of it.

    Args:
        reason: in one line or several.
        terminal: whether it is written to one.
    """
    lines = [line.strip(" -") for line in reason.splitlines()]
    text = f"error: {reason}"
    return text if terminal or len(lines) == 1 else f"{text}\nerror: {' | '.join(lines)}"


class Pipe:
    """A stream that may lose its reader, as with `| head` or a terminal that is closed: a run of hours does not end
    because nobody reads its lines.

    Args:
        stream: standard output or error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text; its length."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        """Writes what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Sends this and all later output nowhere, so that the interpreter can flush it at its end, too."""
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def usage() -> str:
    """The verbs with a line each."""
    return "\n".join(
        [
            "cli-ray: Cross-Layer Injection for LLaVA models on Ray",
            "",
            "usage: cli-ray VERB [arguments]",
            "       cli-ray --version",
            "",
            *columns(list(MEANINGS.items())),
            "",
            "cli-ray VERB --help lists the arguments of a verb.",
            VERBOSE_HELP,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
