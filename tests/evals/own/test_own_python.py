"""Benchmarks in Python: of files and of installed packages; their code goes along to processes that do not have it."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import cloudpickle

from cli_ray.errors import UserError
from cli_ray.evals.items.sources import locate, read
from cli_ray.evals.own import python
from cli_ray.evals.suite import benchmark, chosen, plugged_in
from tests.evals.own.pictures import write_folder

CODE = """
from cli_ray.evals.benchmark import Benchmark, Graded, Source
from cli_ray.evals.scoring.means import accuracy
{imports}
RIGHT = 1.0

def score(doc, reply):
    return Graded(RIGHT if same(doc["label"], reply) else 0.0, reply, "same")

{rest}
BENCHMARK = [
    Benchmark(
        name=name, title=name.title(), source=Source((), "test"), data="signs", count=None, columns=("label",),
        image_columns=("file_name",), prompt=lambda doc: "Which colour?", max_new_tokens=4, score=score,
        aggregate=accuracy, headline="accuracy", linear=True,
    )
    for name in ("signs", "more-signs")
]
"""
SAME = "def same(gold, reply):\n    return gold == reply.lower()\n"
SCORE = """
import pickle, sys
location = pickle.load(open(sys.argv[1], "rb"))
one = location.benchmark
print(one.name, one.score({"label": "red"}, "Red").score, one.prompt({}), [n for n in sys.modules if "signs" in n])
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package of two modules that brings benchmarks."""
    site = tmp_path / "site"
    (site / "signs_plug").mkdir(parents=True)
    (site / "signs_plug/__init__.py").write_text("")
    (site / "signs_plug/rules.py").write_text(SAME)
    code = CODE.format(imports="from signs_plug.rules import same", rest="")
    (site / "signs_plug/signs.py").write_text(code)
    write_folder(site / "signs_plug/signs")
    info = site / "signs_plug-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: signs-plug\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{python.GROUP}]\nsigns = signs_plug.signs:BENCHMARK\n")
    monkeypatch.syspath_prepend(str(site))
    python.plug_ins.cache_clear()
    yield site
    python.plug_ins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("signs_plug")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def scored_elsewhere(folder: Path, pickled: bytes) -> str:
    """What a process that has none of the code scores."""
    (folder / "location").write_bytes(pickled)
    words = [sys.executable, "-c", SCORE, str(folder / "location")]
    return subprocess.run(words, cwd="/", capture_output=True, text=True, check=True).stdout


def test_a_file_brings_benchmarks_and_their_code(tmp_path: Path) -> None:
    write_folder(tmp_path / "signs")
    (tmp_path / "mine.py").write_text(CODE.format(imports="", rest=SAME))
    first, second = chosen("paper18", files=[str(tmp_path / "mine.py")])
    assert (first.name, second.name, first.data) == ("signs", "more-signs", f"{tmp_path}/signs")
    location = locate(first, "", miniature=False)
    assert len(list(read(location, location.parts[0]))) == 4
    python.send_code([first])
    (tmp_path / "mine.py").unlink()
    assert scored_elsewhere(tmp_path, cloudpickle.dumps(location)) == "signs 1.0 Which colour? []\n"


def test_an_installed_package_brings_benchmarks_by_name(package: Path, tmp_path: Path) -> None:
    assert set(plugged_in()) == {"signs", "more-signs"}
    one = benchmark("more-signs")
    assert one.origin is not None
    assert one.origin.place == "package signs-plug 1.2"
    assert [one.name for one in chosen("paper18", ["pope", "signs"])] == ["pope", "signs"]
    with pytest.raises(UserError, match="did you mean signs"):
        benchmark("sings")
    location = locate(one, "", miniature=False)
    python.send_code([one])
    assert scored_elsewhere(tmp_path, cloudpickle.dumps(location)) == "more-signs 1.0 Which colour? []\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "package signs-plug 1.2: ZeroDivisionError: division by zero; mend it, or uninstall it"),
        ("BENCHMARK = 3", "package signs-plug 1.2: signs_plug.signs:BENCHMARK is or holds a int"),
        ("", "package signs-plug 1.2: AttributeError: module 'signs_plug.signs' has no attribute 'BENCHMARK'"),
    ],
)
def test_a_package_that_brings_none_is_named_and_ours_work_on(package: Path, code: str, message: str) -> None:
    (package / "signs_plug/signs.py").write_text(code)
    with pytest.raises(UserError, match=message):
        benchmark("signs")
    assert benchmark("pope").name == "pope"
