"""The examples of docs/own_benchmarks.md are definitions that work."""

import re
import tomllib
from pathlib import Path

import pytest

from cli_ray.evals.own.definition import Definition
from cli_ray.evals.own.python import load
from tests.evals.own.pictures import LETTERS

PAGE = (Path(__file__).parents[3] / "docs/own_benchmarks.md").read_text()
EXAMPLES = [text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "scorer" in text]


def test_the_page_has_an_example_of_each_shape() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_defines_a_benchmark(example: str) -> None:
    values = tomllib.loads(example)
    Definition.model_validate(values if "name" in values else LETTERS | values)


def test_the_example_in_python_scores(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "words.py").write_text(code)
    [benchmark] = load(str(tmp_path / "words.py"))
    assert benchmark.score({"label": "red"}, "It is red").score == 1


def test_the_table_has_every_scorer() -> None:
    named = re.findall(r"^\| `([a-z-]+)` \| (?:it|what|a \[)", PAGE, re.MULTILINE)
    assert tuple(named) == Definition.model_fields["scorer"].annotation.__args__  # type: ignore[union-attr]
