"""Replies a second of a model of another family in a replica, beside a plain loop over batches.

    python -m tests.perf.foreign [--families qwen3_vl gemma3] [--items 96] [--batch 16] [--tokens 16]

The rival is the loop that the documentation of transformers shows: open the images of so many questions in turn, the
processor's `apply_chat_template` with padding, `generate`, `batch_decode`. Ours is what a replica does with planned
batches: it prepares one while it generates another, and makes records; the driver's scan of the data is before that and
not in it. Both read the rows from their file. Tiny random models, the same process, interleaved runs, medians; every
reply has as many tokens as it may. `other replies` must be 0.

A reply of a tiny model takes 2 ms, so what stands around the model weighs here as it does nowhere else.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.data.images import decode_all
from cli_ray.evals.generation.job import Batch, decoding
from cli_ray.evals.generation.lengths import counted_by
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.generation.schedule import plan
from cli_ray.evals.items.images import LIMITS, images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import read
from cli_ray.evals.items.survey import scan
from cli_ray.evals.records import ReplyRecord
from tests.evals.generation.charts import job_of, write_rows
from tests.inference.foreign_models import save_foreign
from tests.perf.generation import rows_of


def plain(predictor: Predictor, location: Location, batch: int, tokens: int) -> dict[str, str]:
    """The replies by a plain loop."""
    one, model, processor = location.benchmark, predictor._model, predictor._processor
    docs = list(read(location, location.parts[0]))
    replies: dict[str, str] = {}
    for first in range(0, len(docs), batch):
        some = docs[first : first + batch]
        chats = [
            [{
                "role": "user",
                "content": [
                    *({"type": "image", "image": image} for image in decode_all(images_of(location, doc), LIMITS)),
                    {"type": "text", "text": one.prompt(doc)},
                ],
            }]
            for _, doc in some
        ]  # fmt: skip
        inputs = processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        )
        with torch.inference_mode():
            output_BT = model.generate(**inputs, max_new_tokens=tokens)
        texts = processor.batch_decode(output_BT[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        replies |= {one.sample_id(doc, row): text.strip() for (row, doc), text in zip(some, texts, strict=True)}
    return replies


def planned(predictor: Predictor, location: Location, tokens: int) -> list[Batch]:
    """The batches, as the driver makes them."""
    replica, one = predictor._job.replica, location.benchmark
    how = decoding(tokens, replica)
    entries = [entry for part in location.parts for entry in scan(location, part, how, "model")]
    return plan(one.name, tokens, location.parts, entries, replica, counted_by(predictor._processor))


def ours(predictor: Predictor, batches: Sequence[Batch]) -> dict[str, str]:
    """The replies as a replica gives them."""
    records: list[ReplyRecord] = []
    with ThreadPoolExecutor(1) as thread:
        for prepared in [thread.submit(predictor.prepare, batch) for batch in batches]:
            records += [record for some in predictor.generate(prepared.result()) for record in some]
    assert not any(record.error for record in records)
    return {record.sample_id: record.reply for record in records}


def measure(family: str, items: int, batch: int, tokens: int, repeats: int) -> None:
    """Prints a line."""
    with tempfile.TemporaryDirectory() as folder:
        location = write_rows(Path(folder) / "data", rows_of(items, 1), group=items)
        replica = ReplicaConfig(gpus=0, dtype="fp32", batch_size=batch)
        predictor = Predictor(job_of(save_foreign(Path(folder) / "model", family), location, replica))
        predictor._model.generation_config.min_new_tokens = tokens
        batches = planned(predictor, location, tokens)
        ways: dict[str, Callable[[], dict[str, str]]] = {
            "rival": lambda: plain(predictor, location, batch, tokens),
            "ours": lambda: ours(predictor, batches),
        }
        wall: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        replies: dict[str, dict[str, str]] = {}
        for _ in range(repeats + 1):
            for name, ask in ways.items():
                begun, used = time.perf_counter(), time.process_time()
                replies[name] = ask()
                wall[name].append(time.perf_counter() - begun)
                cpu[name].append(time.process_time() - used)
    walls, cpus = ({name: median(found[1:]) for name, found in unit.items()} for unit in (wall, cpu))
    other = sum(replies["ours"][name] != reply for name, reply in replies["rival"].items())
    print(
        f"{family:12} | {items / walls['rival']:7.1f} | {items / walls['ours']:6.1f} | "
        f"{walls['rival'] / walls['ours']:6.2f} | {cpus['rival'] / cpus['ours']:5.2f} | {other:13}",
        flush=True,
    )


def main() -> None:
    """Measures some families."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["qwen3_vl", "gemma3"])
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print("family       | rival/s | ours/s | x wall | x CPU | other replies")
    for family in given.families:
        measure(family, given.items, given.batch, given.tokens, given.repeats)


if __name__ == "__main__":
    main()
