"""The demo: trains plain LLaVA and CLI on the same made pictures, and compares them. Called by `cli-ray demo`."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import ray
from transformers.utils.logging import disable_progress_bar

from cli_ray.cluster import quiet_workers
from cli_ray.config import (
    AgfConfig,
    CheckpointConfig,
    ClusterConfig,
    DataConfig,
    EvaluationConfig,
    InjectionConfig,
    Layers,
    LogConfig,
    ModelConfig,
    OptimConfig,
    PartConfig,
    ReplicaConfig,
    RunConfig,
    SourceConfig,
    TrainConfig,
    ValidationConfig,
)
from cli_ray.costs.tiny import TinySize
from cli_ray.data.synthetic import SyntheticSample, chance_level, synthesize, write_parquet, write_tar
from cli_ray.demo.answers import draw_answers
from cli_ray.demo.arguments import DemoArguments
from cli_ray.demo.held_out import BENCHMARK, questions, replies, write_items
from cli_ray.errors import UserError
from cli_ray.evals.results.compare import compare
from cli_ray.evals.run import evaluate
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.report.document import document
from cli_ray.report.files import write_page
from cli_ray.signals import ray_connects
from cli_ray.storage.lines import read_journal
from cli_ray.text import grid
from cli_ray.train.checkpoint.export import export
from cli_ray.train.run_folder import METRICS, RunFolder
from cli_ray.train.trainer import train

WORKERS = 2
"""Ray Train workers of a training, and replicas of an evaluation."""
SIZE = TinySize(vision_layers=4, vision_width=96, decoder_layers=4, decoder_width=96)
MERGES = 113
"""Merges of the tokenizer: enough for every word of the questions, too few for pairs of characters."""
INJECTIONS = {
    "plain": InjectionConfig(kind="none"),
    "cli": InjectionConfig(
        vision_layers=Layers(count=3), decoder_layers=Layers(count=3), agf=AgfConfig(hidden_size=64, num_heads=4)
    ),
}
"""The two models; nothing else differs between them."""
TITLES = {"plain": "plain LLaVA", "cli": "LLaVA with Cross-Layer Injection"}


class Score(NamedTuple):
    """How well one of the models does."""

    train_loss: float
    """Mean over the last tenth of the logged steps, per supervised token."""
    held_out_loss: float
    """Per supervised token."""
    correct: list[bool]
    """Of each held-out question, whether the reply is the answer."""


def run_demo(settings: DemoArguments) -> str:
    """Writes the dataset, trains and evaluates both models on a Ray cluster of its own, and returns the tables.

    What an earlier call completed is read from the output folder instead.

    Raises:
        UserError: the output folder holds a demo of other settings.
    """
    disable_progress_bar()
    os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed, which transformers loads, would warn that there is no GPU
    train_samples = synthesize(settings.train_samples, settings.seed, "train")
    held_out = synthesize(settings.held_out_samples, settings.seed, "held_out")
    with stage(1, f"Draw {settings.train_samples:,} pictures to train on, {settings.held_out_samples:,} to ask about"):
        prepare(settings, train_samples, held_out)
    if not all((results_of(settings, name) / "results.json").exists() for name in INJECTIONS):
        # Always a cluster of its own: workers of another one might not see this machine's files.
        with ray_connects():
            ray.init(address="local", num_cpus=2 * WORKERS, logging_level="error")
            quiet_workers()
        try:
            train_and_evaluate(settings)
        finally:
            ray.shutdown()
    return summary(settings, held_out, chance_level(train_samples))


@contextmanager
def stage(number: int, text: str) -> Iterator[None]:
    """Prints a heading, and afterwards how long the stage took."""
    start = time.monotonic()
    print(f"\n{number}/4 {text}", flush=True)
    yield
    print(f"    {time.monotonic() - start:.0f} s", flush=True)


def prepare(settings: DemoArguments, samples: Sequence[SyntheticSample], held_out: Sequence[SyntheticSample]) -> None:
    """Writes shards, held-out questions and the untrained checkpoint, unless an earlier demo of the same settings did.

    Raises:
        UserError: that demo had other settings.
    """
    marker = settings.output / "demo.json"
    wanted = settings.model_dump_json(exclude={"output"})
    if marker.exists():
        if marker.read_text() != wanted:
            raise UserError(f"{settings.output} holds a demo of {marker.read_text()}: name another --output")
        return
    half, data = len(samples) // 2, settings.output / "data"
    write_tar(samples[:half], data / "tar", shard_size=2000)
    write_parquet(samples[half:], data / "parquet", rows_per_file=2000)
    write_parquet(held_out, data / "held_out", rows_per_file=2000)
    write_items(held_out, data / "benchmarks")
    checkpoint = settings.output / "untrained"
    corpus = [f"USER: \n{turn.question} ASSISTANT: {turn.answer}" for sample in samples for turn in sample.turns]
    tiny_processor("llava", SIZE, corpus, MERGES).save_pretrained(checkpoint)
    build_tiny("llava", settings.seed, SIZE, MERGES).save_pretrained(checkpoint)
    marker.write_text(wanted)


def run_config(settings: DemoArguments, name: str) -> RunConfig:
    """The run of one model."""
    data = settings.output / "data"
    rate = PartConfig(lr=1e-3, weight_decay=0.05)
    return RunConfig(
        name=name,
        runs_dir=str(settings.output),
        seed=settings.seed,
        model=ModelConfig(checkpoint=str(settings.output / "untrained")),
        injection=INJECTIONS[name],
        data=DataConfig(
            sources=tuple(SourceConfig(path=str(data / kind)) for kind in ("tar", "parquet")),
            max_length=64,
            window_samples=1024,
        ),
        optim=OptimConfig(
            vision_tower=rate, projector=rate, amp=rate, agf=rate, llm=rate, betas=(0.9, 0.98), warmup_share=0.1
        ),
        train=TrainConfig(
            global_batch_size=64,
            micro_batch_size=32,
            epochs=1 + settings.steps * 64 / settings.train_samples,
            max_steps=settings.steps,
            precision="fp32",
        ),
        validation=ValidationConfig(sources=(SourceConfig(path=str(data / "held_out")),), every=settings.steps),
        checkpoint=CheckpointConfig(every=settings.steps),
        cluster=ClusterConfig(num_workers=WORKERS, gpus_per_worker=0),
        log=LogConfig(every=25),
    )


def train_and_evaluate(settings: DemoArguments) -> None:
    """Trains, exports and evaluates both models."""
    for number, name in enumerate(INJECTIONS, start=2):
        with stage(number, f"Train {TITLES[name]}, {settings.steps:,} steps of 64 pictures"):
            train(run_config(settings, name))
            if not model_of(settings, name).exists():
                export(str(settings.output / name), model_of(settings, name), None, best=False, keep_lora=False)
    with stage(4, f"Ask both about the {settings.held_out_samples:,} pictures that neither has seen"):
        for name in INJECTIONS:
            evaluate(
                EvaluationConfig(
                    model=str(model_of(settings, name).absolute()),
                    benchmarks=(BENCHMARK,),
                    data_root=str(settings.output / "data" / "benchmarks"),
                    output=str(results_of(settings, name)),
                    replica=ReplicaConfig(count=WORKERS, gpus=0, dtype="fp32"),
                )
            )


def model_of(settings: DemoArguments, name: str) -> Path:
    """The exported model."""
    return settings.output / "models" / name


def results_of(settings: DemoArguments, name: str) -> Path:
    """The output of its evaluation."""
    return settings.output / "evals" / name


def summary(settings: DemoArguments, held_out: Sequence[SyntheticSample], chance: dict[str, float]) -> str:
    """What is printed at the end: losses, scores and the paired difference. Writes the picture and the report, too."""
    replies_of = {name: replies(results_of(settings, name)) for name in INJECTIONS}
    scores = {
        name: Score(*losses(RunFolder(str(settings.output / name))), [reply.is_right for reply in replies_of[name]])
        for name in INJECTIONS
    }
    draw_answers(held_out, replies_of, settings.output / "answers.png")
    folders = [str(settings.output / name) for name in INJECTIONS]
    folders += [str(results_of(settings, name)) for name in INJECTIONS]
    write_page(document(folders), str(settings.output / "report.html"), folders[0])
    plain, rival = (str(results_of(settings, name)) for name in INJECTIONS)
    (difference,) = compare(plain, rival).contrasts
    return "\n".join(
        [
            table(held_out, chance, scores),
            "",
            f"CLI answers {difference.difference:+.1f} points more right than plain LLaVA "
            f"[{difference.low:+.1f}, {difference.high:+.1f}], {difference.n:,} questions, paired.",
        ]
    )


def losses(run: RunFolder) -> tuple[float, float]:
    """Mean training loss of the last tenth of the logged steps, and the loss on held-out samples at the end."""
    rows = [row for row in read_journal(run, METRICS) if "loss" in row]
    return mean(row["loss"] for row in rows[-max(1, len(rows) // 10) :]), rows[-1]["validation_loss"]


def table(held_out: Sequence[SyntheticSample], chance: dict[str, float], scores: dict[str, Score]) -> str:
    """Loss, and accuracy per kind and scope beside that of always giving the commonest answer."""
    rows = [
        [label.replace("_", " "), "", *(f"{getattr(score, label):.3f}" for score in scores.values())]
        for label in ("train_loss", "held_out_loss")
    ]
    groups: dict[str, list[int]] = {}
    for i, (sample, turn) in enumerate(questions(held_out)):
        groups.setdefault(f"{sample.kind}, {turn.scope}", []).append(i)
        groups.setdefault("all", []).append(i)
    guessed = [chance[turn.question] for _, turn in questions(held_out)]
    for label in sorted(groups, key=lambda label: (label == "all", label)):
        columns: list[Sequence[float]] = [guessed, *(score.correct for score in scores.values())]
        shares = [f"{mean(column[i] for i in groups[label]):.1%}" for column in columns]
        rows.append([f"right answers: {label}", *shares])
    return grid(["", "chance", *scores], rows, left=1)
