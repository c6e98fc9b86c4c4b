"""docs/tutorial.md, followed to the letter by somebody without data of their own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import DOCS
from tests.jobs.heads import Head

BLOCK = re.compile(r"^```(?:python|toml|bash)\n(?:# (\w+\.(?:py|toml))\n)?(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = {"cli-ray": [sys.executable, "-m", "cli_ray"], "python": [sys.executable]}
LEFT_OUT = {"source", "pip", "ray"}
"""There is an environment, and a head."""


def follow(line: str, folder: Path, head: Head) -> None:
    """Runs a line that a reader types."""
    command, *arguments = shlex.split(line, comments=True)
    if command in LEFT_OUT:
        return
    environment = os.environ | {"RAY_ADDRESS": head.address}
    words = [*COMMANDS[command], *arguments]
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(f"$ {line}\n{done.stdout}")
    assert done.returncode == 0, f"{line}\n{done.stdout}"


@pytest.mark.slow
def test_the_tutorial_leads_from_data_to_a_report(head: Head, tmp_path: Path) -> None:
    for name, text in BLOCK.findall((DOCS / "tutorial.md").read_text()):
        if name:
            (tmp_path / name).write_text(text)
        else:
            for line in text.splitlines():
                follow(line, tmp_path, head)
    report = (tmp_path / "report.html").read_text()
    for line in (
        "plain: ended at step 30 with loss",
        "cli: ended at step 30 with loss",
        "cli against plain: not told apart on 3 of 3 benchmarks",
    ):
        assert line in report
