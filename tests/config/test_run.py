import re
from pathlib import Path
from typing import Any

import pytest

from cli_ray.config import Layers, RunConfig, SweepConfig
from cli_ray.config.load import ConfigError, load, override, validated
from cli_ray.config.table import fields_of, help_text

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
        ({"optim": {"llm": {"rate": 1}}}, r"optim\.llm\.rate: unknown field; `cli-ray train --help` lists them all"),
        ({"train": {"global_batchsize": 8}}, "unknown field, perhaps 'global_batch_size' is meant; `cli-ray train"),
        ({"trian": {}}, "run.toml: trian: unknown field, perhaps 'train' is meant"),
        ({"max_steps": 5}, "unknown field, perhaps 'train.max_steps' is meant"),
        ({"data": {"sources": [{"path": "a", "weigth": 2}]}}, r"sources\.0\.weigth: unknown field, perhaps 'weight'"),
        ({"train": {"micro_batch_size": "4"}}, r"train\.micro_batch_size: must be a number, without quotes"),
        ({"optim": {"llm": {"lr": "1e-5"}}}, r"optim\.llm\.lr: must be a number, without quotes"),
        ({"optim": {"betas": [0.9, "0.95"]}}, r"optim\.betas\.1: must be a number, without quotes"),
        ({"cluster": {"num_workers": "2"}}, r"cluster\.num_workers: must be a number, without quotes"),
        ({"seed": True}, "seed: must be a number, without quotes"),
        ({"train": {"stop_on_nan": "yes"}}, r"train\.stop_on_nan: must be true or false, without quotes"),
        ({"model": {"checkpoint": "tiny", "pad_to_square": 1}}, r"model\.pad_to_square: must be true or false"),
        ({"model": {"checkpoint": "x", "language_model": "l"}}, "either checkpoint, or both"),
        ({"model": {"checkpoint": "tiny", "attention": "flash_attention_2"}, "train": {"precision": "fp32"}},
         r"knows bf16 alone, but train\.precision = 'fp32'"),
        ({"model": {"checkpoint": "tiny", "attention": "flash_attention_2"}, "cluster": {"gpus_per_worker": 0}},
         r"needs GPUs, but cluster\.gpus_per_worker = 0"),
        ({"train": {"global_batch_size": 10}}, r"train\.global_batch_size = 10 must be a multiple of .* = 1 x 4 = 4"),
        ({"train": {"global_batch_size": 8, "zero_stage": 0}}, r"train: zero_stage = 0 .* set zero_stage = 1"),
        ({"train": {"pack_tokens": 2000}, "data": {"sources": [{"path": "a"}], "max_length": 2048}},
         r"train\.pack_tokens = 2000 is below data\.max_length = 2048"),
        ({"train": {"profile": {"steps": [12, 10]}}}, r"train\.profile: steps = \[12, 10\]: give the first step and"),
        ({"train": {"profile": {"steps": [0, 2]}}}, r"train\.profile: steps = \[0, 2\]: steps are counted from 1"),
        ({"train": {"profile": {"steps": [1, 21]}}}, r"\[1, 21\] are 21 steps: .* give at most 20"),
        ({"train": {"profile": {"steps": [1]}}}, r"train\.profile\.steps\.1: Field required"),
        ({"data": {"sources": []}}, r"data: sources is empty"),
        ({"data": {"sources": [{"path": "x/a"}, {"path": "y/a"}]}}, "distinct names"),
        ({"data": {"sources": [{"path": "a"}], "lanes": 1}, "cluster": {"num_workers": 2}},
         r"data\.lanes = 1 is below cluster\.num_workers = 2"),
        ({"cluster": {"num_workers": [1, 3]}}, r"must be a multiple of .* = 3 x 4 = 12; lanes are the workers"),
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


def test_a_run_in_place_of_a_sweep_is_told_the_help_of_sweeps() -> None:
    with pytest.raises(ConfigError, match="model: unknown field; `cli-ray tune --help` lists them all"):
        validated(SweepConfig, MINIMAL, "run.toml")


def test_help_shows_every_field_with_its_default() -> None:
    text = help_text(RunConfig, "cli-ray train CONFIG.toml")
    named = re.findall(r"^  --(\S+) (.+?)  \((.*)\)$", text, re.MULTILINE)
    assert [name.replace(".0", "[]").replace("-", "_") for name, _, _ in named] == fields_of(RunConfig)
    shown = {name: (kind, default) for name, kind, default in named}
    assert shown["model.checkpoint"] == ("STR", "none")
    assert shown["validation.sources.0.path"] == ("STR", "required")
    assert shown["train.zero-stage"] == ("{0,1,2,3}", "2")
    assert shown["injection.vision-layers.at-most"] == ("INT|None", "8")


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


@pytest.mark.parametrize(("word", "value"), [("count", 4), ("stride", 2), ("layers", (1, 3))])
def test_layers_of_the_command_line_take_the_place_of_the_default(word: str, value: int | tuple[int, ...]) -> None:
    words = [str(one) for one in (value if isinstance(value, tuple) else (value,))]
    config = override(RunConfig.model_validate(MINIMAL), [f"--injection.vision-layers.{word}", *words], prog="train")
    assert config.injection.vision_layers == Layers.model_validate({word: value})


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
