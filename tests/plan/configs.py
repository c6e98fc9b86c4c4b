"""Runs that the tests plan."""

from typing import Any

from cli_ray.config import RunConfig
from cli_ray.costs.gpus import GPUS
from cli_ray.plan.estimate import Device, Estimate, resolved
from cli_ray.plan.lengths import assumed
from cli_ray.plan.source import shape_named

SEVEN = "llava-hf/llava-1.5-7b-hf"
TILED = "llava-hf/llava-onevision-qwen2-7b-si-hf"


def run_of(checkpoint: str = SEVEN, **sections: Any) -> RunConfig:
    """All of the language model is trained, on eight GPUs."""
    family = "llava" if "1.5" in checkpoint or checkpoint == "tiny" else "llava_onevision"
    values: dict[str, Any] = {
        "name": "planned",
        "model": {"checkpoint": checkpoint, "family": family},
        "data": {"sources": [{"path": "nowhere"}]},
        "optim": {"llm": {"lr": 2e-5}},
        "train": {"global_batch_size": 64, "micro_batch_size": 8, "activation_checkpointing": True},
        "cluster": {"num_workers": 8},
    }
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return RunConfig.model_validate(values)


def estimate_of(config: RunConfig, gpu: str = "H100-80GB") -> Estimate:
    """On GPUs of a kind."""
    shape, kind = shape_named(config.model), GPUS[gpu]
    device = Device(kind.name, kind.memory, kind.peak)
    lengths = assumed(config, shape, 128)
    return Estimate(config, shape, resolved(config, shape), device, config.cluster.min_workers, lengths, mfu=0.3)
