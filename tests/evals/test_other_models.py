"""Models of other families in evaluations: the suite's items, what is refused before a replica starts, and the hash."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.generation.fingerprint import config_of, fingerprint, patterns_of, resolve
from cli_ray.evals.generation.job import Batch, Job, decoding
from cli_ray.evals.generation.lengths import counted_by
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.generation.schedule import plan
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import locate
from cli_ray.evals.items.survey import scan
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.run import evaluate
from cli_ray.evals.suite import BENCHMARKS, benchmark
from cli_ray.inference.load import load
from tests.evals.generation.charts import REPLICA, entries_of, job_of, row, write_rows
from tests.inference.foreign_models import RUNNABLE, save_foreign

TEXT_ONLY = "about images alone"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3-VL. Shared: copy it to change it."""
    return Path(save_foreign(tmp_path_factory.mktemp("model"), "qwen3_vl"))


def answered(model: str, name: str) -> dict[str, ReplyRecord]:
    """What a replica makes of the bundled items of a benchmark."""
    location = locate(benchmark(name), "", True)
    tokens = location.benchmark.max_new_tokens
    predictor = Predictor(Job(model, "model", REPLICA, {name: location}))
    entries = [one for part in location.parts for one in scan(location, part, decoding(tokens, REPLICA), "model")]
    batches = plan(name, min(tokens, 8), location.parts, entries, REPLICA, counted_by(predictor._processor))
    records = [record for batch in batches for some in predictor.predict(batch) for record in some]
    assert {record.sample_id for record in records} == {entry.id for entry in entries}
    return {record.sample_id: record for record in records}


def assert_answered(model: str, name: str) -> None:
    """Every item has a reply, or says that the family cannot be asked it."""
    records = answered(model, name).values()
    asked = [record for record in records if not record.error]
    assert all(TEXT_ONLY in record.error for record in records if record.error)
    assert asked
    assert all(record.prompt_tokens and record.finish in ("stop", "length") for record in asked)


@pytest.mark.parametrize("family", ["qwen3_vl", "paligemma"])
@pytest.mark.parametrize("name", ["pope", "mmmu-val", "blink-val"])
def test_bundled_items_are_answered(family: str, name: str, tmp_path: Path) -> None:
    assert_answered(save_foreign(tmp_path, family), name)


@pytest.mark.slow
@pytest.mark.parametrize("family", RUNNABLE)
def test_bundled_items_of_all_benchmarks_are_answered(family: str, tmp_path: Path) -> None:
    model = save_foreign(tmp_path, family)
    for name in BENCHMARKS:
        assert_answered(model, name)


def test_what_a_family_cannot_be_asked_is_an_error_of_the_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def images(location: Location, doc: Doc) -> list[bytes]:
        return images_of(location, doc) if doc["image"] else []

    monkeypatch.setattr("cli_ray.evals.items.survey.images_of", images)
    monkeypatch.setattr("cli_ray.evals.generation.predictor.images_of", images)
    location = write_rows(tmp_path / "data", [row(0), row(1, images=0), row(2)])
    predictor = Predictor(job_of(save_foreign(tmp_path / "model", "paligemma"), location))
    batch = Batch(location.benchmark.name, location.parts[0], tuple(entries_of(location)), 4, 1.0)
    records = {record.sample_id: record for some in predictor.predict(batch) for record in some}
    assert [records[name].finish == "error" for name in ("0", "1", "2")] == [False, True, False]
    assert records["1"].error == "chat template: PaliGemma answers questions about images alone"


def test_a_model_of_the_hub_is_read_at_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit, repo = "0" * 40, tmp_path / "models--some--model"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    patterns = patterns_of(config_of("some/model"))
    assert resolve("some/model", patterns) == (repo / "snapshots" / commit, commit)
    assert fingerprint("some/model", patterns) == hash_of(folder)
    model, _ = load("some/model", REPLICA, commit)
    assert model.config.model_type == "qwen3_vl"


def rewrite(path: Path, **values: object) -> None:
    """Changes fields of a JSON file; None takes one out."""
    fields = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))


