"""Imports go one way: config <- storage <- costs <- data, model <- inference, train, plan, drill, doctor
<- tune, evals, serve <- watch <- report <- demo, commands."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cli_ray"
EVALS = PACKAGE.parent / "evals"
BASE = {"console", "errors", "packages", "registry", "text"}
CLUSTER = {"autoscaler", "capacity", "cluster", "need", "ray_private"}
MAY_IMPORT = {
    "config": BASE,
    "storage": BASE,
    "data": BASE | {"config", "storage", "tiles"},
    "costs": BASE | {"config", "tiles"},
    "model": BASE | {"config", "costs", "tiles"},
    "inference": BASE | {"config", "storage", "data", "model", "tiles"},
    "plan": BASE | CLUSTER | {"config", "storage", "costs", "data", "model", "tiles"},
    "train": BASE | CLUSTER | {"config", "storage", "costs", "data", "model"},
    "drill": BASE | {"config", "ray_private", "storage"},
    "serve": BASE | CLUSTER | {"config", "data", "inference"},
    "tune": BASE | CLUSTER | {"config", "storage", "costs", "data", "model", "train"},
    "doctor": BASE | CLUSTER | {"config", "storage", "data", "model", "signals"},
    "watch": BASE | {"config", "storage", "train"},
    "report": BASE | {"config", "storage", "data", "inference", "train", "tune", "watch"},
    "demo": BASE | {"cluster", "config", "costs", "storage", "data", "model", "report", "signals", "train"},
    "commands": BASE
    | {
        "autoscaler",
        "capacity",
        "cluster",
        "config",
        "storage",
        "costs",
        "data",
        "demo",
        "doctor",
        "drill",
        "inference",
        "model",
        "plan",
        "preflight",
        "report",
        "serve",
        "signals",
        "train",
        "tune",
        "watch",
    },
}
USES_RAY = {
    "cluster.py",
    "data/reading.py",
    "demo/comparison.py",
    "plan/place.py",
    "doctor/cluster.py",
    "doctor/examination.py",
    "drill/site.py",
    "ray_private.py",
    "serve/app.py",
    "serve/server.py",
    "capacity.py",
    "train/callbacks/pauser.py",
    "train/environment.py",
    "train/evaluator.py",
    "train/health/faults.py",
    "train/health/heartbeat.py",
    "train/health/restarts.py",
    "train/health/supervisor.py",
    "train/ray_train.py",
    "train/trainer.py",
    "train/worker.py",
    "tune/console.py",
    "tune/search.py",
    "tune/space.py",
    "tune/sweep.py",
    "tune/trial.py",
}
EVALS_USE_RAY = {
    "generation/pool.py",
    "generation/replica.py",
    "generation/replicas.py",
    "generation/size.py",
    "own/python.py",
}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(package: Path, name: str) -> set[str]:
    """Files of a package that import something of `name`."""
    return {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(f"{module}.".startswith(f"{name}.") for module in imported(path))
    }


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_stands_below_them(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("cli_ray.")}
        assert rooms <= MAY_IMPORT[room] | {room, "evals"}, path


def test_every_room_is_on_the_ladder() -> None:
    rooms = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/**/*.py")}
    assert rooms == set(MAY_IMPORT) | {"evals"}


def test_evals_stand_above_data_and_model_and_below_the_commands() -> None:
    below = {
        name.split(".")[1] for path in EVALS.rglob("*.py") for name in imported(path) if name.startswith("cli_ray.")
    }
    assert below <= BASE | CLUSTER - {"ray_private"} | {
        "config",
        "data",
        "evals",
        "inference",
        "model",
        "storage",
        "tiles",
    }
    users = {
        path
        for path in importers(PACKAGE, "cli_ray.evals")
        if not path.startswith(("commands/", "demo/", "report/", "watch/"))
    }
    assert users == {"train/evaluator.py"}


def test_evals_has_one_name() -> None:
    """As `evals` it would be openai/evals, or a package of that name in the working directory."""
    root = PACKAGE.parent
    assert [path for room in ("cli_ray", "evals", "jobs", "tests") for path in importers(root / room, "evals")] == []


@pytest.mark.parametrize(("package", "users"), [(PACKAGE, USES_RAY), (EVALS, EVALS_USE_RAY)])
def test_ray_is_used_in_few_places(package: Path, users: set[str]) -> None:
    assert importers(package, "ray") == users


def test_scores_need_neither_torch_nor_ray_nor_arrow() -> None:
    code = (
        "import sys, cli_ray.evals; print({'torch', 'ray', 'numpy', 'pandas', 'pyarrow', 'PIL'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_driver_loads_torch_and_benchmarks_only_where_a_check_needs_them() -> None:
    """A run that goes on does not wait for torch before it asks for workers."""
    code = (
        "import sys, cli_ray.train.trainer; "
        "print([name for name in ('torch', 'transformers', 'cli_ray.evals') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_drill_loads_no_benchmark() -> None:
    """Neither the verb as it starts nor what counts its samples: a drill kills trainings and evaluates nothing."""
    modules = "cli_ray.commands.drill, cli_ray.train.ledger_check"
    code = f"import sys, {modules}; print([name for name in sys.modules if name.startswith('cli_ray.evals')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_watching_loads_neither_torch_nor_ray() -> None:
    modules = ", ".join(f"cli_ray.watch.{path.stem}" for path in sorted((PACKAGE / "watch").glob("[a-z]*.py")))
    code = f"import sys, {modules}; print({{'torch', 'ray', 'transformers', 'pandas'}} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_no_file_is_too_long_to_read() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in [*PACKAGE.rglob("*.py"), *EVALS.rglob("*.py")]}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
