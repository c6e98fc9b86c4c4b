"""What the tests of cluster/ share: its folder, its YAML files and the versions that it has to agree with."""

from pathlib import Path
from typing import Any

import yaml

import cli_ray

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
JOBS = ("train", "tune", "evaluate", "pipeline")


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML stream."""
    return list(yaml.safe_load_all(text))


def uncommented(path: str, mark: str) -> str:
    """A file of cluster/ with the lines in it that begin with `#MARK `."""
    text = (CLUSTER / path).read_text()
    assert f"#{mark} " in text
    return text.replace(f"#{mark} ", "")


def load(path: str) -> dict[str, Any]:
    """The one document of a file of cluster/."""
    (document,) = documents((CLUSTER / path).read_text())
    return document


def pinned(package: str) -> str:
    """The version of a package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)[package]


def image_tag() -> str:
    """The tag of the image of cluster/docker: the version of cli_ray."""
    return cli_ray.__version__
