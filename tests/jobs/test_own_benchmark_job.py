"""Own benchmarks travel with a job: the nodes of its cluster have none of their code."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_ray.evals.results.table import read_results
from tests.cluster.local import Local, scripts
from tests.evals.generation.charts import save_model
from tests.evals.own.pictures import LETTERS, write_folder, write_toml, write_tsv

ROOT = Path(__file__).parents[2]
SMALL = ("--num-cpus", "1", "--object-store-memory", str(80 << 20))
ITEMS = 300
"""Of the TSV, in three parts, which the nodes scan."""
FOLDER = {
    "name": "signs",
    "data": "signs",
    "prompt": "Which colour?",
    "columns": {"id": "file_name", "image": "file_name", "answer": "label"},
    "scorer": "exact",
    "max_new_tokens": 8,
}
CODE = """
import sys
from importlib.util import find_spec
from cli_ray.evals.benchmark import Benchmark, Graded, Source
from cli_ray.evals.scoring.means import accuracy

def prompt(doc):
    if "default_worker" in sys.argv[0] and find_spec("{module}"):
        raise RuntimeError("the nodes have it")
    return "Which colour?"

BENCHMARK = Benchmark(
    name="{name}", title="{name}", source=Source((), "test"), data="{data}", count=None, columns=("label",),
    image_columns=("file_name",), prompt=prompt, max_new_tokens=8, score=lambda doc, reply: Graded(1.0, reply, "any"),
    aggregate=accuracy, headline="accuracy", linear=True,
)
"""


@pytest.fixture
def nodes() -> Iterator[Local]:
    """Three nodes, each with a folder of its own."""
    with scripts() as local:
        for script in (("start.sh", *SMALL), ("nodes.sh", "2", *SMALL)):
            started = local.script(*script)
            assert started.returncode == 0, started.stderr
        yield local


def write_benchmarks(folder: Path) -> tuple[list[str], Path]:
    """Files of three benchmarks, and a folder with a package that brings a fourth."""
    write_tsv(folder, ITEMS)
    write_folder(folder / "signs")
    files = [write_toml(folder, LETTERS, "letters.toml"), write_toml(folder, FOLDER, "signs.toml")]
    (folder / "own_words.py").write_text(CODE.format(name="words", data="signs", module="own_words"))
    site = folder / "site"
    (site / "signs_plug").mkdir(parents=True)
    plug = CODE.format(name="plugged", data=folder / "signs", module="signs_plug")
    (site / "signs_plug/__init__.py").write_text(plug)
    info = site / "signs_plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signs-plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cli_ray.benchmarks]\nsigns = signs_plug:BENCHMARK\n")
    return [*files, str(folder / "own_words.py")], site


@pytest.mark.slow
def test_a_job_brings_its_benchmarks_to_nodes_that_have_none_of_them(nodes: Local, tmp_path: Path) -> None:
    files, site = write_benchmarks(tmp_path / "own")
    model, output = save_model(tmp_path / "model", "llava"), tmp_path / "output"
    named = [word for file in files for word in ("--benchmark-file", file)]
    replica = ["--replica.gpus", "0", "--replica.dtype", "fp32", "--replica.count", "3"]
    # The package is on the path of the driver alone.
    driver = ["env", f"PYTHONPATH={site}", sys.executable, "jobs/evaluate.py", "--model", model, *replica]
    submit = ["ray", "job", "submit", "--address", nodes.address, "--working-dir", ".", "--"]
    job = nodes.run(*submit, *driver, "--output", str(output), "--benchmarks", "plugged", *named, cwd=ROOT)
    assert job.returncode == 0, job.stdout + job.stderr
    rows = {row.benchmark: (row.n_scored, row.errors) for row in read_results(str(output)).rows}
    assert rows == {"colours": (ITEMS, 0), "signs": (4, 0), "words": (4, 0), "plugged": (4, 0)}
