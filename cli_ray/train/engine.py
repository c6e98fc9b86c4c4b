"""One optimiser step through DeepSpeed: parameter groups, ZeRO config, loss over supervised tokens.

Built by `worker`; called by `loop` for each step, and by callbacks for sums over the ranks. A step trains its share of
samples in the micro-batches that the order cut, or in packs (`train.packing`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, get_args

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers import PreTrainedModel

from cli_ray.config import InjectionConfig, OptimConfig, Part, RunConfig
from cli_ray.costs.flops import price
from cli_ray.data.collate import MicroBatch, normalize
from cli_ray.data.sample import IGNORED
from cli_ray.data.share import Share
from cli_ray.errors import UserError
from cli_ray.model.build import checkpoint_activations
from cli_ray.model.parameters import decays, part_of
from cli_ray.train.collective_clock import clock_for
from cli_ray.train.deepspeed_private import clock_collectives, import_deepspeed, set_timeouts

# Legend: B rows, T tokens, S supervised tokens, M decoder layers, I images, N vision layers, K numbers, R ranks.


@dataclass(frozen=True)
class ForwardResult:
    """What the forward pass of one micro-batch or pack computed."""

    nll_S: Tensor
    """Negative log-likelihood of each supervised token, fp32."""
    sample_S: Tensor
    """Number of the sample each of them stands in."""
    gates_MIN: Tensor | None
    """Gates of the images, detached; None without gates or images."""
    ids: list[str]
    """Of the samples."""
    sources: list[str]
    """Source label of each sample."""
    positions: int
    """That went through the language model, those of padding included."""


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step computed: `forwards` of this rank, everything else over all ranks."""

    forwards: list[ForwardResult]
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    samples: int
    tokens: int
    bad_samples: int
    shrunk_images: int
    votes: list[int]
    """The argument `votes`, summed over the ranks."""


def deepspeed_config(config: RunConfig) -> dict[str, Any]:
    """The DeepSpeed config of a run."""
    stage = config.train.zero_stage
    # Once a step, ZeRO-1 sums over the workers what each has added up, and would round it to bf16 for that.
    exchange = {"communication_data_type": "fp32"} if stage == 1 else {}
    return exchange | {
        "train_micro_batch_size_per_gpu": config.train.micro_batch_size,
        # Of no effect: `train_step` says which pass is the last of a step, and scales the loss itself.
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optim.max_grad_norm,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.train.precision == "bf16"},
        # DeepSpeed would add micro-batches up in the precision of the parameters.
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": 2**31,
    }


def partition_while_loading(config: RunConfig, device: torch.device) -> Any:
    """At ZeRO stage 3, has transformers partition parameters as it loads them from a checkpoint.

    Returns:
        What must be kept alive until the engine is built: transformers holds it by a weak reference.
    """
    if config.train.zero_stage < 3 or config.model.checkpoint == "tiny":
        return None
    import_deepspeed(device)
    from transformers.integrations import HfDeepSpeedConfig

    return HfDeepSpeedConfig(deepspeed_config(config))


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Trainable parameters by part, with and without weight decay; freezes parts with rate 0.

    Raises:
        UserError: nothing is left to train.
    """
    groups: dict[tuple[Part, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = part_of(name)
        if getattr(optim, part).lr == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((part, decays(name)), []).append(parameter)
    if not groups:
        rates = ", ".join(f"optim.{part}.lr" for part in get_args(Part))
        raise UserError(f"no parameter of the model is trained: set one of {rates}")
    return [
        {
            "name": part,
            "params": parameters,
            "lr": getattr(optim, part).lr,
            "weight_decay": getattr(optim, part).weight_decay if decayed else 0.0,
        }
        for (part, decayed), parameters in groups.items()
    ]


def gated_layers(injection: InjectionConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tapped vision layers and injected decoder layers of a resolved config; empty where nothing is injected."""
    return (injection.tapped, injection.injected) if injection.traits.injects else ((), ())


