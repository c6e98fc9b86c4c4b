"""Where a run stops scaling, from 8 to 1,024 GPUs: a simulation with measured costs of samples, messages and records.

    python -m tests.perf.scaling [--images cc12m-0000.tar] [--ray]

LLaVA-1.5 7B, stage 2, on one GPU a rank. `weak` keeps 16 samples a GPU and step; `strong` keeps the 128 samples of a
step that the recipe has. Measured in this run: what a sample costs one core, on drawn pictures and, where they are at
hand, on real images (then these count); what a rank's message costs the pulse, in this process or with --ray in the
actor; with --ray also what a window costs Ray Data's one actor of statistics and Ray's head; index and record of ids.
All else is assumed: the first line names it.

There is no split coordinator: each rank reads its own units in an order that is arithmetic, so ranks share the storage,
the pulse, rank 0, which gathers the record of ids, and what Ray itself has once in a cluster.

Limits of the simulation: compute and network overlap fully and collectives have no latency, so that a real network is
full earlier; the frozen tower counts as trained, recomputed activations as part of MFU. What ranks wait for one another
is assumed, as `tests.perf.steps` has it for 256 ranks with packing; nothing fails. A shared thing at its limit slows
steps in proportion, below it not at all. Cores cost what one of this machine costs; what Ray does costs
the CPU seconds of all threads of its process, less those it spends idle, held against one core; a window costs the same
whatever its size, as long as its units grow with it. Not in it: the scheduling of Ray's nodes, objects that move
between them, the polls of Ray Train, the start (weights, index, DeepSpeed), the copy of a rank's state to its host, and
a log that an object store writes anew for each line.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import ValidationError

from cli_ray.config import RunConfig
from cli_ray.config.load import load
from cli_ray.costs.sizes import resolve
from cli_ray.model.cost import cost, typical_sample
from tests.perf.injection import SHAPES, build
from tests.perf.scaling_costs import measure, measure_ray, measure_samples, synthesized_shard
from tests.perf.scaling_steps import (
    HEAD,
    STATISTICS,
    Costs,
    Load,
    Model,
    Outcome,
    SampleCosts,
    Scale,
    Site,
    loads,
    needed_cores,
    opened,
    simulate,
    slowed,
)
from tests.shared import SHARED

RECIPE = "jobs/configs/llava15_7b_stage2.toml"
IMAGES = SHARED / "data" / "cc12m-0000.tar"
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
COLUMNS = (
    "GPUs", "global batch", "step s", "waits for data", "samples/s", "cores a GPU", "GB/s read", "files/s",
    "checkpoint s", "pulse msg/s", "ids MB", "index GB", "object store GB", "first limit",
)  # fmt: skip


def main() -> None:
    """Prints what is assumed and measured, and for each way to scale the sizes and where each limit is reached."""
    arguments = parse()
    site = Site(**{name: getattr(arguments, name) for name in Site.__dataclass_fields__})
    assumed = ", ".join(f"{name} {value:g}" for name, value in vars(site).items())
    print(f"assumed: {assumed}, {arguments.samples:,} samples of data")
    costs, recipe = measured(arguments), load(RECIPE)
    model = model_of(recipe)
    print(
        f"model: {model.parameters / 1e9:.2f} G parameters, {model.trainable / 1e9:.2f} G of them trained, "
        f"{model.flops / 1e12:.1f} TFLOP forward a sample"
    )
    for weak in (True, False):
        print(f"\n{'Weak' if weak else 'Strong'} scaling\n\n| {' | '.join(COLUMNS)} |\n|{' ---: |' * len(COLUMNS)}")
        found = []
        for ranks in SIZES:
            try:
                config = scaled(recipe, ranks, weak)
            except ValidationError as error:
                told = error.errors()[0]["msg"].removeprefix("Value error, ").partition(";")[0]
                print(f"| {ranks:,} | refused: {told} |")
                continue
            scale = Scale(config, model, costs, site, arguments.samples, config.data.sources[0].format == "llava")
            outcome, all_loads = outcome_of(scale, arguments)
            found.append((scale, all_loads))
            print(row(scale, outcome, all_loads[0]))
        print("\n".join(["", *limits(found), "", *remedies(found[-1][0], arguments)]))


def outcome_of(scale: Scale, arguments: argparse.Namespace) -> tuple[Outcome, list[Load]]:
    """What a step comes to, and all loads, the highest first."""
    free = simulate(scale, arguments.seed, arguments.windows)
    all_loads = sorted(loads(scale, free.step_s), key=lambda one: -one.share)
    return slowed(free, all_loads), all_loads


def parse() -> argparse.Namespace:
    """What is assumed, and how much is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    assumed = parser.add_argument_group("assumed")
    assumed.add_argument("--tflops", type=float, default=989, help="peak of a GPU in bf16")
    assumed.add_argument("--mfu", type=float, default=0.4, help="share of it that training reaches")
    assumed.add_argument("--gpus-per-node", type=int, default=8)
    assumed.add_argument("--cpus-per-gpu", type=float, default=12, help="cores of a node for each of its GPUs")
    assumed.add_argument("--storage-gb", type=float, default=20, help="GB/s of the cluster's storage")
    assumed.add_argument("--storage-files", type=float, default=10_000, help="files that it opens in a second")
    assumed.add_argument("--storage-latency-s", type=float, default=0.02, help="of one small file")
    assumed.add_argument("--bus-gb", type=float, default=200, help="GB/s at which collectives move a rank's bytes")
    assumed.add_argument("--object-store-gb", type=float, default=200, help="of a node")
    assumed.add_argument("--useful", type=float, default=0.92, help="share of it not spent waiting for other ranks")
    assumed.add_argument("--samples", type=int, default=665_298, help="of the data")
    parser.add_argument("--images", type=Path, default=IMAGES, help="a shard of real images")
    parser.add_argument("--count", type=int, default=96, help="drawn pictures")
    parser.add_argument("--side", type=int, default=640, help="of a drawn picture, pixels")
    parser.add_argument("--index", type=int, default=1_000_000, help="samples of the index that is parsed")
    parser.add_argument("--ray", action="store_true", help="measure in a small Ray cluster too")
    parser.add_argument("--windows", type=int, default=6, help="windows a rank that are simulated")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measured(arguments: argparse.Namespace) -> Costs:
    """Measures, and prints what was found."""
    with tempfile.TemporaryDirectory() as scratch:
        shard = synthesized_shard(Path(scratch), arguments.count, arguments.side)
        count, samples = measure_samples(shard)
        print(line_of(f"drawn PNG of {arguments.side} pixels", count, samples))
        if arguments.images.exists():
            count, samples = measure_samples(arguments.images)
            print(line_of(arguments.images.name, count, samples))
        costs = measure(samples, arguments.index, max(SIZES))
        if arguments.ray:
            costs = measure_ray(shard, costs)
    print(
        f"measured, a million samples: index of {costs.index_bytes:.2f} MB, {1e6 * costs.index_s:.2f} s to parse; "
        f"ids of {costs.record_bytes:.0f} MB, {1e6 * costs.record_s:.2f} s to merge on rank 0"
    )
    where = "in an actor" if arguments.ray else "without what Ray adds (--ray)"
    print(
        f"measured, {where}: {1e6 * costs.beat_s:.1f} us a message to "
        f"the pulse, {1e6 * costs.look_s:.2f} us a rank and look"
    )
    if costs.statistics_s is not None and costs.head_s is not None:
        print(
            f"measured, a window of 8 tasks: {1e3 * costs.statistics_s:.1f} ms of Ray Data's actor of statistics, "
            f"{1e3 * costs.head_s:.1f} ms of Ray's head"
        )
    return costs


