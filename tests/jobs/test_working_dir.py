"""What `ray job submit --working-dir .` sends to the cluster."""

import shutil
import zipfile
from pathlib import Path

from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 5 << 20


def packed(folder: Path, package: Path) -> list[str]:
    """Names of the files that Ray packs of a folder, as `ray job submit` does."""
    create_package(str(folder), package, include_gitignore=True)
    with zipfile.ZipFile(package) as files:
        return [name for name in files.namelist() if not name.endswith("/")]


def test_the_package_holds_the_code_and_is_small(tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    names = packed(ROOT, package)
    assert package.stat().st_size < LARGEST_BYTES
    assert {"cli_ray/commands/main.py", "cli_ray/evals/run.py", "jobs/train.py", "jobs/configs/tiny.toml"} <= set(names)
    kept_out = {".git", ".venv", "runs", "results", "tests", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    assert {name.split("/")[0] for name in names}.isdisjoint(kept_out)
    assert not [name for name in names if "__pycache__" in name]


def test_data_runs_and_caches_stay_behind(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in (".rayignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    code = ["jobs/train.py", "cli_ray/errors.py", "jobs/configs/tiny.toml"]
    data = [
        "runs/first/checkpoints/step-1/deepspeed/a.pt", "results/model/results.json", "shards/1.tar", "a.parquet",
        "models/first/model.safetensors", "wandb/log", "mlruns/0/meta.yaml", ".venv/bin/python", ".git/HEAD",
        "tests/test_a.py", "cli_ray/__pycache__/errors.cpython-311.pyc", ".env", "hub/weights.bin", "log.jsonl.gz",
    ]  # fmt: skip
    for name in (*code, *data):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    assert set(packed(folder, tmp_path / "package.zip")) == {*code, ".rayignore", ".gitignore"}
