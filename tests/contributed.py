"""Uses what the diffs of CONTRIBUTING.md add; `test_contributing` runs it in a copy of the tree that has them."""

import gc
import json
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

import cli_ray
from cli_ray.config import DataConfig, InjectionConfig, LogConfig, LoraConfig, ModelConfig, RunConfig, SourceConfig
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.costs.flops import Work
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import build_index
from cli_ray.data.reading import read_here
from cli_ray.data.reads import Reads
from cli_ray.data.share import Share
from cli_ray.data.source import open_source
from cli_ray.data.stream import Stream
from cli_ray.evals import miniature
from cli_ray.evals.generation.lengths import image_tokens
from cli_ray.evals.items.survey import listing
from cli_ray.evals.score import score
from cli_ray.evals.suite import BENCHMARKS
from cli_ray.inference.load import load
from cli_ray.model.build import build_model, load_processor, resolve_injection
from cli_ray.model.cost import typical_sample
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train.callbacks import callbacks_of
from cli_ray.train.collective_clock import HostClock
from cli_ray.train.engine import StepResult
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.run_folder import RunFolder
from tests.data.shards import picture

INJECTION: dict[str, Any] = {"vision_layers": [1, 3], "decoder_layers": [0, 2]}
HEADS = {"num_heads": 2, "hidden_size": 8}
CONFIG = RunConfig(
    name="run",
    model=ModelConfig(checkpoint="tiny"),
    data=DataConfig(sources=(SourceConfig(path="x"),)),
    log=LogConfig(sinks=("trackio",), project="tests"),
)
TRACKIO = """
calls = []
def init(**arguments): calls.append(("init", arguments))
def log(metrics, step): calls.append(("log", step, metrics))
def finish(): calls.append(("finish",))
"""
"""As much of the package as is used."""


class EndlessSteps:
    """As much of a stream as the loop looks at: steps without samples."""

    epoch = 0

    def __iter__(self) -> Iterator[Share]:
        while True:
            yield Share()

    def awaited(self) -> str:
        return ""

    def take_reads(self) -> Reads:
        return Reads()


def loop_of(callbacks: list[Callback], folder: Path, total_steps: int) -> TrainLoop:
    """A loop whose engine trains nothing."""

    def train_step(share: Share, step: int, factor: float, votes: list[int], progress: object) -> StepResult:
        return StepResult([], grad_norm=0.5, samples=2, tokens=10, bad_samples=0, shrunk_images=0, votes=votes)

    optimizer = SimpleNamespace(param_groups=[{"name": "amp", "lr": 1e-4}])
    engine = SimpleNamespace(
        config=CONFIG,
        layers=((), ()),
        device=torch.device("cpu"),
        flops=Work(),
        clock=HostClock(),
        deepspeed=SimpleNamespace(
            optimizer=optimizer, module=SimpleNamespace(config=SimpleNamespace(image_token_id=3))
        ),
        train_step=train_step,
        all_reduce=lambda values, *_: values,
        gather=lambda values: values.unsqueeze(0),
    )
    return TrainLoop(
        config=CONFIG,
        engine=cast(Any, engine),
        stream=cast(Any, EndlessSteps()),
        folder=RunFolder(str(folder)),
        callbacks=callbacks,
        heartbeat=cast(Any, SimpleNamespace(step=0, at=lambda *_: None)),
        total_steps=total_steps,
        rank=0,
        world_size=1,
    )


def callback_named(name: str) -> Callback:
    """The callback of that class among those of rank 0."""
    [callback] = [callback for callback in callbacks_of(CONFIG, None, 0) if type(callback).__name__ == name]
    return callback


def inputs_of(processor: Any, text: str) -> dict[str, Any]:
    """A question on an image with its reply, which alone is supervised."""
    inputs = processor(images=[Image.new("RGB", (50, 30), "red")], text=[text + "red</s>"], return_tensors="pt")
    labels = inputs["input_ids"].clone()
    labels[:, :-5] = -100
    return dict(inputs) | {"labels": labels}


