"""From the config sections to a model and its processor.

Weights come from the tiny model, from a checkpoint or from parts to join. Training, export, `cli-ray data check` and
`data show`, and the doctor call it.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers.utils.logging
from torch import nn
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from cli_ray.config import InjectionConfig, LoraConfig, ModelConfig
from cli_ray.console import is_verbose
from cli_ray.costs.sizes import resolve
from cli_ray.costs.tiny import TinySize
from cli_ray.errors import UserError
from cli_ray.model import tiny
from cli_ray.model.assemble import assemble, assemble_processor, joined_config
from cli_ray.model.attach import attach
from cli_ray.model.checkpoint import check_text, checkpoint_config, checkpoint_values
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.families import family_named
from cli_ray.model.fit import fit
from cli_ray.model.location import located
from cli_ray.model.lora import inject_lora
from cli_ray.model.original_llava import is_original, original_processor
from cli_ray.model.original_weights import load_original
from cli_ray.model.parameters import part_of


def load_processor(model: ModelConfig) -> ProcessorMixin:
    """Image processor, tokenizer and chat template of a model; needs no torchvision.

    Raises:
        UserError: it cannot be found or read, or does not fit the model's config.
    """
    with explained(model):
        if model.checkpoint == "tiny":
            processor = tiny.tiny_processor(model.family)
        elif model.checkpoint:
            processor = _checkpoint_processor(model)
        else:
            processor = assemble_processor(model)
    if processor.chat_template is None:
        processor.chat_template = family_named(model.family).chat_template
    family_named(model.family).set_up_processor(processor, model)
    return processor


def published_processor(name: str) -> ProcessorMixin:
    """The chat template of a family with the images of its published models, needing no download; text is in bytes.

    Args:
        name: of the family.
    """
    family = family_named(name)
    vision = TinySize(*family.published_size)
    processor = family.new_processor(tiny.tiny_tokenizer(name), vision, family.chat_template)
    family.set_up_processor(processor, ModelConfig(family=name, checkpoint="tiny"))
    return processor


def plain_config(model: ModelConfig) -> Any:
    """The config of the model before injection, with the one of a CLI checkpoint among them; reads no weights.

    Raises:
        UserError: a format, a family or a part that is not read.
        OSError: a model that cannot be found.
    """
    if model.checkpoint == "tiny":
        return tiny.build_tiny(model.family).config
    if model.checkpoint:
        return checkpoint_config(model, checkpoint_values(model))
    return joined_config(model)


def resolve_injection(model: ModelConfig, injection: InjectionConfig) -> tuple[Any, InjectionConfig]:
    """The config of a model, and the injection with explicit layers, before any weight is read.

    Raises:
        UserError: a model that cannot be found, layers that do not exist, a checkpoint of another family or with
            another injection.
    """
    with explained(model):
        config = plain_config(model)
    check_text(config)
    injection = _checked(injection, config)
    if model.checkpoint and model.checkpoint != "tiny":
        config = _cli_config(model, config, injection)
        return config, config.injection
    return config, injection


@contextmanager
def explained(model: ModelConfig) -> Iterator[None]:
    """Turns an error of reading files into one that names the fields."""
    try:
        yield
    except OSError as error:
        names = [getattr(model, name) for name in ("checkpoint", "vision_tower", "language_model")]
        named = " or ".join(filter(None, names))
        raise UserError(f"model: {named} cannot be read, as a folder or from the hub: {error}") from error


def _checkpoint_processor(model: ModelConfig) -> ProcessorMixin:
    values = checkpoint_values(model)
    config = checkpoint_config(model, values)
    if is_original(values):
        processor = original_processor(model, values)
    else:
        processor = family_named(model.family).processor_class.from_pretrained(
            **located(model.checkpoint, model.revision)
        )
    fit(processor, config, model.checkpoint)
    return processor


def build_model(
    model: ModelConfig, injection: InjectionConfig, lora: LoraConfig, *, dtype: torch.dtype, seed: int
) -> PreTrainedModel:
    """The CLI model of the config, pretrained weights loaded and new ones drawn from `seed`.

    All parameters that can get a gradient are left trainable, but for the language model under LoRA.
    Works under transformers' `HfDeepSpeedConfig`, where parameters are partitioned as they are built.

    Raises:
        UserError: the checkpoint is of another family, lacks weights, holds another injection, or has no such
            layers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model.checkpoint == "tiny":
            plain = tiny.build_tiny(model.family, seed)
            plain.set_attn_implementation(model.attention)
            built = attach(with_parameters_in(plain, dtype), _checked(injection, plain.config), seed)
        elif model.checkpoint:
            built = _load(model, injection, dtype, seed)
        else:
            plain = assemble(model, dtype)
            built = attach(plain, _checked(injection, plain.config), seed)
        freeze_unused(built)
        _mend_generation(built.generation_config)
        if lora.rank:
            inject_lora(built, lora)
    return built