def line_of(name: str, count: int, costs: SampleCosts) -> str:
    """A line."""
    return (
        f"measured, {count} samples, {name}: {1e3 * costs.encode_s:.1f} ms to encode (sigma "
        f"{costs.encode_sigma:.2f}), {1e3 * costs.collate_s:.2f} ms to collate, {costs.source_bytes / 1e3:.0f} kB in "
        f"the shard, {costs.row_bytes / 1e3:.0f} kB encoded"
    )


def model_of(recipe: RunConfig) -> Model:
    """Sizes of LLaVA-1.5 7B with the injection of a run; nothing is loaded."""
    plain = build(SHAPES["llava15_7b"], "meta", torch.bfloat16)
    sample = typical_sample(plain.config)
    spent = cost(plain.config, resolve(recipe.injection, plain.config), sample)
    sizes = [(one.numel(), one.requires_grad) for one in plain.parameters()]
    return Model(
        parameters=sum(size for size, _ in sizes) + spent.added_parameters,
        trainable=sum(size for size, trained in sizes if trained) + spent.added_parameters,
        flops=spent.base_flops + spent.added_flops,
    )


def scaled(recipe: RunConfig, ranks: int, weak: bool) -> RunConfig:
    """The recipe on so many GPUs.

    Raises:
        ValidationError: the global batch has no sample for each.
    """
    values = recipe.model_dump(mode="json")
    train = values["train"]
    if weak:
        train["global_batch_size"] = ranks * train["micro_batch_size"]
    else:
        train["micro_batch_size"] = max(1, min(train["micro_batch_size"], train["global_batch_size"] // ranks))
    values["cluster"]["num_workers"] = ranks
    return RunConfig.model_validate(values)


def row(scale: Scale, outcome: Outcome, first: Load) -> str:
    """Of the table of sizes."""
    batch = scale.config.train.global_batch_size
    rate = batch / outcome.step_s
    cells = (
        f"{scale.ranks:,}",
        f"{batch:,}",
        f"{outcome.step_s:.2f}",
        f"{outcome.wait_share:.1%}",
        f"{rate:,.0f}",
        f"{needed_cores(scale, outcome.step_s):.2f} of {scale.cores:g}",
        f"{rate * scale.costs.source_bytes / 1e9:.2f}",
        f"{opened(scale, outcome.step_s):,.0f}",
        f"{scale.checkpoint_s:.0f} in {scale.config.checkpoint.every * outcome.step_s:.0f}",
        f"{scale.ranks:,} of {scale.pulse_per_s:,.0f}",
        f"{scale.record_mb:,.1f}",
        f"{scale.index_gb:.2f}",
        f"{scale.object_store_gb:.1f}",
        f"{first.name} {first.share:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def limits(found: Sequence[tuple[Scale, list[Load]]]) -> Iterator[str]:
    """A table of what limits the run, the most loaded first: its load, where it is full, what helps."""
    low, high = found[0][0].ranks, found[-1][0].ranks
    yield f"| limit | load at {low} | load at {high:,} | full at | what helps |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for last in found[-1][1]:
        shares = {scale.ranks: _share(all_loads, last.name) for scale, all_loads in found}
        full = next((f"{ranks:,}" for ranks, share in shares.items() if share >= 1), None)
        grows = high == SIZES[-1] and shares[high] > 2 * shares[low]
        at = full or (f"about {high / shares[high]:,.0f}" if grows else f"not up to {high:,}")
        yield f"| {last.name} | {shares[low]:.2%} | {shares[high]:.2%} | {at} | {last.field} |"


def remedies(scale: Scale, arguments: argparse.Namespace) -> Iterator[str]:
    """A table of what the config does about the limits at one size, a change at a time."""
    yield f"| at {scale.ranks:,} GPUs | limit | load | with it | step s | with it |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    before, all_loads = outcome_of(scale, arguments)
    for name, limit, changed in _changes(scale):
        after, others = outcome_of(changed, arguments)
        shares = f"{_share(all_loads, limit):.2%} | {_share(others, limit):.2%}"
        yield f"| {name} | {limit} | {shares} | {before.step_s:.2f} | {after.step_s:.2f} |"


def _changes(scale: Scale) -> Iterator[tuple[str, str, Scale]]:
    """Name, the limit that it is for, and the run with it."""
    yield "data.sources in shards", "reading, files", replace(scale, loose_files=False)
    wide = {"window_samples": 4 * scale.config.data.window_samples, "unit_samples": 4 * scale.config.data.unit_samples}
    changes: list[tuple[str, str, dict[str, int]]] = [
        ("network", "train", {"zero_stage": 2}),
        ("writing checkpoints", "checkpoint", {"every": 4 * scale.config.checkpoint.every}),
        ("cores of the stream", "cluster", {"cpus_per_worker": 1}),
        ("object store", "data", {"prefetch_windows": 1}),
    ]
    changes += [(limit, "data", wide) for limit in (STATISTICS, HEAD) if scale.costs.head_s is not None]
    for limit, section, fields in changes:
        part = getattr(scale.config, section)
        config = scale.config.model_copy(update={section: part.model_copy(update=fields)})
        name = ", ".join(f"{section}.{field} {getattr(part, field):g} -> {value}" for field, value in fields.items())
        yield name, limit, replace(scale, config=config)


def _share(all_loads: Sequence[Load], name: str) -> float:
    return next(one.share for one in all_loads if one.name == name)


if __name__ == "__main__":
    main()