def train_a_step(model: PreTrainedModel, inputs: dict[str, Any]) -> tuple[float, Any]:
    """The loss before a step, and what the model gives after it."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    loss = model.train()(**inputs).loss
    loss.backward()
    optimizer.step()
    return loss.item(), model.eval()(**inputs)


def test_the_copy_is_imported() -> None:
    assert Path(cli_ray.__file__).parents[1] == Path.cwd()


def test_a_benchmark_is_listed_and_scores_replies() -> None:
    assert "vqa-rad" in [row[0] for row in listing(BENCHMARKS.values())]
    docs = miniature.docs("vqa-rad")
    replies = [f"{doc['answer'].title()}." for doc in docs]
    assert score("vqa-rad", docs, replies).metrics == {"accuracy": 100.0}
    assert score("vqa-rad", docs, ["perhaps", *replies[1:]]).metrics == {"accuracy": 75.0}


def test_a_reader_serves_the_index_and_the_stream(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(picture(number))
    lines = [f"{name}\tPicture {name}" for name in names]
    (tmp_path / "train.tsv").write_text("\n".join([*lines[:2], "no tab", *lines[2:]]))
    source = SourceConfig(path=str(tmp_path), format="captions")
    data = DataConfig(sources=(source,), unit_samples=2, window_samples=4, max_length=4096)
    index = build_index(data)
    assert open_source(SourceConfig(path=source.path)).format == "captions"
    assert (index.num_samples, [index.unit(number).span.count for number in range(len(index))]) == (5, [2, 2, 1])
    encoder = Encoder(tiny_processor("llava"), data)
    stream = Stream(
        index,
        data,
        encoder,
        seed=0,
        lanes=1,
        rank=0,
        world_size=1,
        micro_batch_size=1,
        global_batch_size=1,
        read=partial(read_here, sources=index.sources, encoder=encoder),
    )
    shares = list(stream.iterate(0))
    assert sorted(name for share in shares for name in share.ids) == [f"train.tsv#{number}" for number in (0, 1, 3, 4)]
    assert [(bad.id, bad.reason) for share in shares for bad in share.bad] == [("train.tsv#2", "broken record")]


def test_a_gate_is_a_choice_of_its_field_and_trains() -> None:
    injection = InjectionConfig.model_validate({**INJECTION, "agf": {"gate": "softsign", **HEADS}})
    with pytest.raises(ValidationError, match="'softsign'"):
        InjectionConfig.model_validate({"agf": {"gate": "none"}})
    tiny = ModelConfig(checkpoint="tiny")
    processor, model = load_processor(tiny), build_model(tiny, injection, LoraConfig(), dtype=torch.float32, seed=0)
    inputs = inputs_of(processor, "<image> what? ")
    assert not model(**inputs).gates.any()
    before, after = train_a_step(model, inputs)
    assert after.loss < before
    assert after.gates.any()
    assert (after.gates.abs() < 1).all()


def test_a_family_is_built_trained_saved_loaded_and_generates(tmp_path: Path) -> None:
    tiny = ModelConfig(family="toy", checkpoint="tiny")
    injection = InjectionConfig.model_validate({**INJECTION, "agf": HEADS})
    processor, model = load_processor(tiny), build_model(tiny, injection, LoraConfig(), dtype=torch.float32, seed=0)
    text = processor.apply_chat_template([{"role": "user", "content": "<image> what?"}], add_generation_prompt=True)
    assert text.startswith("TOY ")
    inputs = inputs_of(processor, text)
    visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
    assert image_tokens(model.config.to_dict())([(50, 30)]) == visual == typical_sample(model.config).visual_tokens
    before, after = train_a_step(model, inputs)
    assert after.loss < before

    trained = tmp_path / "trained"
    model.save_pretrained(trained)
    processor.save_pretrained(trained)
    assert AutoConfig.from_pretrained(trained).model_type == "cli_toy"
    again, report = AutoModelForImageTextToText.from_pretrained(trained, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert type(again).__name__ == "CliToyForConditionalGeneration"
    assert type(AutoProcessor.from_pretrained(trained)) is type(processor)
    assert torch.equal(again(**inputs).logits, after.logits)
    del inputs["labels"]
    lengths = {"max_new_tokens": 4, "min_new_tokens": 4}
    evaluated, _ = load(str(trained), ReplicaConfig(gpus=0, dtype="fp32"))
    expected = model.generate(**inputs, **lengths, do_sample=False)
    assert torch.equal(evaluated.generate(**inputs, **lengths), expected)

    plain = tmp_path / "plain"
    build_tiny("toy").save_pretrained(plain)
    tiny_processor("toy").save_pretrained(plain)
    checkpoint = ModelConfig(family="toy", checkpoint=str(plain))
    config, resolved = resolve_injection(checkpoint, injection)
    assert (config.model_type, resolved) == ("cli_toy", injection)
    assert type(build_model(checkpoint, injection, LoraConfig(), dtype=torch.float32, seed=0)) is type(model)


def test_a_callback_is_called_by_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("disable", "collect", "enable"):
        monkeypatch.setattr(gc, name, partial(calls.append, name))
    loop_of([callback_named("GarbageCollector")], tmp_path, total_steps=250).fit()
    assert calls == ["disable", "collect", "collect", "enable"]


def test_a_tracker_gets_the_metrics_and_a_config_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trackio.py").write_text(TRACKIO)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "a-secret")
    loop_of([callback_named("Tracker")], tmp_path / "run", total_steps=2).fit()
    [first, *logged, last] = import_module("trackio").calls
    assert (first[0], first[1]["project"], first[1]["name"]) == ("init", "tests", "run")
    assert first[1]["config"] == CONFIG.model_dump(mode="json")
    assert "a-secret" not in json.dumps(first[1])
    assert [(call, step, metrics["grad_norm"]) for call, step, metrics in logged] == [("log", 1, 0.5), ("log", 2, 0.5)]
    assert last == ("finish",)
    with pytest.raises(ValidationError, match="holds a password or key"):
        SourceConfig(path="s3://user:password@bucket/shards")
