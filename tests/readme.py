"""The generated parts of the README: `python -m tests.readme` renews them."""

import ast
from pathlib import Path

from cli_ray.config.evaluation import EvaluationConfig
from cli_ray.config.sweep import SweepConfig
from cli_ray.config.table import table
from cli_ray.evals.suite import BENCHMARKS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ROOMS = ("config", "storage", "data", "model", "train", "tune", "drill", "doctor", "demo", "commands")
REST = {
    "jobs/train.py": "training as a Ray job, for `ray job submit`",
    "jobs/tune.py": "a sweep as a Ray job",
    "jobs/evaluate.py": "evaluation as a Ray job",
    "jobs/pipeline.py": "training, export and evaluation as a Ray job",
    "jobs/runtime_env.yaml": "environment variables of all jobs",
    "jobs/configs/": "recipes: tiny, the demo's, LLaVA-1.5 7B (stage 1, stage 2, LoRA), LLaVA-OneVision 0.5B and 7B",
    "jobs/sweeps/": "the ablations of the method, and a search over sizes and rates",
    "cluster/kuberay/": "RayCluster, and a RayJob for each job script",
    "cluster/vm/": "launcher files for AWS and Google Cloud",
    "cluster/slurm/": "the batch script",
    "cluster/docker/": "the image of the nodes",
    "cluster/local/": "Ray nodes on one machine",
    "tests/": "mirrors the packages; `tests/perf/` holds the measurements, `tests/drills/` the long drills",
}


def renewed(readme: str) -> str:
    """The README with its generated parts as they should be."""
    generated = {
        "benchmarks": benchmarks(),
        "evaluation table": table(EvaluationConfig),
        "sweep table": table(SweepConfig),
        "config table": table(),
        "tree": f"```\n{tree()}\n```",
    }
    for name, text in generated.items():
        start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
        before, rest = readme.split(start)
        readme = f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}"
    return readme


def benchmarks() -> str:
    """A Markdown table of all benchmarks."""
    lines = ["| name | benchmark | items | headline | scored by |", "| --- | --- | --- | --- | --- |"]
    for one in BENCHMARKS.values():
        scored_by = "a judge" if one.judge else f"its server, {one.submission.server}" if one.submission else "rules"
        lines.append(f"| `{one.name}` | {one.title} | {one.count:,} | {one.headlines} | {scored_by} |")
    return "\n".join(lines)


def tree() -> str:
    """A line a file: the first line of its docstring."""
    lines = ["cli_ray/"]
    for room in ROOMS:
        lines += _folder(ROOT / "cli_ray" / room, depth=1)
    lines += _folder(ROOT / "evals", depth=0)
    return "\n".join(lines + [_line(name, meaning, 0) for name, meaning in REST.items()])


def _folder(folder: Path, depth: int) -> list[str]:
    lines = [f"{'  ' * depth}{folder.name}/"]
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            lines.append(_line(path.name, docstring.split("\n")[0].rstrip("."), depth + 1))
    below = sorted(path.parent for path in folder.glob("*/__init__.py"))
    return lines + [line for sub in below for line in _folder(sub, depth + 1)]


def _line(name: str, meaning: str, depth: int) -> str:
    return f"{'  ' * depth + name:<26}{meaning}"


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