class Engine:
    """DeepSpeed around a model; all ranks call the same methods the same number of times."""

    def __init__(self, model: PreTrainedModel, processor: Any, config: RunConfig, device: torch.device) -> None:
        deepspeed = import_deepspeed(device)
        self.config = config
        self.device = device
        self.dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
        self.image_processor = processor.image_processor
        self.layers = gated_layers(model.config.injection)
        self.flops = price(model.config, model.config.injection, config.optim, config.lora.rank)
        """FLOPs of each unit of work, forward and backward."""
        self.clock = clock_for(device)
        """Runs while this rank is in a collective, and is told of the phases of a step."""
        if config.train.activation_checkpointing:
            checkpoint_activations(model)
        groups = parameter_groups(model, config.optim)
        self.peak_rates = {group["name"]: group["lr"] for group in groups}
        optimizer = torch.optim.AdamW(
            groups, betas=config.optim.betas, eps=config.optim.eps, fused=device.type == "cuda"
        )
        timeout = timedelta(seconds=config.cluster.backstop_s)
        deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", timeout=timeout)
        self.deepspeed, *_ = deepspeed.initialize(
            model=model.to(device).train(), optimizer=optimizer, config=deepspeed_config(config)
        )
        set_timeouts(timeout)
        clock_collectives(self.deepspeed, self.clock)

    def forward(self, batch: MicroBatch) -> ForwardResult:
        """Runs a micro-batch or a pack; logits are computed at supervised positions only."""
        inputs = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.inputs.items()}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = normalize(
                inputs["pixel_values"], self.image_processor.image_mean, self.image_processor.image_std, self.dtype
            )
        labels_BT = batch.labels.to(self.device)
        keep_BT = F.pad(labels_BT[:, 1:] != IGNORED, (0, 1))
        targets_S = labels_BT[:, 1:][keep_BT[:, :-1]]
        output = self.deepspeed(
            **inputs,
            turn_ids=batch.turn_ids.to(self.device),
            logits_to_keep=keep_BT,
            targets=targets_S,
            use_cache=False,
        )
        sample_S = batch.sample_BT.to(self.device)[keep_BT]
        gates_MIN = output.gates if "pixel_values" in inputs else None
        return ForwardResult(output.nll, sample_S, gates_MIN, batch.ids, batch.sources, labels_BT.numel())

    def train_step(
        self,
        share: Share,
        step: int,
        factor: float,
        votes: Sequence[int] = (),
        on_pass: Callable[[str], object] = lambda detail: None,
    ) -> StepResult:
        """Forward, backward and update over this rank's share of one global batch.

        The loss is the mean over all supervised tokens of all ranks and passes, so neither packing, accumulation nor
        the number of ranks changes it. DeepSpeed averages gradients over ranks, hence the factor of the world size.
        What dropout draws depends on the seed, the step and the place of the micro-batch, so neither a restart nor
        another number of ranks changes it; with packing the place is the rank's, and another number of ranks does.

        Args:
            share: with as many micro-batches on every rank.
            step: optimiser steps done before this one.
            factor: learning-rate factor on the peak rates.
            votes: small numbers to be summed over the ranks, as many on each.
            on_pass: called with the number of each forward pass as it begins, in words.
        """
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = self.peak_rates[group["name"]] * factor
        packs = share.packs_needed(self.config.pack_tokens) if self.config.packs else 0
        own = [packs, share.num_supervised, len(share.ids), share.num_tokens, share.num_bad, share.num_shrunk, *votes]
        ranks_RK = self.gather(torch.tensor(own))
        supervised, samples, tokens, bad, shrunk, *votes = map(int, ranks_RK[:, 1:].sum(0))
        count, batches = self._passes(share, packs=int(ranks_RK[:, 0].max()))
        scale = dist.get_world_size() / max(1, supervised)
        forwards = []
        for number, batch in enumerate(batches, start=1):
            on_pass(f"pass {number} of {count}")
            self.clock.mark("collate")
            torch.manual_seed(dropout_seed(self.config.seed, step, batch.place))
            self.deepspeed.set_gradient_accumulation_boundary(number == count)
            result = self.forward(batch)
            self.clock.mark("forward")
            self.deepspeed.backward(result.nll_S.sum() * scale, scale_wrt_gas=False)
            self.clock.mark("backward")
            unsharded_norm = self._unsharded_grad_norm()
            self.deepspeed.step()
            self.clock.mark("optimizer")
            forwards.append(replace(result, nll_S=result.nll_S.detach()))
        norm = self.deepspeed.get_global_grad_norm() if unsharded_norm is None else unsharded_norm
        return StepResult(forwards, float(norm), samples, tokens, bad, shrunk, votes)

    def _passes(self, share: Share, packs: int) -> tuple[int, Iterator[MicroBatch]]:
        """How many forward passes every rank makes of a share, and their batches, each collated as it comes."""
        if not self.config.packs:
            return len(share.cuts), share.micro_batches()
        count = max(1, packs)
        return count, share.packs(self.config.pack_tokens, count, dist.get_rank())

    def _unsharded_grad_norm(self) -> Tensor | None:
        """The gradient norm at ZeRO stage 0, where DeepSpeed clips without reporting it."""
        if self.config.train.zero_stage:
            return None
        return get_total_norm([p.grad for p in self.deepspeed.module.parameters() if p.grad is not None])

    def rehearse(self, batch: MicroBatch) -> None:
        """A forward and backward pass with zero weight: finds memory and shape faults early.

        Gradients of zero are added to the accumulation; weights do not change.

        Raises:
            torch.OutOfMemoryError: with the fields to change.
        """
        try:
            self.deepspeed.set_gradient_accumulation_boundary(False)
            self.deepspeed.backward(self.forward(batch).nll_S.sum() * 0.0, scale_wrt_gas=False)
        except torch.OutOfMemoryError as error:
            size, now = "train.micro_batch_size", self.config.train.micro_batch_size
            if self.config.packs:
                size, now = "train.pack_tokens", self.config.pack_tokens
            raise torch.OutOfMemoryError(
                f"the longest batch does not fit: {error}\nLower {size} (now {now}) or data.max_length (now "
                f"{self.config.data.max_length}), set train.activation_checkpointing, or raise train.zero_stage."
            ) from error

    def all_reduce(self, values: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
        """A small tensor reduced over all ranks, as fp64 on the CPU."""
        on_device = values.to(self.device, torch.float64)
        with self.clock:
            dist.all_reduce(on_device, op)
        return on_device.cpu()

    def gather(self, values: Tensor) -> Tensor:
        """A few numbers of each rank, [K] -> fp64 [R, K] on the CPU; as many on each."""
        own_K = values.to(self.device, torch.float64)
        ranks = [torch.empty_like(own_K) for _ in range(dist.get_world_size())]
        with self.clock:
            dist.all_gather(ranks, own_K)
        return torch.stack(ranks).cpu()


def dropout_seed(seed: int, step: int, place: tuple[int, int]) -> int:
    """Seed of what dropout draws in the forward pass at a place, see `MicroBatch`."""
    return int(np.random.SeedSequence((seed, step, *place)).generate_state(1, np.uint64)[0])
