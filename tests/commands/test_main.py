import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

import cli_ray
from cli_ray.commands import compare, main
from cli_ray.errors import UserError
from cli_ray.preflight import check_output

# Runs a verb and prints the heavy modules that it imported.
PROBE = """
import sys
from cli_ray.commands.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as exit:
    code = exit.code
print("HEAVY", sorted({"torch", "ray", "transformers", "deepspeed"} & set(sys.modules)), "CODE", code)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "usage: cli-ray VERB"),
        (["--version"], 0, "cli_ray 0."),
        (["train", "--help"], 0, "--optim.llm.lr"),
        (["export", "--help"], 0, "--keep-lora"),
        (["demo", "--help"], 0, "usage: cli-ray demo"),
        (["configs"], 0, "llava15_7b_lora"),
        (["doctor", "--help"], 0, "--runs-dir"),
        (["pipeline", "--help"], 0, "--miniature"),
        (["pipeline"], 1, "name a config first"),
        (["drill", "--help"], 0, "--times"),
        (["data", "check", "--help"], 0, "usage: cli-ray data check"),
        (["train"], 1, "name a config first"),
        (["train", "absent.toml"], 1, "absent.toml: no such file"),
        (
            ["judge", "somewhere", "--judge.concurrency", "0"],
            1,
            "--judge.concurrency: must be greater than or equal to 1",
        ),
        (["compare", "a", "b", "--flips", "-1"], 1, "error: --flips: must be greater than or equal to 0"),
        (["demo", "--steps", "many"], 2, "--steps"),
        (["fly"], 2, "no verb 'fly'"),
    ],
)
def test_help_and_errors_import_neither_torch_nor_ray(arguments: list[str], code: int, text: str) -> None:
    done = run(*arguments)
    assert f"HEAVY [] CODE {code}" in done.stdout, done.stderr
    assert text in done.stdout + done.stderr


def test_a_wrong_config_is_told_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "a"\n[model]\ncheckpoint = "tiny"\n[[data.sources]]\npath = "a.tar"\n[optim]\nrate = 1\n')
    done = run("train", str(path))
    assert "HEAVY [] CODE 1" in done.stdout
    assert f"error: {path}: optim.rate: unknown field" in done.stderr


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, cli_ray, cli_ray.config; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/full/a.json"), "/full/a.json: No space left on device; m"),
        (OSError(errno.ENOSPC, "Error writing bytes to file"), "Error writing bytes to file; make room"),
        (OSError(errno.EDQUOT, "", "/full"), "/full: Disk quota exceeded; make room"),
        (OSError(errno.EROFS, "", "/cd"), "/cd: Read-only file system; mount it"),
        (PermissionError(errno.EACCES, "", "/root"), "/root: Permission denied; let this user"),
        (PermissionError(errno.EPERM, "", "/sys/y"), "/sys/y: Operation not permitted; choose another folder"),
        (NotADirectoryError(errno.ENOTDIR, "", "/a/b"), "/a/b: Not a directory; choose a folder"),
        (RayTaskError("task", "trace", OSError(errno.ENOSPC, "", "/full")).as_instanceof_cause(), "/full: No space"),
    ],
)  # fmt: skip
def test_a_full_or_locked_disk_is_told(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> None:
        raise error

    monkeypatch.setattr(compare, "main", fail)
    assert main.main(["compare", "a", "b"]) == 1
    written = capsys.readouterr().err
    assert written.startswith(f"error: {told}")
    assert written.endswith(", then the same command goes on\n")


def test_the_last_line_of_a_log_holds_the_whole_reason() -> None:
    reason = "these fields differ:\n  optim.llm.lr: 0.1 there\nGive another name"
    assert main.explained(reason, terminal=True) == f"error: {reason}"
    lines = main.explained(reason, terminal=False).splitlines()
    assert lines[0] == "error: these fields differ:"
    assert lines[-1] == "error: these fields differ: | optim.llm.lr: 0.1 there | Give another name"
    assert main.explained("one line", terminal=False) == "error: one line"


def test_other_faults_of_files_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> None:
        raise OSError(errno.EIO, "Input/output error", "/broken")

    monkeypatch.setattr(compare, "main", fail)
    with pytest.raises(OSError, match="/broken"):
        main.main(["compare", "a", "b"])


def sleeping() -> None:
    signal.raise_signal(signal.SIGTERM)


def in_compiled_code() -> None:
    """As Ray's compiled parts turn what a handler raises."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as interrupt:
        raise SystemError("returned a result with an exception set") from interrupt


def while_something_else_fails() -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as interrupt:
        raise UserError("no reply") from interrupt


@pytest.mark.parametrize("run", [sleeping, in_compiled_code, while_something_else_fails])
def test_sigterm_ends_with_its_sentence(
    run: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "main", lambda words: run())
    before = signal.getsignal(signal.SIGTERM)
    assert main.main(["compare", "a", "b"]) == 143
    assert capsys.readouterr() == ("stopped by SIGTERM; the same command goes on\n", "")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("module", ["cli_ray", "cli_ray.commands.main"])
def test_the_version_is_that_of_the_package_and_python_runs_it_by_name(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"cli_ray {cli_ray.__version__}\n"


def test_sigterm_during_an_import_is_143() -> None:
    """Classes are made by `exec`, and Python remembers an interrupt there."""
    code = (
        "import os, signal, sys; from cli_ray.commands import compare, main\n"
        "compare.main = lambda words: exec('os.kill(os.getpid(), signal.SIGTERM)', {'os': os, 'signal': signal})\n"
        "sys.exit(main.main(['compare', 'a', 'b']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "stopped by SIGTERM; the same command goes on\n")


def test_output_without_a_reader_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "cli_ray", "--help"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("verb", ["train", "tune", "pipeline", "drill", "doctor"])
def test_a_folder_is_no_config(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([verb, str(tmp_path), *(["--output", "x"] if verb == "pipeline" else [])]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: cannot be read: Is a directory\n"


CONFIG = 'name = "a"\n[model]\ncheckpoint = "tiny"\n[[data.sources]]\npath = "a.tar"\n'
SWEEP = 'name = "b"\nbase = "run.toml"\n[space]\n"optim.amp.lr" = [1e-4, 1e-3]\n'


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["train", "run.toml"], "--runs-dir"),
        (["tune", "sweep.toml"], "--sweeps-dir"),
        (["pipeline", "run.toml", "--output", "out"], "--runs-dir"),
        (["pipeline", "run.toml"], "--output"),
        (["drill", "run.toml", "--kill", "worker"], "--runs-dir"),
        (["export", "run"], "--output"),
        (["eval", "--model", "x"], "--output"),
        (["demo"], "--output"),
        (["compare", "a", "b"], "--output"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_first(
    words: list[str], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("run.toml", CONFIG), ("sweep.toml", SWEEP), ("file", "")):
        Path(name).write_text(text)
    assert main.main([*words, option, "file/below"]) == 1
    told = "cannot be written: Not a directory; name a folder that can"
    assert capsys.readouterr().err == f"error: {option} file/below {told}\n"


@pytest.mark.parametrize("folder", ["/proc/x", "file", "file/below", "foo://x"])
def test_looking_at_a_folder_leaves_nothing_there(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    check_output("--output", "there/and/below")
    with pytest.raises(UserError, match=rf"--output {folder} cannot be (written|used): .*; name a"):
        check_output("--output", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
