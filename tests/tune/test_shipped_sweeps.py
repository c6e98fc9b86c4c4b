"""The sweeps in jobs/sweeps can be run as they are."""

from pathlib import Path

import pytest

from cli_ray.commands.tune import load_sweep
from cli_ray.model.build import resolve_injection
from cli_ray.tune.space import candidates
from cli_ray.tune.sweep import check_objectives

SWEEPS = sorted(Path(__file__).parents[2].glob("jobs/sweeps/*.toml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_value_is_one_that_the_demo_model_has(path: Path) -> None:
    config, base = load_sweep(str(path), [])
    assert config.name == path.stem
    check_objectives(config, base)
    tiny = base.model_copy(update={"model": base.model.model_copy(update={"checkpoint": "tiny"})})
    for _, one in candidates(tiny, config):
        resolve_injection(one.model, one.injection)


def test_the_paper_s_ablations_are_there() -> None:
    assert {path.stem for path in SWEEPS} == {"density", "gates", "projection", "rates", "rivals"}


def test_options_come_on_top() -> None:
    config, _ = load_sweep(str(SWEEPS[0]), ["--max-concurrent", "2", "--asha.reduction", "4"])
    assert (config.max_concurrent, config.asha.reduction) == (2, 4)
    assert config.space.keys() == load_sweep(str(SWEEPS[0]), [])[0].space.keys()
