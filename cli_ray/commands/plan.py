"""`cli-ray plan CONFIG.toml`: what a run will need, before it starts; needs no GPU and no network."""

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from cli_ray.config import RunConfig
from cli_ray.config.base import Section
from cli_ray.config.load import arguments, load, split
from cli_ray.errors import UserError

MFU = 0.3
"""Assumed: what a GPU does of its peak is only known once it runs."""


class PlanArguments(Section):
    """Says whether a run fits its GPUs, and what it takes: parameters, memory at each ZeRO stage, FLOPs, hours, price,
    and disk. Ends with exit code 1 when it does not fit, and proposes what does. Arguments like `--train.zero-stage 3`
    change the config first, as with `cli-ray train`."""

    config: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG.toml")]
    """Config of the run."""
    gpu: str = "H100-80GB"
    """Kind of GPU; an unknown one lists those that are known. Not read where gpus_per_worker = 0."""
    gpu_memory: float | None = Field(default=None, gt=0)
    """GB of a GPU, or of a worker on CPU, instead of those of its kind or of this machine."""
    peak: float | None = Field(default=None, gt=0)
    """TFLOP/s of a GPU in bf16 instead of those of its kind."""
    mfu: float = Field(default=MFU, gt=0, le=1)
    """Share of the peak that training reaches, by which time is reckoned."""
    price: str = ""
    """Price of a GPU-hour, or a TOML or JSON file with the price of each kind of GPU."""
    nodes: int | None = Field(default=None, ge=1)
    """Nodes to place the workers on; the config's workers are planned without a place when not given."""
    gpus_per_node: int = Field(default=8, ge=0)
    """GPUs of each of these nodes."""
    cpus_per_node: int = Field(default=0, ge=0)
    """CPUs of each; 0 for enough."""
    address: str = ""
    """HOST:PORT of a Ray cluster to place the workers on instead."""
    shape: str = ""
    """A known model, or a folder with a config.json, whose sizes are taken for those of the config's model."""
    samples: int | None = Field(default=None, ge=1)
    """Samples of an epoch, where the data are not at hand."""
    sample: int = Field(default=0, ge=0)
    """Encode so many samples of each source and reckon with their lengths; reads all shards once to count them, and
    loads the model's processor."""
    text_tokens: int = Field(default=128, ge=2)
    """Tokens of text of a sample, where its lengths are assumed."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON: bytes, FLOPs, seconds."""


def main(words: list[str]) -> None:
    """Prints the plan.

    Raises:
        UserError: the run does not fit; with what does.
    """
    own, overrides = split(words)
    settings = arguments(PlanArguments, own, "cli-ray plan")
    config = load(settings.config, overrides)

    from cli_ray.plan.estimate import Estimate, resolved
    from cli_ray.plan.page import page, to_dict, verdict
    from cli_ray.plan.proposal import proposals
    from cli_ray.plan.source import shape_named

    shape = shape_named(config.model, settings.shape)
    workers, placement, fault = _place(settings, config)
    estimate = Estimate(
        config=config,
        shape=shape,
        injection=resolved(config, shape),
        device=_device(settings, config),
        workers=workers,
        lengths=_lengths(settings, config, shape),
        mfu=settings.mfu,
    )
    price = _price(settings.price, settings.gpu)
    changes = [] if estimate.fits else proposals(estimate)
    if settings.as_json:
        print(json.dumps(to_dict(estimate, price, placement, changes), indent=2))
    else:
        print(page(estimate, price, placement, changes))
    if not estimate.fits:
        raise UserError(verdict(estimate))
    if fault:
        raise UserError(fault)


def _lengths(settings: PlanArguments, config: RunConfig, shape: Any) -> Any:
    from dataclasses import replace

    from cli_ray.plan.lengths import assumed, measured

    lengths = measured(config, settings.sample) if settings.sample else assumed(config, shape, settings.text_tokens)
    return replace(lengths, samples=float(settings.samples)) if settings.samples else lengths


def _place(settings: PlanArguments, config: RunConfig) -> tuple[int, list[str], str]:
    """Workers, lines on where they find room, and what is lacking."""
    from cli_ray.plan.place import described, live, placed, spread

    cluster = config.cluster
    if not settings.nodes and not settings.address:
        return cluster.min_workers, [], ""
    if settings.address:
        nodes = live(settings.address)
    else:
        nodes = described(cluster, settings.nodes or 1, settings.gpus_per_node, settings.cpus_per_node)
    need, fault = placed(cluster, nodes)
    if fault:
        return cluster.min_workers, [], fault
    return need.places, [f"placement: {spread(need, nodes)}"], ""


def _device(settings: PlanArguments, config: RunConfig) -> Any:
    """What a worker computes on."""
    from cli_ray.costs.gpus import GPUS
    from cli_ray.plan.estimate import Device

    own, peak = settings.gpu_memory, 1e12 * (settings.peak or 0)
    gpus = config.cluster.gpus_per_worker
    if not gpus:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // config.cluster.max_workers
        return Device("CPU, its share of this machine's memory", round(own * 1e9) if own else memory, peak)
    if settings.gpu not in GPUS and not (own and peak):
        raise UserError(
            f"--gpu {settings.gpu!r} is not known, only {', '.join(GPUS)}; of another give --gpu-memory in GB and "
            "--peak in TFLOP/s"
        )
    known = GPUS.get(settings.gpu)
    memory = round(own * 1e9) if own else known.memory if known else 0
    sharing = max(1, int(1 / gpus))
    return Device(settings.gpu, memory // sharing, (peak or (known.peak if known else 0.0)) / sharing)


def _price(given: str, gpu: str) -> float | None:
    """Of a GPU-hour."""
    if not given:
        return None
    path = Path(given)
    if path.suffix not in (".toml", ".json"):
        return _checked_price(given, "--price")
    try:
        text = path.read_text()
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"--price {given} cannot be read as a table of prices: {error}") from None
    if not isinstance(table, dict) or gpu not in table:
        raise UserError(f"--price {given} has no price of {gpu}: add a line such as {gpu} = 2.5")
    return _checked_price(table[gpu], f"--price {given}: {gpu}")


def _checked_price(given: object, where: str) -> float:
    try:
        price = float(str(given))
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise UserError(f"{where} = {given!r} is no price: give a number, or a .toml or .json file of prices")
    return price
