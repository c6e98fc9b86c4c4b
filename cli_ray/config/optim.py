"""Optimiser, schedule and what is trained at which rate."""

from typing import Literal

from pydantic import Field

from cli_ray.config.base import Section

Part = Literal["vision_tower", "projector", "amp", "agf", "llm", "lora"]


class PartConfig(Section):
    """The learning rate of one part of the model."""

    lr: float = Field(default=0.0, ge=0)
    """Peak learning rate; 0 freezes the part."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of matrices; vectors (norms, biases, gates, queries) have none."""


class OptimConfig(Section):
    """AdamW with cosine decay after a linear warm-up."""

    vision_tower: PartConfig = PartConfig()
    projector: PartConfig = PartConfig()
    amp: PartConfig = PartConfig(lr=2e-4)
    agf: PartConfig = PartConfig(lr=2e-4)
    llm: PartConfig = PartConfig()
    lora: PartConfig = PartConfig()
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the two moments."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0."""
    min_lr_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the peak rate that the cosine ends at."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this global norm."""
