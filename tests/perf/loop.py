"""What a step of `cli-ray train` takes beside a bare DeepSpeed loop on the same batches in memory, on one CPU process.

    python -m tests.perf.loop [--steps 30]

Both train equal models with the same DeepSpeed config, and take turns step by step in one process; a ratio is the
median of those of neighbouring steps, by wall time and by CPU time of the process, which neighbours on the machine
change less. The bare loop normalises pixels, computes the same logits and their mean loss, and steps. `loop` is the
loop without callbacks and without metrics; `loop and log` has the callbacks of a run, metrics and ids at every step,
and a heartbeat whose pulse is in this process. What asks Ray is left out: the pulse as an actor, and the look for nodes
that are taken away.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, cast

import torch
import torch.nn.functional as F

from cli_ray.data.collate import MicroBatch, normalize
from cli_ray.data.reads import Reads
from cli_ray.data.sample import IGNORED, Message, Sample
from cli_ray.data.share import Cut, Share
from cli_ray.train.callbacks import callbacks_of
from cli_ray.train.callbacks.pauser import Pauser
from cli_ray.train.health.heartbeat import Heartbeat, Pulse
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.run_folder import RunFolder
from tests.train import scenario
from tests.train.ranks import on_ranks
from tests.train.scenario import GLOBAL_BATCH, Case, ScenarioRun

CASE = Case(zero_stage=2, micro_batch=GLOBAL_BATCH // 2)
WARM_UP = 3
"""Steps that are not counted."""
REPLY = "A long reply, so that a step takes some 300 ms. " * 5


def long_share(run: ScenarioRun) -> Share:
    """That of a scenario with longer replies."""
    rows = [run.encoder(_longer(sample)) for sample in scenario.samples(0)]
    size, encoder = CASE.micro_batch, run.encoder
    cuts = [Cut(rows[i : i + size], (0, i // size)) for i in range(0, len(rows), size)]
    return Share(cuts, encoder.pad_token_id, encoder.tiled)


def _longer(sample: Sample) -> Sample:
    question, _ = sample.messages
    return Sample(sample.id, sample.images, [question, Message("assistant", REPLY)], sample.source, sample.where)


def bare_step(run: ScenarioRun, batches: Sequence[MicroBatch]) -> None:
    """As one writes it: forward, backward and step of DeepSpeed for each micro-batch."""
    engine, images = run.engine.deepspeed, run.engine.image_processor
    for number, batch in enumerate(batches, start=1):
        engine.set_gradient_accumulation_boundary(number == len(batches))
        pixels = normalize(batch.inputs["pixel_values"], images.image_mean, images.image_std, torch.float32)
        keep_BT = F.pad(batch.labels[:, 1:] != IGNORED, (0, 1))
        inputs = {**batch.inputs, "pixel_values": pixels, "turn_ids": batch.turn_ids}
        logits = engine(**inputs, logits_to_keep=keep_BT, use_cache=False).logits
        loss = F.cross_entropy(logits.float(), batch.labels[:, 1:][keep_BT[:, :-1]]) / len(batches)
        engine.backward(loss)
        engine.step()


class Turns:
    """A stream of the same batches, which takes a bare step before each step of the loop and times both."""

    def __init__(self, bare: ScenarioRun, share: Share) -> None:
        self.bare, self.share, self.batches = bare, share, list(share.micro_batches())
        self.times: list[list[tuple[float, float]]] = []
        """Of each step: wall and CPU seconds before the bare one, between both, and after the loop's."""
        self.epoch, self.epoch_step, self.steps_per_epoch = 0, 0, 10**6

    def __iter__(self) -> Iterator[Share]:
        while True:
            times = [_now()]
            bare_step(self.bare, self.batches)
            times.append(_now())
            yield self.share
            self.times.append([*times, _now()])

    def awaited(self) -> str:
        """As `Stream`."""
        return "nothing"

    def take_reads(self) -> Reads:
        """As `Stream`."""
        return Reads()

    def state_dict(self) -> dict[str, int]:
        """As `Stream`."""
        return {"lanes": 1, "epoch": 0, "epoch_step": self.epoch_step}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def measure(steps: int) -> dict[str, list[list[tuple[float, float]]]]:
    """The times of each step, see `Turns`, for each way to run the loop."""
    bare, own = ScenarioRun(CASE), ScenarioRun(CASE)
    share = long_share(own)
    return {name: _take_turns(bare, own, share, steps, log) for name, log in (("loop", False), ("loop and log", True))}


def _take_turns(
    bare: ScenarioRun, own: ScenarioRun, share: Share, steps: int, log: bool
) -> list[list[tuple[float, float]]]:
    turns, config = Turns(bare, share), own.config
    heartbeat = Heartbeat(0, "node", Pulse().beat, lambda reason: None)
    callbacks: list[Callback] = [one for one in callbacks_of(config, None, 0) if not isinstance(one, Pauser)]
    if log:
        heartbeat.start()
    else:
        config = config.model_copy(update={"log": config.log.model_copy(update={"every": 10**6})})
    with tempfile.TemporaryDirectory() as folder:
        TrainLoop(
            config=config,
            engine=own.engine,
            stream=cast(Any, turns),
            folder=RunFolder(folder),
            callbacks=callbacks if log else [],
            heartbeat=heartbeat,
            total_steps=WARM_UP + steps + 1,  # the last is not timed, for nothing is read behind it
            rank=0,
            world_size=1,
        ).fit()
    if log:
        heartbeat.close()
    return turns.times[WARM_UP:]


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    [found] = on_ranks(1, measure, parser.parse_args().steps)
    for name, times in found.items():
        for clock, number in (("wall", 0), ("CPU", 1)):
            bare = [(between[number] - start[number]) * 1e3 for start, between, _ in times]
            own = [(end[number] - between[number]) * 1e3 for _, between, end in times]
            ratio = median(mine / other for mine, other in zip(own, bare, strict=True))
            print(f"{name:13}{clock:5}{median(own):8.1f} ms a step, bare {median(bare):8.1f}: {ratio:.3f}")


if __name__ == "__main__":
    main()
