"""Data that tests need and the repository does not hold: in `../shared`, or where CLI_RAY_SHARED says."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CLI_RAY_SHARED", Path(__file__).parents[2] / "shared"))


def needs(path: Path) -> pytest.MarkDecorator:
    """Skips a test where the path below `SHARED` is not there."""
    return pytest.mark.skipif(not path.exists(), reason=f"{path} is not there; CLI_RAY_SHARED names another folder")
