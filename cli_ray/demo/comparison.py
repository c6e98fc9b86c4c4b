"""The demo: trains plain LLaVA and CLI on the same made pictures, and compares them. Called by `cli-ray demo`."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean

import ray
import torch
from PIL import Image
from pydantic import BaseModel
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils.logging import disable_progress_bar

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
from cli_ray.data.sample import IMAGE_MARK
from cli_ray.data.synthetic import SyntheticSample, Turn, chance_level, synthesize, write_parquet, write_tar
from cli_ray.demo.arguments import DemoArguments
from cli_ray.errors import UserError
from cli_ray.evals.results.compare import compare, markdown
from cli_ray.evals.run import evaluate
from cli_ray.model.tiny import TinySize, build_tiny, tiny_processor
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
BATCH = 50
"""Questions answered together."""
LONGEST_REPLY = 12
"""Tokens; a colour is at most a few."""


class Score(BaseModel):
    """How well one of the models does."""

    train_loss: float
    """Mean over the last tenth of the logged steps, per supervised token."""
    held_out_loss: float
    """Per supervised token."""
    correct: list[bool]
    """Exact match of each held-out question."""


def run_demo(settings: DemoArguments) -> str:
    """Writes the dataset, trains and evaluates both models on a Ray cluster of its own, and returns the tables.

    What an earlier call completed is read from the output folder instead.

    Raises:
        UserError: the output folder holds a demo of other settings.
    """
    disable_progress_bar()
    train_samples = synthesize(settings.train_samples, settings.seed, "train")
    held_out = synthesize(settings.held_out_samples, settings.seed, "held_out")
    prepare(settings, train_samples, held_out)
    files = {name: settings.output / f"{name}.json" for name in INJECTIONS}
    miniatures = settings.output / "miniatures.md"
    if not all(file.exists() for file in (*files.values(), miniatures)):
        # Always a cluster of its own: workers of another one might not see this machine's files.
        with ray_connects():
            ray.init(address="local", num_cpus=2 * WORKERS, logging_level="warning")
        try:
            for name, file in files.items():
                if not file.exists():
                    file.write_text(score(settings, name, held_out).model_dump_json())
            miniatures.write_text(compare_on_miniatures(settings.output, ("plain", "cli"), replicas=WORKERS))
        finally:
            ray.shutdown()
    scores = {name: Score.model_validate_json(file.read_text()) for name, file in files.items()}
    return f"{table(held_out, chance_level(train_samples), scores)}\n\n{miniatures.read_text()}"


def prepare(settings: DemoArguments, samples: Sequence[SyntheticSample], held_out: Sequence[SyntheticSample]) -> None:
    """Writes shards and the untrained checkpoint, unless an earlier demo of the same settings did.

    Raises:
        UserError: that demo had other settings.
    """
    marker = settings.output / "demo.json"
    wanted = settings.model_dump_json(exclude={"output"})
    if marker.exists():
        if marker.read_text() != wanted:
            raise UserError(f"{settings.output} holds a demo of {marker.read_text()}: name another --output")
        return
    half = len(samples) // 2
    write_tar(samples[:half], settings.output / "data" / "tar", shard_size=2000)
    write_parquet(samples[half:], settings.output / "data" / "parquet", rows_per_file=2000)
    write_parquet(held_out, settings.output / "data" / "held_out", rows_per_file=2000)
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
        log=LogConfig(every=10),
    )


def score(settings: DemoArguments, name: str, held_out: Sequence[SyntheticSample]) -> Score:
    """Trains a model and evaluates what is exported of it."""
    model, run = settings.output / "models" / name, settings.output / name
    summary = train(run_config(settings, name))
    if not model.exists():
        export(str(run), model, None, best=False, keep_lora=False)
    return Score(
        train_loss=train_loss(RunFolder(str(run))),
        held_out_loss=summary["validation_loss"],
        correct=exact_match(model, questions(held_out)),
    )


def train_loss(run: RunFolder) -> float:
    """Mean training loss of the last tenth of the logged steps."""
    losses: list[float] = [row["loss"] for row in read_journal(run, METRICS)]
    return mean(losses[-max(1, len(losses) // 10) :])


def exact_match(model_folder: Path, questions: Sequence[tuple[SyntheticSample, Turn]]) -> list[bool]:
    """Whether the greedy reply of an exported model equals the answer, for each question by itself."""
    model = AutoModelForImageTextToText.from_pretrained(model_folder).eval()
    processor = AutoProcessor.from_pretrained(model_folder)
    correct = []
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        chats = [[{"role": "user", "content": f"{IMAGE_MARK}\n{turn.question}"}] for _, turn in batch]
        inputs = processor(
            text=[processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats],
            images=[Image.open(BytesIO(sample.image)) for sample, _ in batch],
            return_tensors="pt",
            padding=True,
            padding_side="left",
        )
        with torch.inference_mode():
            output_BT = model.generate(**inputs, max_new_tokens=LONGEST_REPLY, do_sample=False)
        replies = processor.batch_decode(output_BT[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        correct += [reply.strip() == turn.answer for reply, (_, turn) in zip(replies, batch, strict=True)]
    return correct


def compare_on_miniatures(output: Path, names: tuple[str, str], replicas: int) -> str:
    """Evaluates both models, unless an earlier call did, and returns the comparison as a table.

    Args:
        output: of the demo; models lie in `models/`, results go to `evals/`.
        names: of the models.
        replicas: of a model at a time.
    """
    replica = ReplicaConfig(count=replicas, gpus=0, dtype="fp32")
    folders = [str(output / "evals" / name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        model = str((output / "models" / name).absolute())
        evaluate(EvaluationConfig(model=model, suite="paper18", miniature=True, output=folder, replica=replica))
    table = markdown(compare(*folders))
    return f"A few made-up items of each benchmark, which say nothing of the models:\n\n{table}"


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
        rows.append([f"exact match: {label}", *shares])
    return grid(["", "chance", *scores], rows, left=1)


def questions(samples: Sequence[SyntheticSample]) -> list[tuple[SyntheticSample, Turn]]:
    """Every question of every sample."""
    return [(sample, turn) for sample in samples for turn in sample.turns]
