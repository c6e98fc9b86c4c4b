"""Makes a loaded processor fit its model.

Settings that follow from the model's config are corrected, contradictions are refused. Training and evaluation call it
before any weight is read.
"""

from typing import Any

from transformers import ProcessorMixin

from cli_ray.errors import UserError
from cli_ray.model.families import family_of
from cli_ray.text import counted

_SHOWN = 5
"""Tokens that a message names."""


def fit(processor: ProcessorMixin, config: Any, where: str) -> None:
    """Gives a processor the settings by which it counts image tokens, and checks the rest.

    How many tokens an image takes follows from the model alone. Many processors do not store it, or store what an
    older release of transformers took.

    Args:
        processor: of a model that is read; changed in place.
        config: of the model.
        where: folder or hub id, for messages.

    Raises:
        UserError: another image size than the tower's, other tiles, another image token, or tokens that the model has
            no embeddings for.
    """
    processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    family_of(config).fit_processor(processor, config, where)
    _check_size(processor, config.vision_config.image_size, where)
    _check_image_token(processor, config, where)
    _check_embeddings(processor.tokenizer, config.text_config.vocab_size, where)


def _check_size(processor: ProcessorMixin, side: int, where: str) -> None:
    images = processor.image_processor
    if getattr(images, "do_center_crop", False) and images.crop_size:
        field, size = "crop_size", dict(images.crop_size)
    else:
        field, size = "size", dict(images.size)
    if set(size.values()) != {side}:
        raise UserError(
            f"{where}: {field} = {size} in preprocessor_config.json, but the vision tower takes images of {side} x "
            f"{side} (vision_config.image_size in config.json): set it to that"
        )


def _check_image_token(processor: ProcessorMixin, config: Any, where: str) -> None:
    tokenizer, token = processor.tokenizer, processor.image_token
    known = tokenizer.get_vocab().get(token)
    expected = config.image_token_id
    if known is None:
        raise UserError(
            f"{where}: the tokenizer has no token {token!r}, but image_token_index = {expected} in config.json: add it "
            "to the tokenizer as a special token with that id"
        )
    if known != expected:
        raise UserError(
            f"{where}: {token!r} is token {known} of the tokenizer, but image_token_index = {expected} in config.json, "
            f"which is {tokenizer.convert_ids_to_tokens(expected)!r}: set it to {known}"
        )


def _check_embeddings(tokenizer: Any, rows: int, where: str) -> None:
    beyond = sorted((i, token) for token, i in tokenizer.get_vocab().items() if i >= rows)
    if beyond:
        shown = ", ".join(f"{token!r} ({i})" for i, token in beyond[:_SHOWN])
        more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
        raise UserError(
            f"{where}: the tokenizer has {counted(len(beyond), 'token')} beyond the model's {rows:,} embeddings "
            f"(text_config.vocab_size in config.json): {shown}{more}; save a model with resized embeddings "
            "(resize_token_embeddings), or take the tokens out of the tokenizer"
        )
