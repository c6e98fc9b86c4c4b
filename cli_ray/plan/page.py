"""An estimate as people and programs read it: one verdict line, then tables.

Called by `cli-ray plan`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from cli_ray.data.sample import clean
from cli_ray.plan.estimate import Estimate
from cli_ray.plan.proposal import Proposal
from cli_ray.text import NOTHING, counted, grid

GB = 1e9
ROOMY = 0.9
"""Share of a device above which a run only just fits: CUDA, NCCL and fragmentation take some of it too."""


def verdict(estimate: Estimate) -> str:
    """Whether the run fits, in a line."""
    train, device, tokens = estimate.config.train, estimate.device, estimate.batch.tokens
    word = "does not fit" if not estimate.fits else "fits" if estimate.memory <= ROOMY * device.memory else "just fits"
    size = f"{estimate.memory / GB:.3g} of {device.memory / GB:.4g} GB a worker ({clean(device.name, 50)})"
    batch = f"packs of {tokens:,} tokens"
    if not estimate.config.packs:
        batch = f"micro-batches of {train.micro_batch_size} x {tokens // train.micro_batch_size:,} tokens"
    again = ", activation checkpointing" if train.activation_checkpointing else ""
    return f"{word}: {size} at ZeRO {train.zero_stage}, {counted(estimate.workers, 'worker')}, {batch}{again}"


def page(estimate: Estimate, price: float | None, placement: Sequence[str], changes: Sequence[Proposal]) -> str:
    """All of it, for a terminal.

    Args:
        price: of a GPU hour.
        placement: lines on where workers find room.
        changes: that make it fit, where it does not.
    """
    parts = [
        f"{verdict(estimate)}\n{_run(estimate)}",
        _parameters(estimate),
        _memory(estimate),
        _activations(estimate),
        "\n".join(_data(estimate)),
        "\n".join(_time(estimate, price)),
        "\n".join(_disk(estimate)),
        "\n".join(placement),
        "" if estimate.fits else _proposed(estimate, changes),
    ]
    return "\n\n".join(filter(None, parts))


def to_dict(
    estimate: Estimate, price: float | None, placement: Sequence[str], changes: Sequence[Proposal]
) -> dict[str, Any]:
    """For JSON: bytes, FLOPs, seconds and hours."""
    stages = {str(stage): asdict(estimate.state(stage)) for stage in _stages(estimate)}
    for stage in stages:
        stages[stage]["peak"] = estimate.state(int(stage)).peak(estimate.activations)
    return {
        "fits": estimate.fits,
        "verdict": verdict(estimate),
        "device": asdict(estimate.device),
        "workers": estimate.workers,
        "parameters": {part: {"all": c.all, "trained": c.trained} for part, c in estimate.parts.items()},
        "memory": estimate.memory,
        "zero_stages": stages,
        "batch": asdict(estimate.batch),
        "activations": asdict(estimate.activations),
        "activations_switched": asdict(estimate.other_activations),
        "step_flops": estimate.step_flops,
        "injection_adds": estimate.step_flops / estimate.plain_flops - 1,
        "mfu": estimate.mfu,
        "step_seconds": estimate.step_seconds,
        "steps": estimate.steps,
        "hours": estimate.hours,
        "gpu_hours": _gpu_hours(estimate),
        "cost": None if price is None or (hours := _gpu_hours(estimate)) is None else price * hours,
        "checkpoint_bytes": estimate.checkpoint_size,
        "export_bytes": estimate.export_size,
        "lengths": {
            "source": estimate.lengths.source,
            "samples": estimate.lengths.samples,
            "seen": estimate.lengths.seen,
            "quarantined": estimate.lengths.quarantined,
            "shrunk": estimate.lengths.shrunk,
            **{name: estimate.lengths.mean(name) for name in ("tiles", "visual_tokens", "tokens", "supervised")},
        },
        "placement": list(placement),
        "proposals": [{"change": each.change, "memory": each.memory} for each in changes],
    }


def _run(estimate: Estimate) -> str:
    """What is planned, in a line."""
    run, model, injection = estimate.config, estimate.config.model, estimate.injection
    name = model.checkpoint or f"{model.vision_tower} and {model.language_model}"
    layers = f", {len(injection.tapped)} vision layers" if injection.tapped else ""
    layers += f" into {len(injection.injected)} decoder layers" if injection.injected else ""
    return f"run {run.name}: {clean(name, 200)}, injection {injection.kind}{layers}"


def _proposed(estimate: Estimate, changes: Sequence[Proposal]) -> str:
    """What to change, as lines to paste and as arguments."""
    if not changes:
        return "no change of batch, ZeRO stage, checkpointing, tiles, LoRA or workers fits: take GPUs of more memory"
    name = estimate.config.name
    texts = [f"{each.toml()}\n# {each.memory / GB:.3g} GB a worker; or: {each.arguments()}" for each in changes]
    return f"{name} fits with any of these, as lines of the config or arguments of cli-ray train:\n\n" + "\n\n".join(
        texts
    )


def _stages(estimate: Estimate) -> list[int]:
    return [1, 2, 3] if estimate.config.train.precision == "bf16" else [0, 1, 2, 3]


def _parameters(estimate: Estimate) -> str:
    body = [[part, _count(count.all), _count(count.trained)] for part, count in estimate.parts.items()]
    sums = [_count(sum(getattr(c, name) for c in estimate.parts.values())) for name in ("all", "trained")]
    added = sum(estimate.parts[part].all for part in ("amp", "agf", "lora") if part in estimate.parts)
    rows = [*body, ["together", *sums], ["added to the plain model", _count(added), NOTHING]]
    return grid(["parameters", "all", "trained"], rows, left=1)


def _count(number: int) -> str:
    return f"{_short(number / 1e6)} M" if number else "0"


def _memory(estimate: Estimate) -> str:
    """By ZeRO stage; that of the config is starred."""
    stages = _stages(estimate)
    states = [estimate.state(stage) for stage in stages]
    rows = [
        [label, *(_gb(getattr(each, name)) for each in states)]
        for label, name in (
            ("weights", "weights"),
            ("fp32 masters", "masters"),
            ("AdamW's moments", "optimizer"),
            ("gradients", "gradients"),
            ("exchange and gathering", "buffers"),
        )
    ]
    rows.append(["activations", *(_gb(estimate.activations.peak) for _ in stages)])
    rows.append(["most at once", *(_gb(each.peak(estimate.activations)) for each in states)])
    heads = [f"ZeRO {stage}{'*' if stage == estimate.config.train.zero_stage else ''}" for stage in stages]
    return grid([f"GB of a worker, of {estimate.workers}", *heads], rows, left=1)


def _activations(estimate: Estimate) -> str:
    """Of the largest pass, as configured and the other way."""
    names = {
        "tower": "vision tower and projector",
        "features": "tapped layers and what is injected (V̂)",
        "gates": "gates: scores, summaries, hidden states read",
        "decoder": "decoder layers",
        "loss": "logits of a chunk of the loss",
        "layer": "the layer that goes backward",
    }
    both = (estimate.activations, estimate.other_activations)
    if not estimate.config.train.activation_checkpointing:
        heads = ["as it is", "with checkpointing"]
    else:
        heads = ["as it is", "without checkpointing"]
    rows = [[label, *(_gb(getattr(each, name)) for each in both)] for name, label in names.items()]
    rows.append(["most at once", *(_gb(each.peak) for each in both)])
    batch = estimate.batch
    title = f"activations, GB ({batch.tokens:,} tokens, {batch.tiles:,} tiles)"
    table = grid([title, *heads], rows, left=1)
    if estimate.config.model.attention == "eager":
        table += "\nmodel.attention = 'eager' also keeps the weights of all pairs of tokens, which are not counted here"
    return table


def _gb(size: int) -> str:
    return _short(size / GB)


def _short(number: float) -> str:
    """Two decimals, or two digits of what is small."""
    return f"{number:,.2f}" if number >= 0.1 or not number else f"{number:.2g}"


def _data(estimate: Estimate) -> Iterator[str]:
    lengths = estimate.lengths
    yield f"data: {lengths.source}"
    means = {"tiles": "tiles", "visual_tokens": "image tokens", "tokens": "tokens", "supervised": "supervised tokens"}
    yield "  a sample: " + ", ".join(f"{lengths.mean(name):,.1f} {label}" for name, label in means.items())
    read = lengths.seen + lengths.quarantined
    if lengths.seen > 1:
        yield f"  shrunk {lengths.shrunk / read:.2%}, quarantined {lengths.quarantined / read:.2%} of {read:,} samples"
    yield from (f"  {reason}: {count:,}" for reason, count in lengths.reasons.items())


def _time(estimate: Estimate, price: float | None) -> Iterator[str]:
    adds = estimate.step_flops / estimate.plain_flops - 1
    samples = estimate.config.train.global_batch_size
    yield (
        f"step: {_short(estimate.step_flops / 1e12)} TFLOP for {counted(samples, 'sample')} in "
        f"{counted(estimate.passes, 'pass', 'passes')} of a worker; injection adds {adds:.2%}"
    )
    if estimate.step_seconds is None:
        yield "time: not known, for the peak of the device is not; give it by --peak in TFLOP/s"
        return
    yield (
        f"time: {_short(estimate.step_seconds)} s a step at an MFU of {estimate.mfu:.0%}, which is an assumption: a "
        "short run writes its own to metrics.jsonl; without validation, checkpoints and the start"
    )
    steps, hours = estimate.steps, estimate.hours
    if steps is None or hours is None:
        yield "  how many steps is not known: give --samples, or --sample to look at the data"
        return
    tokens, gpu_hours = steps * samples * estimate.lengths.mean("tokens") / 1e6, _gpu_hours(estimate) or 0.0
    yield f"  {steps:,} steps, {_short(tokens)} million tokens, {_short(hours)} hours, {_short(gpu_hours)} GPU-hours"
    if price is not None:
        yield f"  {_short(price * gpu_hours)} at {price:g} a GPU-hour"


def _gpu_hours(estimate: Estimate) -> float | None:
    gpus = estimate.workers * estimate.config.cluster.gpus_per_worker
    return None if estimate.hours is None else estimate.hours * gpus


def _disk(estimate: Estimate) -> Iterator[str]:
    kept = estimate.config.checkpoint.keep_last + estimate.config.checkpoint.keep_best
    size = estimate.checkpoint_size / GB
    yield f"checkpoint: {_short(size)} GB, {kept} kept and one being written: {_short((kept + 1) * size)} GB"
    yield f"export: {_gb(estimate.export_size)} GB"
