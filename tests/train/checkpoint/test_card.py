"""What the card of an export says."""

import json
import tomllib
from pathlib import Path
from typing import Any, get_args

import yaml

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.config.injection import KINDS
from cli_ray.train.checkpoint.card import model_card
from cli_ray.train.checkpoint.files import Checkpoint, Progress
from cli_ray.train.run_folder import RunFolder

CHECKPOINT = Checkpoint(
    progress=Progress(step=30, samples=960, tokens=12345), stream={}, world_size=1, zero_stage=2, validation_loss=1.25
)


def config_of(**model: str) -> RunConfig:
    values: dict[str, Any] = {"name": "first", "model": model, "data": {"sources": [{"path": "shards/*.tar"}]}}
    return RunConfig.model_validate(values)


def test_a_card_says_what_from_which_run_and_how_to_load(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    commit, sha256 = "ab" * 20, "cd" * 32
    first = {"packages": {"cli_ray": "0.1.0"}, "code": {"commit": "0" * 40, "changed": False, "sha256": "0" * 64}}
    later = {"packages": {"cli_ray": "0.1.0"}, "code": {"commit": commit, "changed": True, "sha256": sha256}}
    folder.write("environment.json", json.dumps(first | {"resumes": [later]}))
    config = config_of(checkpoint="llava-hf/llava-1.5-7b-hf")
    card = model_card(folder, config, config.model, CHECKPOINT, has_adapter=False)
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "license": "unknown",
        "tags": ["llava", "cross-layer-injection"],
        "base_model": ["llava-hf/llava-1.5-7b-hf"],
    }
    for part in (
        f"| run | `{folder.uri}` |",
        "step 30, after 960 samples and 12345 supervised tokens",
        "| validation loss | 1.2500 |",
        f"cli_ray 0.1.0, commit `{commit}` with changes, files of sha256 `{sha256[:16]}`",
    ):
        assert part in body
    assert RunConfig.model_validate(tomllib.loads(body.split("```toml\n")[1].split("```")[0])) == config
    code = body.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert "peft" not in code
    adapted = (
        model_card(folder, config, config.model, CHECKPOINT, has_adapter=True).split("```python\n")[1].split("```")[0]
    )
    compile(adapted, "card", "exec")
    assert "PeftModel" in adapted


def test_folders_are_no_base_models_of_the_hub(tmp_path: Path) -> None:
    parts = {"vision_tower": "/models/clip", "language_model": "lmsys/vicuna-7b-v1.5"}
    config = config_of(**parts)
    card = model_card(RunFolder(str(tmp_path)), config, config.model, CHECKPOINT, has_adapter=False)
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == ["lmsys/vicuna-7b-v1.5"]
    assert "from `/models/clip` and `lmsys/vicuna-7b-v1.5`" in card


def test_a_card_names_the_commit_of_the_base(tmp_path: Path) -> None:
    config = config_of(checkpoint="llava-hf/llava-1.5-7b-hf")
    pinned = config.model.model_copy(update={"checkpoint": "llava-hf/llava-1.5-7b-hf@" + "ab" * 20})
    card = model_card(RunFolder(str(tmp_path)), config, pinned, CHECKPOINT, has_adapter=False)
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == ["llava-hf/llava-1.5-7b-hf"]
    assert f"trained from `{pinned.checkpoint}`" in card


def test_every_kind_has_its_words() -> None:
    assert set(KINDS) == set(get_args(InjectionConfig.model_fields["kind"].annotation))
