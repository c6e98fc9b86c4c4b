"""The benchmarks of files that a command names: TOML or Python. `cli_ray.evals.suite` calls it."""

from collections.abc import Sequence

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.own.build import build
from cli_ray.evals.own.definition import read
from cli_ray.evals.own.python import load


def benchmarks_of(path: str) -> Sequence[Benchmark]:
    """The benchmarks of one file.

    Raises:
        UserError: it is neither TOML nor Python, cannot be read, or defines no benchmark.
    """
    if path.endswith(".toml"):
        return [build(read(path), path)]
    if path.endswith(".py"):
        return load(path)
    raise UserError(f"{path}: is neither a .toml nor a .py file, which define benchmarks")
