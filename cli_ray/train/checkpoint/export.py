"""From a run's checkpoint to a plain Hugging Face folder.

Called by `cli-ray export`, by the commands that evaluate a run, and by the evaluator while it trains.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cli_ray.console import muted
from cli_ray.errors import UserError
from cli_ray.model.build import build_model, load_processor, quiet_loading, resolve_injection
from cli_ray.model.lora import merge_lora, save_lora
from cli_ray.train.base import check_base
from cli_ray.train.checkpoint.card import CARD, model_card
from cli_ray.train.checkpoint.files import TAG, Checkpoint, complete_checkpoints, read_from
from cli_ray.train.run_folder import RunFolder, load_config

STAGES = ("loading the base model", "reading the checkpoint", "writing the model")


def export(
    run: str,
    output: Path,
    step: int | None,
    *,
    best: bool,
    keep_lora: bool,
    on_stage: Callable[[str], object] = lambda stage: None,
) -> str:
    """Writes safetensors, config, processor and a model card to `output`.

    Args:
        run: path or URI of the run folder.
        step: step of the checkpoint; None takes the newest.
        best: take the one of lowest validation loss.
        keep_lora: write adapters to `output/adapter` instead of merging them.
        on_stage: called at the beginning of each of `STAGES`.

    Returns:
        The name of the checkpoint that was exported.

    Raises:
        UserError: `output` holds files, the run has no such checkpoint, or its base has changed.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty: name a new folder")
    quiet_loading()
    folder = RunFolder(run)
    config = load_config(folder)
    base = check_base(folder, config.model)
    folder.check_layers(resolve_injection(base, config.injection)[1])
    checkpoint = _choose(folder, step, best)
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    on_stage(STAGES[0])
    model = build_model(base, config.injection, config.lora, dtype=dtype, seed=config.seed)
    on_stage(STAGES[1])
    with read_from(folder, checkpoint.name) as local:
        load_trained(model, consolidated(local, checkpoint.zero_stage))
    on_stage(STAGES[2])
    # Written aside: a folder that a full disk cut short must not look like a model.
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if config.lora.rank and keep_lora:
        save_lora(model, partial)
    elif config.lora.rank:
        merge_lora(model)
    model.save_pretrained(partial)
    processor = load_processor(base)
    processor.limit_images(config.data)
    processor.save_pretrained(partial)
    has_adapter = bool(config.lora.rank and keep_lora)
    (partial / CARD).write_text(model_card(folder, config, base, checkpoint, has_adapter=has_adapter))
    readable_as_others(partial)
    if output.exists():
        output.rmdir()
    partial.rename(output)
    return checkpoint.name


def readable_as_others(folder: Path) -> None:
    """Gives all files the mode that this user's files get, 0644 as a rule: safetensors writes its own as 0600."""
    mode = (folder / "config.json").stat().st_mode
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def consolidated(checkpoint: Path, zero_stage: int) -> dict[str, Tensor]:
    """The trained parameters of a checkpoint in fp32, gathered from all ranks' shards.

    Reads pickles, which is safe only because they come from our own run folder.
    """
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    if zero_stage:
        with muted():
            state: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(
                str(checkpoint), tag=TAG, exclude_frozen_parameters=True
            )
        return state
    path = checkpoint / TAG / "mp_rank_00_model_states.pt"
    module: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=False)["module"]
    return module


def load_trained(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Puts trained parameters into a model that holds the frozen ones already.

    Raises:
        UserError: the state holds parameters that the model lacks.
    """
    unexpected: list[Any] = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise UserError(
            f"the checkpoint has parameters that the model lacks ({unexpected[0]} and {len(unexpected) - 1} more): "
            "the base checkpoint named in the config has changed"
        )


def _choose(folder: RunFolder, step: int | None, best: bool) -> Checkpoint:
    complete = complete_checkpoints(folder)
    if not complete:
        raise UserError(f"{folder.uri} has no complete checkpoint yet")
    if step is not None:
        chosen = next((c for c in complete if c.progress.step == step), None)
        if chosen is None:
            raise UserError(
                f"{folder.uri} has no checkpoint of step {step}, only of {[c.progress.step for c in complete]}"
            )
        return chosen
    scored = [c for c in complete if c.validation_loss is not None]
    if best and not scored:
        raise UserError(f"{folder.uri} has no validation loss: export without --best")
    return min(scored, key=lambda c: c.validation_loss or 0.0) if best else complete[-1]