def shards(folder: Path) -> None:
    """The weights in two files, of which one is not there."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def gguf(folder: Path) -> None:
    instead(folder, WEIGHTS, "q4.gguf")
    (folder / CONFIG).unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def instead(folder: Path, name: str, other: str) -> None:
    (folder / name).rename(folder / other)


CONFIG, WEIGHTS, TEMPLATE = "config.json", "model.safetensors", "chat_template.jinja"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a language model": (lambda d: rewrite(d / CONFIG, model_type="llama"), "llama, a language model that sees no"),
    "an encoder": (lambda d: rewrite(d / CONFIG, model_type="siglip"), "a siglip, which transformers does not load as"),
    "an unknown model": (lambda d: rewrite(d / CONFIG, model_type="hal9000"), "hal9000, which transformers does not"),
    "injection into another family": (
        lambda d: rewrite(d / CONFIG, model_type="cli_qwen3_vl"),
        "cli_qwen3_vl: injection into a qwen3_vl is built",
    ),
    "no model type": (lambda d: rewrite(d / CONFIG, model_type=None), "names no model_type"),
    "code of its own": (
        lambda d: rewrite(d / CONFIG, model_type="internvl_chat", auto_map={"AutoConfig": "code.Config"}),
        "runs code that comes with its weights",
    ),
    "an encoder of prompts": (
        lambda d: rewrite(d / CONFIG, model_type="florence2", is_encoder_decoder=True),
        "with an encoder for its prompts",
    ),
    "a pickle": (lambda d: instead(d, WEIGHTS, "pytorch_model.bin"), r"weights in pytorch_model\.bin, which is not"),
    "a GGUF": (gguf, r"weights in q4\.gguf, which is not read"),
    "cut weights": (lambda d: cut(d / WEIGHTS), "may be half a download"),
    "a pointer instead of weights": (
        lambda d: (d / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "may be half a download",
    ),
    "a missing shard": (shards, r"lacks 1 files of weights, such as model-00002-of-00002\.safetensors"),
    "a cut config": (lambda d: cut(d / CONFIG), "may be half a download"),
    "no processor": (lambda d: (d / "processor_config.json").unlink(), "the processor of .* cannot be read"),
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), "the processor of .* cannot be read"),
    "no chat template": (lambda d: (d / TEMPLATE).unlink(), "has no chat template"),
    "a template without images": (
        lambda d: (d / TEMPLATE).write_text("{% for m in messages %}{{ m.content[-1].text }}{% endfor %}"),
        "does not show an image",
    ),
    "a broken template": (lambda d: (d / TEMPLATE).write_text("{% for %}"), "does not show an image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_evaluated_is_refused_before_a_replica_starts(
    fault: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli_ray.evals.generation.replicas.connect", lambda cpus: pytest.fail("a cluster was asked"))
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    spoil, message = FAULTS[fault]
    spoil(model)
    with pytest.raises(UserError, match=message):
        evaluate(config(model, tmp_path))


def test_gates_of_a_model_without_any_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="injects nothing into its decoder"):
        evaluate(config(folder, tmp_path, gates=True))


def config(model: Path, output: Path, **changes: object) -> EvaluationConfig:
    values = {"benchmarks": ("pope", "mmmu-val"), "miniature": True, "replica": REPLICA}
    return EvaluationConfig.model_validate({"model": str(model), "output": str(output / "out"), **values, **changes})


def test_the_hash_covers_what_else_other_families_read(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    (model / "additional_chat_templates").mkdir()
    hashes = {hash_of(model)}
    for name in ("video_preprocessor_config.json", "additional_chat_templates/tools.jinja", "vocab.txt", "README.md"):
        (model / name).write_text(name)
        hashes.add(hash_of(model))
    assert len(hashes) == 4
    # As of our families it would be what it is without them.
    assert fingerprint(str(model)) == fingerprint(str(folder))


def hash_of(model: Path) -> str:
    return fingerprint(str(model), patterns_of(config_of(str(model))))
