"""From a folder or hub id to a model that is ready to generate, and its processor."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig, PreTrainedConfig, ProcessorMixin

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.console import is_verbose
from cli_ray.data.chat_template import Chat
from cli_ray.errors import UserError
from cli_ray.inference.foreign import ForeignChat, check_kind, foreign_processor, is_foreign
from cli_ray.inference.weights import check_weights
from cli_ray.model.families import family_named, name_of
from cli_ray.model.family import Family
from cli_ray.model.fit import fit
from cli_ray.model.processor import FamilyProcessor

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def load(model: str, replica: ReplicaConfig, revision: str = "") -> tuple[Any, ProcessorMixin]:
    """The model on the devices of the replica, in evaluation mode and decoding greedily, and its processor.

    Args:
        model: folder or hub id.
        replica: devices, precision and attention.
        revision: commit of a hub model; its newest state if none is given.

    Raises:
        UserError: it cannot be read, is no model that is evaluated, has no chat template, or there is no GPU.
    """
    if not is_verbose():
        transformers.utils.logging.disable_progress_bar()
    if replica.gpus and not torch.cuda.is_available():
        raise UserError(f"replica.gpus = {replica.gpus:g}, but torch {torch.__version__} finds no GPU; 0 runs on CPU")
    config, processor = read_processor(model, revision)
    if Path(model).is_dir():
        check_weights(Path(model))
    try:
        loaded, report = AutoModelForImageTextToText.from_pretrained(
            model,
            revision=revision or None,
            config=config,
            dtype=DTYPES[replica.dtype],
            attn_implementation=replica.attention,
            device_map=_devices(replica),
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ImportError, ValueError) as error:
        raise _unreadable(model, error) from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the model {model} lacks {len(missing)} weights, such as {missing[0]}; export or download it again"
        )
    loaded.generation_config = _greedy(loaded, processor)
    return loaded.eval(), processor


def read_processor(model: str, revision: str = "") -> tuple[Any, ProcessorMixin]:
    """The config of a model and its processor, held against each other; reads no weights.

    Args:
        model: folder or hub id.
        revision: commit of a hub model; its newest state if none is given.

    Raises:
        UserError: they cannot be read, are of no model that is evaluated, contradict each other, or there is no chat
            template.
    """
    commit = revision or None
    try:
        check_kind(model, PreTrainedConfig.get_config_dict(model, revision=commit)[0])
        config = AutoConfig.from_pretrained(model, revision=commit, trust_remote_code=False)
        if is_foreign(config.model_type):
            return config, foreign_processor(model, config, commit)
        processor = _processor(model, family_named(name_of(config.model_type)), commit)
    except (OSError, ImportError) as error:
        raise _unreadable(model, error) from error
    fit(processor, config, model)
    return config, processor


def chat_of(processor: ProcessorMixin) -> Chat:
    """What renders messages for a processor from `load`."""
    return Chat(processor) if isinstance(processor, FamilyProcessor) else ForeignChat(processor)


def context_of(model: Any) -> int:
    """Tokens that prompt and reply may have together."""
    length: int = model.config.get_text_config().max_position_embeddings
    return length


def _unreadable(model: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"the model {model} cannot be read, as a folder or from the hub: {reason}")


def _devices(replica: ReplicaConfig) -> str | None:
    if not replica.gpus:
        return None
    return "auto" if replica.gpus > 1 else "cuda"


def _processor(model: str, family: Family, revision: str | None) -> ProcessorMixin:
    processor: ProcessorMixin = family.processor_class.from_pretrained(model, revision=revision)
    if not processor.chat_template:
        raise UserError(f"the model {model} has no chat template; put a chat_template.jinja into its folder")
    family.complete_processor(processor, model, revision)
    return processor


def _greedy(model: Any, processor: ProcessorMixin) -> GenerationConfig:
    """Plain greedy decoding, whatever sampling or penalties the checkpoint suggests; only its end tokens are kept."""
    tokenizer = processor.tokenizer
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    pad = tokenizer.pad_token_id
    first = ends[0] if isinstance(ends, list) else ends
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=first if pad is None else pad,
    )
