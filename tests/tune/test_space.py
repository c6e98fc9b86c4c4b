"""From a sweep's TOML to run configs."""

import tomllib
from typing import Any

import pytest

from cli_ray.config import DataConfig, InjectionConfig, Layers, ModelConfig, RunConfig, SourceConfig, SweepConfig
from cli_ray.config.load import ConfigError, validated
from cli_ray.tune.space import candidates, configured, ray_space

BASE = RunConfig(
    name="base",
    model=ModelConfig(checkpoint="tiny"),
    data=DataConfig(sources=(SourceConfig(path="x"),)),
    injection=InjectionConfig(vision_layers=Layers(stride=2)),
)
TOML = """
name = "a"
base = "run.toml"
search = "grid"
[space]
"injection.amp.rank" = [4, 8]
"injection.vision_layers" = [{ count = 2 }, [1, 3]]
[arms]
"as it is" = {}
"AGF only" = { "injection.amp.projector" = "shared", "injection.agf.bias" = -2.0 }
"""


def sweep_of(**changes: Any) -> SweepConfig:
    values = {"name": "a", "base": "run.toml", "space": {"injection.amp.rank": [4, 8]}}
    return validated(SweepConfig, values | changes, "sweep.toml")


def test_a_draw_changes_the_fields_it_names_and_no_other() -> None:
    sweep = validated(SweepConfig, tomllib.loads(TOML), "sweep.toml")
    drawn = {"injection.amp.rank": 8, "injection.vision_layers": '{"count":2}', "arm": "AGF only"}
    config = configured(BASE, sweep, drawn)
    assert (config.injection.amp.rank, config.injection.amp.projector, config.injection.agf.bias) == (8, "shared", -2.0)
    assert config.injection.vision_layers == Layers(count=2)
    same = config.model_copy(update={"injection": BASE.injection})
    assert same == BASE
    other = configured(BASE, sweep, drawn | {"injection.vision_layers": "[1,3]", "arm": "as it is"})
    assert other.injection.vision_layers == Layers(layers=(1, 3))
    assert other.injection.amp.projector == "low_rank"


def test_every_kind_of_domain_reaches_ray_tune() -> None:
    sweep = sweep_of(
        space={
            "injection.amp.rank": {"integers": [2, 3]},
            "optim.amp.lr": {"log_uniform": [1e-5, 1e-3]},
            "injection.agf.bias": {"uniform": [-4, -2]},
            "injection.agf.gate": ["tanh", "sigmoid"],
        }
    )
    space = ray_space(sweep)
    for _ in range(20):
        drawn = {field: domain.sample() for field, domain in space.items()}
        assert drawn["injection.amp.rank"] in (2, 3)
        assert 1e-5 <= drawn["optim.amp.lr"] <= 1e-3
        assert -4 <= drawn["injection.agf.bias"] <= -2
        assert drawn["injection.agf.gate"] in ("tanh", "sigmoid")
        configured(BASE, sweep, drawn)
    assert {space["injection.amp.rank"].sample() for _ in range(60)} == {2, 3}


def test_every_value_is_tried_before_anything_starts() -> None:
    assert [where for where, _ in candidates(BASE, sweep_of())][1:] == [
        "space: injection.amp.rank = 4",
        "space: injection.amp.rank = 8",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"injection.amp.rnak": [4]}}, r"space: injection\.amp\.rnak is no field of a run"),
        ({"space": {"injection.rank.x": [4]}}, r"space: injection\.rank\.x is no field of a run"),
        ({"space": {"injection.amp.rank": [4, 0]}}, r"space: injection\.amp\.rank = 0: injection\.amp\.rank: must be"),
        ({"arms": {"LoRA": {"lora.rank": 8}}}, r"arms: LoRA: .*set a rate"),
    ],
)
def test_faults_of_the_space_name_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(candidates(BASE, sweep_of(**changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, r"nothing is varied: give \[space\] or \[arms\]"),
        ({"space": {"optim.amp.lr": {"uniform": [2, 1]}}}, r"the first bound must be below the second"),
        ({"space": {"optim.amp.lr": {"log_uniform": [0, 1]}}}, r"both bounds must be above 0"),
        ({"space": {"optim.amp.lr": {}}}, r"give exactly one of choice"),
        ({"space": {"optim.amp.lr": [1, 1]}}, r"choice holds a value twice"),
        ({"objectives": ["loss"]}, r"objectives: 'loss' is none of validation_loss"),
        ({"objectives": []}, r"objectives: name at least one"),
        ({"search": "grid", "space": {"optim.amp.lr": {"uniform": [0, 1]}}}, r'search = "grid" takes lists only'),
        ({"scheduler": "pbt"}, r"injection\.amp\.rank may change its weights or its data"),
        ({"scheduler": "pbt", "space": {"optim.amp.lr": [1, 2]}}, r'needs search = "random"'),
        ({"name": "../a"}, r"name = '\.\./a'"),
        ({"trials": 3}, r"sweep\.toml: trials: unknown field"),
    ],
)
def test_faults_of_a_sweep_name_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep_of(**changes)
