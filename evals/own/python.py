"""Benchmarks in Python: the `BENCHMARK` of a file, and those that installed packages bring.

Their code runs in the process that was told to load it, and goes along to the nodes by value (`send_code`). Output
folders hold none.
"""

import sys
import traceback
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Origin
from cli_ray.evals.own.definition import fault_of_name
from cli_ray.evals.records import digest

GROUP = "cli_ray.benchmarks"
"""Of entry points."""
VARIABLE = "BENCHMARK"
"""Of a file: a benchmark or a list of them."""


def load(path: str) -> list[Benchmark]:
    """The benchmarks of a Python file, which is run.

    Raises:
        UserError: there is no such file, it fails, or it defines no benchmark.
    """
    file = Path(path).absolute()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    module_name = f"cli_ray_benchmark_{sha256(str(file).encode() + content).hexdigest()[:16]}"
    module = ModuleType(module_name)
    module.__file__ = str(file)
    sys.modules[module_name] = module  # by its name, dataclasses and pickles find it
    try:
        exec(compile(content, str(file), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise UserError(f"{path}: {_where(error, str(file))}{type(error).__name__}: {error}") from error
    found = _benchmarks(getattr(module, VARIABLE, None), f"{path}: {VARIABLE}")
    return [_of(one, path, digest(content), module_name, file.parent) for one in found]


@cache
def plug_ins() -> tuple[Benchmark, ...]:
    """The benchmarks of installed packages.

    Raises:
        UserError: a package fails or brings something else.
    """
    return tuple(one for point in entry_points(group=GROUP) for one in _of_package(point))


def send_code(benchmarks: Iterable[Benchmark]) -> None:
    """Has the code of benchmarks in Python go along with them, so that nodes need not have it."""
    names = {one.origin.module for one in benchmarks if one.origin and one.origin.module}
    if names:
        from ray import cloudpickle

        for name in names:
            cloudpickle.register_pickle_by_value(sys.modules[name])


def _of_package(point: EntryPoint) -> list[Benchmark]:
    place = _package(point)
    try:
        value = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(f"{place}: {type(error).__name__}: {error}; mend it, or uninstall it") from error
    found = _benchmarks(value, f"{place}: {point.value}")
    top = point.module.partition(".")[0]
    return [_of(one, place, digest(place), top, Path(sys.modules[point.module].__file__ or "").parent) for one in found]


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else f"entry point {point.name}"


def _benchmarks(value: object, what: str) -> list[Benchmark]:
    several = value if isinstance(value, list | tuple) else [value]
    if value is None or not several:
        raise UserError(f"{what} is missing: set it to a cli_ray.evals.benchmark.Benchmark, or a list of them")
    if others := [one for one in several if not isinstance(one, Benchmark)]:
        raise UserError(f"{what} is or holds a {type(others[0]).__name__}, not a cli_ray.evals.benchmark.Benchmark")
    return list(several)


def _of(benchmark: Benchmark, place: str, content: str, module: str, folder: Path) -> Benchmark:
    """The benchmark with its origin and the absolute path of its data."""
    if fault := fault_of_name(benchmark.name):
        raise UserError(f"{place}: name = {fault}")
    data = benchmark.data
    if data and "://" not in data:
        data = str(folder / Path(data).expanduser())
    return replace(benchmark, prompts="own", data=data, origin=Origin(place, content, module=module))


def _where(error: BaseException, file: str) -> str:
    """The last line of the file that led to an error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    return f"line {lines[-1]}: " if lines else ""
