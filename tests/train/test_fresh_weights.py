"""Weights that no checkpoint has are the same at every ZeRO stage."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cli_ray.config import ModelConfig
from cli_ray.model.build import build_model
from cli_ray.model.parameters import whole
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train.engine import partition_while_loading
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, config_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Each family as two parts, whose language model lacks tokens, and as a plain checkpoint."""
    families: tuple[str, ...] = ("llava", "llava_onevision")
    return [model for family in families for model in saved(family, tmp_path_factory.mktemp(family))]


def saved(family: str, folder: Path) -> list[dict[str, Any]]:
    plain, tokenizer = build_tiny(family), tiny_processor(family).tokenizer
    plain.save_pretrained(folder / "plain")
    language = AutoModelForCausalLM.from_config(plain.config.text_config)
    language.resize_token_embeddings(len(tokenizer) - 10, mean_resizing=False)
    language.save_pretrained(folder / "text")
    tokenizer.save_pretrained(folder / "text")
    plain.model.vision_tower.save_pretrained(folder / "vision")
    parts = {"vision_tower": str(folder / "vision"), "language_model": str(folder / "text")}
    return [{"family": family} | parts, {"family": family, "checkpoint": str(folder / "plain")}]


def weights(models: list[dict[str, Any]], stage: int) -> list[dict[str, str]]:
    """Of each model, the hash of every parameter; called by every rank."""
    return [_weights(ModelConfig.model_validate(model), stage) for model in models]


def _weights(model: ModelConfig, stage: int) -> dict[str, str]:
    config = config_of(Case(zero_stage=stage)).model_copy(update={"model": model})
    partitioning = partition_while_loading(config, torch.device("cpu"))
    built = build_model(model, config.injection, config.lora, dtype=torch.float32, seed=0)
    del partitioning
    hashes = {}
    for name, parameter in built.named_parameters():
        with whole([parameter]):
            hashes[name] = hashlib.sha256(parameter.detach().numpy().tobytes()).hexdigest()
    return hashes


@pytest.mark.slow
def test_zero_3_draws_the_weights_of_the_other_stages(models: list[dict[str, Any]]) -> None:
    [whole_models] = on_ranks(1, weights, models, 2)
    for rank in on_ranks(2, weights, models, 3):
        assert rank == whole_models
    assert all(len(set(hashes.values())) > 10 for hashes in whole_models)
