"""Faults of model, processor and lengths that show before a worker, or a GPU, is taken.

Called by `checks` before a run starts, and by `cli-ray data check`. Loads torch and transformers, which takes seconds.
"""

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.data.encoder import Encoder
from cli_ray.errors import UserError
from cli_ray.model.attention import check_attention
from cli_ray.model.build import load_processor, resolve_injection
from cli_ray.train.rehearsal import longest_batch


def check_model(config: RunConfig) -> tuple[InjectionConfig, Encoder]:
    """Looks for them all.

    Returns:
        The injection with explicit layers, and the encoder of the run.

    Raises:
        UserError: layers or attention kernels that do not exist, more tokens than positions, a chat template that
            cannot be used, no room for an image, a processor that does not fit its model, kernels that cannot pack.
    """
    check_attention(config.model.attention, "model.attention")
    if config.evaluation.every:
        check_attention(config.evaluation.replica.attention, "evaluation.replica.attention")
    described, injection = resolve_injection(config.model, config.injection)
    positions = described.text_config.max_position_embeddings
    encoder = Encoder(load_processor(config.model), config.data)
    if encoder.max_length > positions:
        raise UserError(f"data.max_length = {encoder.max_length}, the language model has {positions} positions")
    # Where it is not given it is the family's.
    config = config.model_copy(update={"data": config.data.model_copy(update={"max_length": encoder.max_length})})
    if config.packs and config.pack_tokens < encoder.max_length:
        raise UserError(
            f"train.pack_tokens = {config.pack_tokens} is below data.max_length = {encoder.max_length}, that of the "
            "family where it is not given: a sample is never cut, so raise the one or lower the other"
        )
    window = getattr(described.text_config, "sliding_window", None)
    if config.packs and config.model.attention == "sdpa" and window is not None and window < encoder.max_length:
        raise UserError(
            f"the language model has layers that see {window} tokens, which model.attention = 'sdpa' cannot do in "
            f"packs of samples of up to data.max_length = {encoder.max_length}: take 'flash_attention_2', or set "
            "train.packing = false"
        )
    longest_batch(encoder, config)
    return injection, encoder
