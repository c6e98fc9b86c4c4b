"""The generated parts of the documentation.

`make docs` renews them by `python -m tests.docs` and builds the site, for which mkdocs calls `on_page_markdown`.
"""

import ast
import re
from pathlib import Path
from typing import Any

from cli_ray.commands.main import MEANINGS
from cli_ray.config.evaluation import EvaluationConfig
from cli_ray.config.serving import ServeConfig
from cli_ray.config.sweep import SweepConfig
from cli_ray.config.table import table
from cli_ray.evals.own.definition import Definition
from cli_ray.evals.suite import BENCHMARKS, prompts_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REST = {
    "jobs/train.py": "training as a Ray job, for `ray job submit`",
    "jobs/tune.py": "a sweep as a Ray job",
    "jobs/evaluate.py": "evaluation as a Ray job",
    "jobs/pipeline.py": "training, export and evaluation as a Ray job",
    "jobs/serve.yaml": "a server, for `serve deploy`",
    "jobs/runtime_env.yaml": "environment variables of all jobs",
    "jobs/configs/": "recipes: tiny, the demo's, LLaVA-1.5 7B (stage 1, stage 2, LoRA), LLaVA-OneVision 0.5B and 7B",
    "jobs/sweeps/": "the ablations of the method, and a search over sizes and rates",
    "cluster/kuberay/": "RayCluster, a RayJob for each job script, and a RayService",
    "cluster/vm/": "launcher files for AWS and Google Cloud",
    "cluster/slurm/": "the batch script",
    "cluster/docker/": "the image of the nodes",
    "cluster/local/": "Ray nodes on one machine",
    "tests/": "mirrors the packages",
    "tests/perf/": "the measurements",
    "tests/drills/": "the long drills",
}


def renewed() -> dict[Path, str]:
    """Each page with generated parts, as it should be."""
    parts = {
        "README.md": ("commands", commands()),
        "config.md": ("config tables", config_tables()),
        "sweeps.md": ("sweep table", table(SweepConfig)),
        "evaluation.md": ("evaluation table", table(EvaluationConfig)),
        "own_benchmarks.md": ("definition table", table(Definition)),
        "serving.md": ("serving table", table(ServeConfig)),
        "benchmarks.md": ("benchmarks", benchmarks()),
        "map.md": ("map", code_map()),
    }
    return {DOCS / page: _with(DOCS / page, name, text) for page, (name, text) in parts.items()}


def commands() -> str:
    """A Markdown table of the verbs."""
    rows = [f"| `cli-ray {verb}` | {meaning} |" for verb, meaning in MEANINGS.items()]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def config_tables() -> str:
    """A Markdown table for each section of the config of a run."""
    head, rule, *rows = table().split("\n")
    sections: dict[str, list[str]] = {}
    for row in rows:
        field = row.split("`")[1]
        sections.setdefault(re.split(r"[.\[]", field)[0] if "." in field else "top level", []).append(row)
    return "\n\n".join("\n".join([f"### {name}", "", head, rule, *rows]) for name, rows in sections.items())


def benchmarks() -> str:
    """A Markdown table of all benchmarks."""
    lines = ["| name | benchmark | items | headline | scored by | prompts |", "| --- " * 6 + "|"]
    for one in BENCHMARKS.values():
        scored_by = "a judge" if one.judge else f"its server, {one.submission.server}" if one.submission else "rules"
        count = "any" if one.count is None else f"{one.count:,}"
        prompts = ", ".join(prompts_of(one))
        lines.append(f"| `{one.name}` | {one.title} | {count} | {one.headlines} | {scored_by} | {prompts} |")
    return "\n".join(lines)


def code_map() -> str:
    """The ladder of imports, and a table for each folder of code with a line for each of its modules."""
    packages = [path.parent for top in ("cli_ray", "evals") for path in sorted((ROOT / top).rglob("__init__.py"))]
    rest = [f"| [`{name}`](../{name}) | {meaning} |" for name, meaning in REST.items()]
    ladder = f"{_purpose(ROOT / 'tests/test_imports.py')}. `tests/test_imports.py` holds it."
    return "\n\n".join([ladder, *map(_package, packages), _table("Beside the packages", rest)])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page of the site. Links to files outside docs/, which the site does not have, become plain text."""
    return re.sub(r"\[([^]]+)\]\(\.\./[^)]*\)", r"\1", markdown)


def _with(page: Path, name: str, text: str) -> str:
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    before, rest = page.read_text().split(start)
    return f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}"


def _package(folder: Path) -> str:
    name, init = folder.relative_to(ROOT), folder / "__init__.py"
    modules = [path for path in sorted(folder.glob("*.py")) if path != init]
    rows = [f"| [`{path.name}`](../{name}/{path.name}) | {_purpose(path)} |" for path in modules]
    return _table(f"`{name}`", rows, _purpose(init))


def _table(title: str, rows: list[str], text: str = "") -> str:
    head = ["| file | purpose |", "| --- | --- |"] if rows else []
    return "\n\n".join(filter(None, [f"## {title}", text, "\n".join([*head, *rows])]))


def _purpose(module: Path) -> str:
    """The first sentence of its docstring."""
    paragraph = (ast.get_docstring(ast.parse(module.read_text())) or "").split("\n\n")[0]
    return re.split(r"\.\s", " ".join(paragraph.split()))[0].rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    for page, text in renewed().items():
        page.write_text(text)
