"""Every benchmark is listed."""

import pkgutil

from cli_ray.evals import benchmarks
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.suite import BENCHMARKS


def test_no_benchmark_is_forgotten() -> None:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    modules = [pkgutil.resolve_name(f"{benchmarks.__name__}.{name}") for name in names]
    defined = {value.name for module in modules for value in vars(module).values() if isinstance(value, Benchmark)}
    assert defined == set(BENCHMARKS), "list it in evals/suite.py"
