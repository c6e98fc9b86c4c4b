from pathlib import Path

import pytest

from cli_ray.commands.configs import recipes
from cli_ray.commands.main import main
from cli_ray.commands.tune import load_sweep
from cli_ray.config.load import load

ROOT = Path(__file__).parents[2]


def test_all_configs_and_sweeps_are_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [*ROOT.glob("jobs/configs/*.toml"), *ROOT.glob("jobs/sweeps/*.toml")]
    assert {line.split()[0] for line in lines if line.startswith("  ")} == {path.stem for path in files}
    assert all(len(line) <= 160 for line in lines)
    assert len(recipes()) == len(files), "names are unique"


@pytest.mark.parametrize("where", ["run.toml", "new/run.toml", "."])
def test_a_copied_config_can_be_loaded(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "llava15_7b_lora", where]) == 0
    [target] = tmp_path.rglob("*.toml")
    assert load(str(target)).name == "llava15-7b-lora"
    assert f"next: cli-ray train {target.relative_to(tmp_path)}" in capsys.readouterr().out


def test_a_copied_sweep_asks_for_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "gates", "sweeps/gates.toml"]) == 0
    assert "cli-ray configs demo configs/demo.toml" in capsys.readouterr().out
    assert main(["configs", "demo", "configs/demo.toml"]) == 0
    assert main(["configs", "rates", "sweeps/rates.toml"]) == 0
    assert "next: cli-ray tune sweeps/rates.toml" in capsys.readouterr().out
    assert load_sweep("sweeps/gates.toml", [])[1].name == "demo-cli"


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "tiny.toml"
    mine.write_text("mine")
    for path in (mine, tmp_path):
        assert main(["configs", "tiny", str(path)]) == 1
        assert capsys.readouterr().err == f"error: {mine} is there already; name another path\n"
    assert mine.read_text() == "mine"


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "best"]) == 1
    assert "no config or sweep is called 'best'" in capsys.readouterr().err
