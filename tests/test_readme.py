import re
import shlex
from pathlib import Path

from cli_ray.commands.tune import load_sweep
from cli_ray.tune.sweep import check_objectives
from tests.readme import README, renewed


def test_the_generated_parts_are_fresh() -> None:
    readme = README.read_text()
    assert renewed(readme) == readme, "run: python -m tests.readme"


def test_the_first_command_comes_early() -> None:
    lines = README.read_text().splitlines()
    assert max(i for i, line in enumerate(lines, 1) if line.startswith(("make demo", "make test"))) <= 20


def test_the_sweep_fits_the_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n# (\w+\.toml)\n(.*?)```", README.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["run.toml", "sweep.toml"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    check_objectives(*load_sweep(str(tmp_path / "sweep.toml"), []))


def test_the_command_for_jobs_is_split_by_a_shell_as_it_should_be() -> None:
    [line] = [line for line in README.read_text().splitlines() if line.startswith("job=")]
    [assigned] = shlex.split(line.replace("$commit", "abc-dirty"))
    assert assigned.removeprefix("job=").split()[-2:] == ["--metadata-json", '{"commit":"abc-dirty"}']
