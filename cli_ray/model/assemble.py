"""A plain model from a vision tower and a language model, joined by a fresh projector.

`build` calls it where a config names parts instead of a checkpoint; `original_llava` shares the pieces.
"""

from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, ProcessorMixin

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.families import family_named
from cli_ray.model.location import located, read_config
from cli_ray.model.parameters import partitioning_off, whole


def assemble_processor(model: ModelConfig) -> ProcessorMixin:
    """The processor of `assemble`: the tower's image size, the language model's tokenizer.

    The chat template is the tokenizer's, or the family's where it has none.
    """
    tokenizer, vision = _tokenizer(model), _vision_config(model)
    template = tokenizer.chat_template or family_template(model.family, tokenizer)
    return family_named(model.family).new_processor(tokenizer, vision, template)


def family_template(name: str, tokenizer: Any) -> str:
    """The chat template of a family, with the tokenizer's own end token."""
    return family_named(name).chat_template.replace("</s>", tokenizer.eos_token)


def assemble(model: ModelConfig, dtype: torch.dtype) -> PreTrainedModel:
    """A plain LLaVA of `model.family`, its projector and new tokens drawn from the global generator.

    What they draw depends on its state alone, not on the ZeRO stage, at which the parts may load in other ways.

    Raises:
        UserError: the vision tower is not of the kind that the family has.
    """
    tokenizer, config = _tokenizer(model), joined_config(model)
    with partitioning_off():
        joined = _frame(model, config.vision_config, config.text_config, tokenizer).to(dtype)
    after_frame = torch.get_rng_state()
    vision = load_tower(model, located(model.vision_tower, model.revision), _vision_config(model), dtype)
    language = AutoModelForCausalLM.from_pretrained(
        **located(model.language_model, model.revision), dtype=dtype, attn_implementation=model.attention
    )
    joined.model.vision_tower, joined.model.language_model = vision, language.model
    joined.lm_head, joined.generation_config = language.lm_head, language.generation_config
    joined.config.vision_config, joined.config.text_config = vision.config, language.config
    joined.config.tie_word_embeddings = language.config.tie_word_embeddings
    joined.tie_weights()
    known = language.config.vocab_size
    if rows_of(tokenizer) > known:
        joined.resize_token_embeddings(rows_of(tokenizer), mean_resizing=False)
        torch.set_rng_state(after_frame)
        _draw_rows(joined, known)
    return joined.eval()


@torch.no_grad()
def _draw_rows(joined: PreTrainedModel, known: int) -> None:
    """The embeddings and output rows of new tokens, as a language model draws its own."""
    weights = {id(module.weight): module.weight for module in (joined.get_input_embeddings(), joined.lm_head)}
    for weight in weights.values():
        with whole([weight]):
            rows = torch.empty(len(weight) - known, weight.shape[1])
            weight[known:] = rows.normal_(std=joined.config.text_config.initializer_range).to(weight)


def rows_of(tokenizer: Any) -> int:
    """Embeddings that a tokenizer needs; its ids may have gaps."""
    return 1 + int(max(tokenizer.get_vocab().values()))


def joined_config(model: ModelConfig) -> Any:
    """The config that `assemble` gives its model, but for special tokens; reads no weights.

    Raises:
        UserError: the vision tower is not of the kind that the family has.
    """
    text = read_config(model.language_model, model.revision, "model.language_model")
    return family_named(model.family).plain_class.config_class(vision_config=_vision_config(model), text_config=text)


def _frame(model: ModelConfig, vision: Any, text: Any, tokenizer: Any) -> PreTrainedModel:
    """A LLaVA with the projector that joins the two, around parts of one thin layer each."""
    thin = {"num_hidden_layers": 1, "intermediate_size": 1}
    bare = {"vocab_size": 1, "layer_types": None, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    parts = {"vision_config": vision.to_dict() | thin, "text_config": text.to_dict() | thin | bare}
    tokens = {"image_token_index": tokenizer.convert_tokens_to_ids("<image>"), "pad_token_id": tokenizer.pad_token_id}
    fields = family_named(model.family).joined_fields(tokenizer.convert_tokens_to_ids, vision)
    plain: Any = family_named(model.family).plain_class
    return plain(plain.config_class(**parts, **tokens, **fields))


def _tokenizer(model: ModelConfig) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(**located(model.language_model, model.revision))
    tokenizer.add_tokens(list(family_named(model.family).image_tokens), special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def _vision_config(model: ModelConfig) -> Any:
    return vision_config(model.family, model.vision_tower, model.revision, "model.vision_tower")


def vision_config(name: str, tower: str, revision: str, field: str) -> Any:
    """The config of a family's vision tower.

    Args:
        name: of the family.
        tower: folder or hub id.
        revision: of the hub.
        field: that names the tower, for the message.

    Raises:
        UserError: it is not of the kind that the family has.
    """
    kind = family_named(name).tower
    config = read_config(tower, revision, field)
    if config.model_type.removesuffix("_vision_model") != kind:
        raise UserError(f"{field} = {tower!r} is a {config.model_type}, but model.family = {name!r} has a {kind} tower")
    vision = getattr(config, "vision_config", config)
    family_named(name).adapt_tower(vision)
    return vision


def load_tower(model: ModelConfig, where: dict[str, str], config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """A vision tower with the layers that `config` has.

    Args:
        where: folder or hub id, from `located`.
    """
    tower: PreTrainedModel = MODEL_MAPPING[type(config)].from_pretrained(
        **where, config=config, dtype=dtype, attn_implementation=model.attention
    )
    return tower
