import errno
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from cli_ray.commands import compare, main

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
        (["train", "--help"], 0, "--optim.llm.lr"),
        (["export", "--help"], 0, "--keep-lora"),
        (["demo", "--help"], 0, "usage: cli-ray demo"),
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
