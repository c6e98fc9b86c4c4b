"""What a replica gains over one request after the other, at equal replies, with and without shared images.

    python -m tests.perf.generation [--shape small] [--items 24] [--tokens 2 16] [--questions 1 6] [--injected]
    python -m tests.perf.generation --shape tiny --miniature pope mme gqa seed-image ai2d
    python -m tests.perf.generation --device cuda --shape 7b --dtype bf16

The rival asks one request after the other as the Hugging Face backends of lmms-eval do: open the image, the processor,
`generate`, `batch_decode`, on the same model, in the same process and with its documents in memory. Ours reads them,
plans batches, and prepares one while it generates another, as a replica does. Random weights and noise images; every
reply has as many tokens as it may. `--questions` are those about each image: POPE has 6, VQAv2 5, MME 2. What an image
gives to the language model is shared as well where it does not depend on the question, which it does with `--injected`.

Runs are interleaved and medians count. `images` are those that go through the tower; `other replies` must be 0 in fp32.
Wall is that of a machine that may be shared, CPU is that of this process. `prompts` is the share of the rival's CPU
that goes into passes over whole prompts, images included. A CPU does a batch of them no faster than one by one, so with
one question about each image no factor can be far above 1 / `prompts`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from cli_ray.config import InjectionConfig
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.costs.tiny import TINY, TinySize
from cli_ray.data.images import decode_all
from cli_ray.evals.generation.job import decoding
from cli_ray.evals.generation.lengths import image_tokens
from cli_ray.evals.generation.messages import with_marks
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.generation.schedule import plan
from cli_ray.evals.items.images import LIMITS, images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import locate, read
from cli_ray.evals.items.survey import scan
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.suite import benchmark
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.registry import FAMILIES
from tests.evals.generation.charts import job_of, png, write_rows

SHAPES = {
    "tiny": TINY,
    "small": TinySize(image_size=112, patch_size=14, vision_width=256, decoder_layers=8, decoder_width=512, heads=8),
    "7b": TinySize(336, 14, 24, 1024, 32, 4096, 32),
}


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    shape: str
    device: str
    dtype: str
    batch: int
    items: int
    tokens: list[int]
    questions: list[int]
    repeats: int
    injected: bool
    miniature: list[str]


@dataclass(frozen=True)
class Run:
    """One pass over all items."""

    wall: float
    cpu: float
    prompts: float
    """CPU seconds of the passes over whole prompts."""
    images: int
    """Images or tiles that went through the tower."""
    replies: dict[str, str]
    """By sample."""


def rows_of(items: int, questions: int) -> list[dict[str, Any]]:
    """ChartQA rows with as many questions about each image; the same questions whatever their images."""
    return [
        {
            "question": f"Is there {'really ' * (number % 3)}a bar of {number} in the image?",
            "answer": "yes",
            "type": "human_test",
            "image": {"bytes": png(number // questions), "path": None},
        }
        for number in range(items)
    ]


def predictor_of(family: str, setting: Setting, location: Location, folder: Path) -> Predictor:
    """One whose model has random weights."""
    size = SHAPES[setting.shape]
    model = build_tiny(family, size=size)
    if setting.injected:
        model = attach(model, InjectionConfig())
    model.to(torch.bfloat16 if setting.dtype == "bf16" else torch.float32).save_pretrained(folder)
    tiny_processor(family, size).save_pretrained(folder)
    replica = ReplicaConfig.model_validate(
        {"gpus": float(setting.device == "cuda"), "dtype": setting.dtype, "batch_size": setting.batch}
    )
    predictor = Predictor(job_of(str(folder), location, replica))
    predictor._model.generation_config.suppress_tokens = [model.config.image_token_id]
    return predictor


def one_by_one(
    predictor: Predictor, docs: Sequence[tuple[int, Any]], location: Location, tokens: int
) -> dict[str, str]:
    """The replies by one request after the other."""
    one, model, processor = location.benchmark, predictor._model, predictor._processor
    replies = {}
    for number, doc in docs:
        images = decode_all(images_of(location, doc), LIMITS)
        chat = [{"role": "user", "content": with_marks(one.prompt(doc), len(images))}]
        text = processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = processor(images=[images], text=text, return_tensors="pt").to(model.device, model.dtype)
        with torch.inference_mode():
            output_1T = model.generate(**inputs, max_new_tokens=tokens)
        reply = processor.batch_decode(output_1T[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        replies[one.sample_id(doc, number)] = reply[0].strip()
    return replies


def in_batches(predictor: Predictor, location: Location, tokens: int) -> dict[str, str]:
    """The replies as a replica gives them: one batch is prepared while another is generated."""
    replica, config = predictor._job.replica, predictor._model.config.to_dict()
    one, how = location.benchmark, decoding(tokens, replica)
    entries = [entry for part in location.parts for entry in scan(location, part, how, "model")]
    batches = plan(one.name, tokens, location.parts, entries, replica, image_tokens(config))
    records: list[ReplyRecord] = []
    with ThreadPoolExecutor(1) as thread:
        coming = [thread.submit(predictor.prepare, batch) for batch in batches]
        for prepared in coming:
            records += [record for some in predictor.generate(prepared.result()) for record in some]
    assert not any(record.error for record in records)
    return {record.sample_id: record.reply for record in records}


def timed(predictor: Predictor, ask: Callable[[], dict[str, str]]) -> Run:
    """One pass, measured."""
    passes: list[int] = []
    prompts: list[float] = []
    begun: list[float] = []
    model = predictor._model.base_model

    def begin(*_: object) -> None:
        begun.append(time.process_time())

    def end(module: object, args: object, kwargs: dict[str, Any], output: object) -> None:
        if kwargs["input_ids"].shape[1] > 1:
            prompts.append(time.process_time() - begun[0])  # `generate` lets the tower run before the pass
        begun.clear()

    handles = [
        model.vision_tower.register_forward_pre_hook(lambda module, args: passes.append(len(args[0]))),
        model.vision_tower.register_forward_pre_hook(begin),
        model.register_forward_pre_hook(begin),
        model.register_forward_hook(end, with_kwargs=True),
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    replies = ask()
    run = Run(time.perf_counter() - wall, time.process_time() - cpu, sum(prompts), sum(passes), replies)
    for handle in handles:
        handle.remove()
    return run


def measure(family: str, setting: Setting, what: int | str, tokens: int) -> None:
    """Prints a line for so many questions about each image, or for the bundled items of a benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if isinstance(what, str):
            location = locate(benchmark(what), "", True)
        else:
            location = write_rows(root / "data", rows_of(setting.items, what), group=setting.items)
        predictor = predictor_of(family, setting, location, root / "model")
        predictor._model.generation_config.min_new_tokens = tokens
        docs = list(read(location, location.parts[0]))
        ways = {
            "rival": partial(one_by_one, predictor, docs, location, tokens),
            "ours": partial(in_batches, predictor, location, tokens),
        }
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(setting.repeats + 1):
            for name, ask in ways.items():
                runs[name].append(timed(predictor, ask))
    tell(family, what, tokens, {name: found[1:] for name, found in runs.items()})


