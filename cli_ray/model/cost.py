"""What a sample costs and what injection adds: FLOPs and parameters, from the configs alone.

Said at the start of a run and reported by the trials of a sweep; the stream levels its steps by it.

FLOPs count a multiply-add as 2 and matrix products only, as torch.utils.flop_counter does, and attention
between all pairs of positions.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.costs.parameters import agf_parameters, amp_parameters
from cli_ray.costs.sizes import attention_widths, patches_of, tokens_of
from cli_ray.model.families import family_of
from cli_ray.tiles import UNLIMITED, Budget


@dataclass(frozen=True)
class SampleSize:
    """The sizes of one sample."""

    tiles: int
    """Squares that go through the vision tower."""
    visual_tokens: int
    """Tokens of its image in the text, newlines included."""
    text_tokens: int = 64
    """Other tokens."""

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.visual_tokens + self.text_tokens


@dataclass(frozen=True)
class Cost:
    """Parameters and forward FLOPs of one sample."""

    amp_parameters: int
    agf_parameters: int
    base_flops: int
    """Vision tower, projector and language model, logits of one position."""
    projection_flops: int
    """Tapped layers through the projector."""
    low_rank_flops: int
    """The low-rank path around it."""
    gate_flops: int
    """AGF."""
    inject_flops: int
    """The gated sums."""

    @property
    def added_parameters(self) -> int:
        """Parameters that plain LLaVA does not have."""
        return self.amp_parameters + self.agf_parameters

    @property
    def added_flops(self) -> int:
        """Forward FLOPs that plain LLaVA does not take."""
        return self.projection_flops + self.low_rank_flops + self.gate_flops + self.inject_flops


def typical_sample(config: PreTrainedConfig, budget: Budget = UNLIMITED) -> SampleSize:
    """The typical image of the family, shrunk where the budget is smaller, with 64 tokens of text."""
    tiles, visual_tokens = family_of(config).typical_image(config, budget)
    return SampleSize(tiles, visual_tokens)


def cost(config: Any, injection: InjectionConfig, sample: SampleSize) -> Cost:
    """Parameters and FLOPs of a LLaVA `config` with a resolved `injection`."""
    vision, width = config.vision_config.hidden_size, config.text_config.hidden_size
    taps, slots, traits = len(injection.tapped), len(injection.injected), injection.traits
    injects, gated = traits.injects, traits.gates == "learned"
    amp, agf = injection.amp, injection.agf
    rows = sample.tiles * patches_of(config.vision_config)
    projector = vision * width + width * width
    low_rank = taps * amp.rank * (vision + width) if injects and amp.projector == "low_rank" else 0
    external = taps * vision * width if traits.at_projector else 0
    sets = (1 if agf.shared else slots) if gated else 0
    heads = agf.num_heads
    # Folding, then scores and values of every visual token; scores, sums and gates of the context.
    visual = sets * (4 * taps * agf.hidden_size * width + taps * 4 * sample.visual_tokens * heads * width)
    context = slots * (4 * sample.length * heads + 2 * taps * heads) * width if gated else 0
    return Cost(
        amp_parameters=amp_parameters(config, injection),
        agf_parameters=agf_parameters(config, injection),
        base_flops=_base_flops(config, sample),
        projection_flops=2 * rows * (external + (taps * projector if injects else 0)),
        low_rank_flops=2 * rows * low_rank,
        gate_flops=visual + context,
        inject_flops=slots * 2 * taps * sample.visual_tokens * width if injects else 0,
    )


def describe(model: PreTrainedModel, run: RunConfig) -> str:
    """One paragraph for the start of a run: what injection adds, and what a step costs."""
    config = model.config
    sample = typical_sample(config, Budget.of(run.data, family_of(config).processor_class.usual_length))
    spent = cost(config, config.injection, sample)
    shares = {
        "projecting the tapped layers": spent.projection_flops,
        "low-rank paths": spent.low_rank_flops,
        "gates": spent.gate_flops,
        "injecting": spent.inject_flops,
    }
    parts = ", ".join(f"{name} {flops / spent.base_flops:.2%}" for name, flops in shares.items() if flops)
    batch = run.train.global_batch_size
    step = 3 * batch * (spent.base_flops + spent.added_flops)
    forward = (
        f"the {spent.base_flops / 1e12:.3g} TFLOP of a forward pass over {sample.visual_tokens} image and "
        f"{sample.text_tokens} text tokens"
    )
    adds = (
        f"injection ({config.injection.kind}) adds {spent.added_parameters / 1e6:.2f} M parameters "
        f"(AMP {spent.amp_parameters / 1e6:.2f} M, AGF {spent.agf_parameters / 1e6:.2f} M) and "
        f"{spent.added_flops / spent.base_flops:.2%} to {forward}{': ' + parts if parts else ''}"
    )
    if config.injection.kind == "none":
        adds = f"nothing is injected, and nothing added to {forward}"
    return f"{adds}. A step of {batch} such samples is about {step / 1e12:.3g} TFLOP when everything is trained."


def step_costs(config: Any, injection: InjectionConfig, run: RunConfig) -> dict[str, int]:
    """What a sample costs a training step, forward and backward, by what of it the cost grows with.

    A weight costs three times its forward FLOPs where it is trained, twice where gradients only pass through it, and
    once in front of all that is trained; attention, which has no weights, three times, and by its causal half alone, as
    kernels compute it. What gates and gated sums add is left out, some 0.1 %.

    Args:
        config: of the model.
        injection: resolved.
        run: says what is trained, and what is recomputed.

    Returns:
        Whole numbers in millionths of what the language model costs a token: `tile`, `token`, `pair` (of tokens, in
        attention) and `supervised` (a token with logits); see `SampleCost`.
    """
    optim, text = run.optim, config.text_config
    again = int(run.train.activation_checkpointing)
    tower, projector, llm = (getattr(optim, part).lr > 0 for part in ("vision_tower", "projector", "llm"))
    taps = cost(config, injection, SampleSize(1, 0, 0))
    tile = (3 + again if tower else 1) * _tower_flops(config) + (1 + tower + projector) * _projector_flops(config)
    tile += 3 * (taps.projection_flops + taps.low_rank_flops)
    token = (2 + llm + again) * _token_flops(text)
    pair, supervised = (3 + again) * _pair_flops(text) // 2, (2 + llm) * _logit_flops(text)
    flops = {"tile": tile, "token": token, "pair": pair, "supervised": supervised}
    return {name: value * 10**6 // token for name, value in flops.items()}


def _base_flops(config: Any, sample: SampleSize) -> int:
    text, length = config.text_config, sample.length
    images = sample.tiles * (_tower_flops(config) + _projector_flops(config))
    return images + length * _token_flops(text) + length**2 * _pair_flops(text) + _logit_flops(text)


def _tower_flops(config: Any) -> int:
    """Of the vision tower, a tile."""
    vision = config.vision_config
    tokens, width = tokens_of(config), vision.hidden_size
    block = 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * vision.intermediate_size
    embedding = 2 * patches_of(vision) * 3 * vision.patch_size**2 * width
    flops: int = embedding + vision.num_hidden_layers * block
    return flops


def _projector_flops(config: Any) -> int:
    """Of the projector, a tile."""
    vision, width = config.vision_config, config.text_config.hidden_size
    flops: int = 2 * patches_of(vision) * (vision.hidden_size + width) * width
    return flops


def _token_flops(text: Any) -> int:
    """Of the weights of all decoder layers, a token."""
    queries, keys = attention_widths(text)
    flops: int = text.num_hidden_layers * text.hidden_size * (4 * (queries + keys) + 6 * text.intermediate_size)
    return flops


def _pair_flops(text: Any) -> int:
    """Of the attention of all decoder layers, a pair of tokens."""
    flops: int = text.num_hidden_layers * 4 * attention_widths(text)[0]
    return flops


def _logit_flops(text: Any) -> int:
    """Of the logits of a position."""
    flops: int = 2 * text.hidden_size * text.vocab_size
    return flops
