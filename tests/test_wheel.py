"""The wheel, installed elsewhere and used from a folder that has a package `evals` of its own, as openai/evals has."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.train.environment import PACKAGE, code_hash

ROOT = Path(__file__).parents[1]
PARTS = ("cli_ray", "evals", "jobs", "pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"
IMPORT = """
import sys
import cli_ray.evals.run, cli_ray.train.worker, cli_ray.tune.sweep
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "cli_ray"]
print(len(files), sorted({file.split("/cli_ray/")[0] for file in files}))
"""
RUN = """
name = "run"
[model]
checkpoint = "tiny"
[injection]
vision_layers = { count = 2 }
decoder_layers = { count = 2 }
[data]
max_length = 256
[[data.sources]]
path = "shards/*.tar"
[train]
global_batch_size = 4
micro_batch_size = 4
max_steps = 2
precision = "fp32"
[cluster]
gpus_per_worker = 0
"""


def build(source: Path, kind: str, target: Path) -> Path:
    """Builds an sdist or a wheel, without the network."""
    target.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, kind, str(target)], cwd=source, capture_output=True, check=True)
    [built] = target.iterdir()
    return built


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads, for the build leaves folders beside it."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", tmp_path_factory.mktemp("built") / "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put it, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, check=True)
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A working directory with packages that bear our folders' names."""
    for name in ("evals", "tests", "jobs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'raise ImportError("{name} of somebody else")\n')
    return tmp_path


def run(installed: Path, folder: Path, *words: str) -> str:
    """What Python prints in a folder, with the installed package alone."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_takes_one_name(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} <= {"cli_ray", "bin"}
    assert code_hash(installed / "cli_ray") == code_hash(PACKAGE)


def test_the_wheel_brings_configs_and_sweeps(installed: Path, elsewhere: Path) -> None:
    for kind in ("configs", "sweeps"):
        brought = {path.name: path.read_bytes() for path in (installed / "cli_ray/recipes" / kind).iterdir()}
        assert brought == {path.name: path.read_bytes() for path in (ROOT / "jobs" / kind).iterdir()}
    run(installed, elsewhere, "-m", "cli_ray", "configs", "tiny", "run.toml")
    assert (elsewhere / "run.toml").read_bytes() == (ROOT / "jobs/configs/tiny.toml").read_bytes()


def test_the_wheel_of_an_sdist_is_that_of_the_checkout(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(checkout, "sdist", tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    [source] = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(build(source, "wheel", tmp_path / "wheel")) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


@pytest.mark.slow
def test_another_package_called_evals_takes_nothing_from_the_wheel(installed: Path, elsewhere: Path) -> None:
    count, *files = run(installed, elsewhere, "-c", IMPORT).splitlines()[-1].split(maxsplit=1)
    assert int(count) > 100
    assert files == [str([str(installed)])]
    assert "paper18: " in run(installed, elsewhere, "-m", "cli_ray", "eval", "--list")


@pytest.mark.long
def test_a_training_by_the_wheel_beside_another_evals(installed: Path, elsewhere: Path) -> None:
    write_tar(synthesize(8, seed=0, split="train"), elsewhere / "shards", shard_size=8)
    (elsewhere / "run.toml").write_text(RUN)
    told = run(installed, elsewhere, "-m", "cli_ray", "train", "run.toml")
    assert "is done: 2 steps, 8 samples" in told