def tell(family: str, what: int | str, tokens: int, runs: dict[str, list[Run]]) -> None:
    """Prints a line of the table."""
    wall, cpu = ({name: median(getattr(run, unit) for run in found) for name, found in runs.items()}
                 for unit in ("wall", "cpu"))  # fmt: skip
    rival, ours = runs["rival"][0], runs["ours"][0]
    other = sum(ours.replies[name] != reply for name, reply in rival.replies.items())
    speed = {name: f"{len(rival.replies) / seconds:.2f}" for name, seconds in wall.items()}
    print(
        f"{family:15} | {what:>10} | {tokens:6} | {rival.images:5} -> {ours.images:5} | {speed['rival']:>7} | "
        f"{speed['ours']:>6} | {wall['rival'] / wall['ours']:6.2f} | {cpu['rival'] / cpu['ours']:5.2f} | "
        f"{rival.prompts / rival.cpu:7.0%} | {other:13}",
        flush=True,
    )


def main() -> None:
    """Measures both families."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--questions", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--miniature", nargs="+", default=[], help="bundled items of these benchmarks instead")
    parser.add_argument("--injected", action="store_true", help="with Cross-Layer Injection as it is by default")
    setting = Setting(**vars(parser.parse_args()))
    print(
        f"{setting.shape}{', injected' * setting.injected}, {setting.device}, {setting.dtype}, "
        f"{torch.get_num_threads()} threads, batches of {setting.batch}, medians of "
        f"{setting.repeats} interleaved runs"
    )
    print(
        "family          |  questions | tokens | images         | rival/s | ours/s | x wall | x CPU | prompts | "
        "other replies"
    )
    for family in FAMILIES:
        for what in setting.miniature or setting.questions:
            for tokens in setting.tokens:
                measure(family, setting, what, tokens)


if __name__ == "__main__":
    main()
