"""The weights of checkpoints in the original LLaVA layout, renamed onto the classes of transformers.

The files hold a language model with the projector and mostly the vision tower among its own weights; a tower that they
lack comes from its own id. Source of the names: `convert_llava_weights_to_hf.py` and
`convert_llava_onevision_weights_to_hf.py` of transformers.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.assemble import load_tower
from cli_ray.model.location import located
from cli_ray.model.original_llava import text_config, tower_of
from cli_ray.model.parameters import whole

RENAMES = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.embed_tokens\.": "model.language_model.embed_tokens.",
    r"^model\.layers\.": "model.language_model.layers.",
    r"^model\.norm\.": "model.language_model.norm.",
}
"""From the original name of a weight to ours."""
_UNUSED = re.compile(r"inv_freq$|position_ids$|^model\.image_newline$|vision_tower\.(encoder\.layers\.\d+|head)\.")
"""Weights of the files that no part reads: buffers, LLaVA-1.5's newline, the tower's blocks after the one that feeds
the projector."""


def load_original(kind: Any, model: ModelConfig, config: Any, values: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """An original checkpoint as a CLI model.

    Args:
        kind: class of the model.
        config: of the model, from `original_config`.
        values: the content of the checkpoint's config.json.

    Returns:
        The model, and the names of its parameters that the checkpoint lacks.

    Raises:
        UserError: the files hold weights that the model lacks.
    """
    rows, stored = config.text_config.vocab_size, text_config(model, values).vocab_size
    config.text_config.vocab_size = stored
    built, report = kind.from_pretrained(
        **located(model.checkpoint, model.revision),
        config=config,
        dtype=dtype,
        attn_implementation=model.attention,
        key_mapping=RENAMES,
        output_loading_info=True,
    )
    # The renaming is undone at saving where it is remembered, but what is saved is in Hugging Face's layout.
    del built._weight_conversions
    unread = sorted(name for name in report["unexpected_keys"] if not _UNUSED.search(name))
    if unread:
        raise UserError(
            f"model.checkpoint = {model.checkpoint!r} holds {len(unread)} weights that a {model.family} lacks, such as "
            f"{unread[0]}"
        )
    missing = set(report["missing_keys"])
    tower = {f"model.vision_tower.{name}" for name, _ in built.model.vision_tower.named_parameters()}
    if tower <= missing:
        name, revision, _ = tower_of(model, values)
        built.model.vision_tower = load_tower(model, located(name, revision), config.vision_config, dtype)
        missing -= tower
    if rows != stored:
        _grow(built, stored, rows)
    return built, missing


@torch.no_grad()
def _grow(model: PreTrainedModel, old: int, new: int) -> None:
    """Gives embeddings and head rows for the added tokens: the mean of those that are there, which no token stands
    out from."""
    model.resize_token_embeddings(new, mean_resizing=False)
    for matrix in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
        with whole([matrix]):
            matrix[old:] = matrix[:old].float().mean(0).to(matrix)
