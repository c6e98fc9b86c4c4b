"""LoRA on the language model, through peft: `build` puts adapters in, the export merges or stores them.

peft is imported where it is used, for a process takes a third of a second to load it, and few runs need it.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from cli_ray.config import LoraConfig
from cli_ray.model.parameters import part_of

# Anchored: the vision towers have projections of the same names.
TARGETS = r".*(language|text)_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"


def inject_lora(model: PreTrainedModel, config: LoraConfig) -> None:
    """Give every projection of the decoder a low-rank adapter, in place, drawn from the global generator.

    The language model is frozen; which other parameters are trained does not change.
    """
    from peft import LoraConfig as PeftLoraConfig
    from peft import inject_adapter_in_model

    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = PeftLoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=TARGETS, bias="none"
    )
    inject_adapter_in_model(adapters, model)
    model.train(model.training)
    for name, parameter in model.named_parameters():
        if name in trained and part_of(name) != "llm":
            parameter.requires_grad_(True)


def merge_lora(model: PreTrainedModel) -> None:
    """Add the adapters to the weights they go around and take them away."""
    for layer in _adapted(model).values():
        layer.merge()
    _strip(model)


def save_lora(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapters to `folder/adapter`, in peft's format, and take them away from the model.

    `PeftModel.from_pretrained(base, folder / "adapter")` puts them back.
    """
    from peft import get_peft_model_state_dict

    target = folder / "adapter"
    target.mkdir(parents=True, exist_ok=True)
    model.peft_config["default"].save_pretrained(target)
    state = get_peft_model_state_dict(model)
    tensors = {f"base_model.model.{name}": tensor.detach().contiguous() for name, tensor in state.items()}
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    _strip(model)


def _adapted(model: PreTrainedModel) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@torch.no_grad()
def _strip(model: PreTrainedModel) -> None:
    for name, layer in _adapted(model).items():
        model.set_submodule(name, layer.get_base_layer())
    del model.peft_config