def with_parameters_in(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The model, its parameters cast in place; buffers stay, RoPE's frequencies among them, as in a checkpoint's."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    return model


def freeze_unused(model: PreTrainedModel) -> None:
    """Freeze what no output depends on, lest optimisers wait for its gradient: vision blocks past the one
    that feeds the projector, the tower's last norm and its pooling head."""
    config = model.config
    bases = config.vision_feature_layer
    indices = range(config.vision_config.num_hidden_layers + 1)
    used = max(indices[base] for base in ([bases] if isinstance(bases, int) else bases))
    tower = model.model.vision_tower
    tower.requires_grad_(False)
    for name, module in tower.named_modules():
        if isinstance(module, nn.ModuleList):
            for block in module[:used]:
                block.requires_grad_(True)
        if name.rsplit(".", 1)[-1] in ("embeddings", "pre_layrnorm"):
            module.requires_grad_(True)


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Has decoder and vision layers computed again in the backward pass, those alone that go backward."""
    model.activation_checkpointing_enable({"use_reentrant": False})
    # transformers has the embeddings need gradients, for reentrant checkpoints alone; frozen parts would go backward.
    model.disable_input_require_grads()


def _checked(injection: InjectionConfig, config: Any) -> InjectionConfig:
    try:
        return resolve(injection, config)
    except ValueError as error:
        raise UserError(str(error)) from None


def _cli_config(model: ModelConfig, stored: Any, injection: InjectionConfig) -> Any:
    """The config of the CLI model that a checkpoint's stored config and a resolved injection make; UserError when they
    cannot."""
    if isinstance(stored, InjectionSection):
        _refuse_another(model, stored.injection, injection)
    return family_named(model.family).model_class.config_class.from_plain(stored, injection)


def _load(model: ModelConfig, injection: InjectionConfig, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    values, kind = checkpoint_values(model), family_named(model.family).model_class
    stored = checkpoint_config(model, values)
    config = _cli_config(model, stored, _checked(injection, stored))
    if is_original(values):
        built, missing = load_original(kind, model, config, values, dtype)
    else:
        built, report = kind.from_pretrained(
            **located(model.checkpoint, model.revision),
            config=config,
            dtype=dtype,
            attn_implementation=model.attention,
            output_loading_info=True,
        )
        missing = set(report["missing_keys"])
    new = {name for name, _ in built.named_parameters() if part_of(name) in ("amp", "agf")}
    if lacking := sorted(missing - new if missing >= new else missing):
        raise UserError(
            f"model.checkpoint = {model.checkpoint!r} lacks {len(lacking)} weights of a {model.family}, "
            f"such as {lacking[0]}"
        )
    if missing:
        built.model.draw(seed)
    return built


def _mend_generation(config: GenerationConfig) -> None:
    """Takes out what a greedy generation does not read. Some checkpoints, such as Vicuna's, come with a temperature and
    no sampling, which transformers reads and refuses to save."""
    if not config.do_sample:
        config.temperature = config.top_p = config.top_k = config.min_p = config.typical_p = None


def _refuse_another(model: ModelConfig, stored: InjectionConfig, injection: InjectionConfig) -> None:
    """A checkpoint of a CLI model brings its own injection; only a plain one may be given any."""
    fields = InjectionConfig.model_fields
    different = [f"injection.{name}" for name in fields if getattr(stored, name) != getattr(injection, name)]
    if stored.traits.taps and different:
        raise UserError(
            f"model.checkpoint = {model.checkpoint!r} holds another injection than the config: "
            f"set {', '.join(different)} as it has them, {stored.model_dump_json(include=set(fields))}"
        )


def quiet_loading() -> None:
    """Keeps progress bars and notes of libraries out of this process' output, unless that is to be verbose; called
    before models are loaded.

    Also stops transformers from asking the hub to convert the .bin files of others, as it does whenever it reads some.
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    if is_verbose():
        return
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
