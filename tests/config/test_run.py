from pathlib import Path
from typing import Any

import pytest

from cli_ray.config import RunConfig
from cli_ray.config.load import ConfigError, load, override, validated

CONFIGS = sorted(Path(__file__).parents[2].glob("jobs/configs/*.toml"))
MINIMAL: dict[str, Any] = {
    "name": "a",
    "model": {"checkpoint": "tiny"},
    "data": {"sources": [{"path": "a.tar"}]},
    "train": {"global_batch_size": 8},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    config = load(str(path))
    accumulation = config.train.global_batch_size / (config.lanes * config.train.micro_batch_size)
    assert accumulation == int(accumulation)
    if config.cluster.gpus_per_worker == 0:
        assert config.train.precision == "fp32"


def test_shipped_configs_are_all_there() -> None:
    families = {"tiny", "demo", "llava15_7b_stage1", "llava15_7b_stage2", "llava15_7b_lora"}
    assert {path.stem for path in CONFIGS} == families | {"llava_onevision_0_5b", "llava_onevision_7b"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": {"llm": {"rate": 1}}}, r"optim\.llm\.rate: unknown field"),
        ({"train": {"global_batch_size": 10}}, r"train\.global_batch_size = 10 must be a multiple of .* = 1 x 4 = 4"),
        ({"train": {"global_batch_size": 8, "zero_stage": 0}}, r"train: zero_stage = 0 .* set zero_stage = 1"),
        ({"data": {"sources": []}}, r"data: sources is empty"),
        ({"data": {"sources": [{"path": "x/a"}, {"path": "y/a"}]}}, "distinct names"),
        ({"data": {"sources": [{"path": "a"}], "lanes": 1}, "cluster": {"num_workers": 2}},
         r"data\.lanes = 1 is below cluster\.num_workers = 2"),
        ({"cluster": {"num_workers": [1, 3]}}, r"must be a multiple of .* = 3 x 4 = 12; a run that goes on"),
        ({"cluster": {"num_workers": [4, 2]}}, r"num_workers = \[4, 2\]: .* 1 <= min <= max"),
        ({"cluster": {"num_workers": [0, 2]}}, r"num_workers = \[0, 2\]"),
        ({"cluster": {"num_workers": 0}}, r"num_workers = 0: give a number above 0"),
        ({"model": {"checkpoint": "tiny", "vision_tower": "v"}}, "either checkpoint, or both"),
        ({"lora": {"rank": 8}}, r"optim\.lora\.lr = 0"),
        ({"lora": {"rank": 8}, "optim": {"lora": {"lr": 1}, "llm": {"lr": 1}}}, "drop one"),
        ({"injection": {"kind": "none"}}, "nothing is trained"),
        ({"injection": {"agf": {"num_heads": 3}}}, "multiple of num_heads = 3"),
        ({"checkpoint": {"keep_best": 1}}, r"keep_best needs validation\.sources"),
        ({"name": "../up"}, "name = '../up'"),
    ],
)  # fmt: skip
def test_faults_name_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(RunConfig, MINIMAL | change, "run.toml")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        validated(RunConfig, MINIMAL | {"seed": -1, "colour": 3}, "run.toml")
    assert str(error.value).count("run.toml: ") == 2


def test_the_greatest_number_of_workers_gives_the_lanes() -> None:
    config = validated(RunConfig, MINIMAL | {"cluster": {"num_workers": [1, 2]}}, "run.toml")
    assert (config.cluster.min_workers, config.cluster.max_workers, config.lanes) == (1, 2, 2)
    fixed = override(config, ["--cluster.num-workers", "1", "--data.lanes", "2"], prog="train")
    assert (fixed.cluster.num_workers, fixed.lanes) == (1, 2)
    assert override(fixed, ["--cluster.num-workers", "1", "2"], prog="train").cluster == config.cluster


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "a"\n[model]\ncheckpoint = "tiny"\n[[data.sources]]\npath = "a.tar"\n')
    config = load(str(path), ["--optim.llm.lr", "1e-5", "--data.sources.0.weight", "2"])
    assert (config.optim.llm.lr, config.data.sources[0].weight) == (1e-5, 2.0)
    with pytest.raises(ConfigError, match=r"train\.micro_batch_size = 1 x 5 = 5"):
        load(str(path), ["--train.micro-batch-size", "5"])
    with pytest.raises(ConfigError) as caught:
        load(str(path), ["--optim.llm.lr", "-1", "--data.sources.0.weight", "0"])
    assert str(caught.value).splitlines() == [
        "--data.sources.0.weight: must be greater than 0",
        "--optim.llm.lr: must be greater than or equal to 0",
    ]


@pytest.mark.parametrize(("text", "message"), [("name = ", "not valid TOML"), (None, "no such file")])
def test_unreadable_files_are_explained(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "run.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(str(path))
