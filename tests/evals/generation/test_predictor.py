"""Batches are read, asked and answered rightly, and one item's fault stays its own."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.generation.job import Batch, DeviceLostError, one_line
from cli_ray.evals.generation.messages import with_marks
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.survey import Entry
from cli_ray.evals.records import ReplyRecord
from cli_ray.model.tiny import build_tiny
from tests.evals.generation.charts import TOKENS, entries_of, job_of, row, save_model, write_rows
from tests.model.batches import cli_model

IMAGES = (1, 0, 1, 2, 1, 1, 3, 0, 1, 1, 2, 1, 1, 1, 1, 1)
"""Images of the rows: alone, none and several in one batch."""


@pytest.fixture(scope="module", autouse=True)
def _text_only() -> Iterator[None]:
    """ChartQA's rows have an image each; here some have none, as those of benchmarks of text have."""

    def images(location: Location, doc: Doc) -> list[bytes]:
        return images_of(location, doc) if doc["image"] else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli_ray.evals.items.survey.images_of", images)
        patch.setattr("cli_ray.evals.generation.predictor.images_of", images)
        yield


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Location:
    rows = [row(seed, images) for seed, images in enumerate(IMAGES)]
    return write_rows(tmp_path_factory.mktemp("data"), rows, group=16)


@pytest.fixture(scope="module", params=["plain", "cli"])
def folder(request: pytest.FixtureRequest, family: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    model = build_tiny(family) if request.param == "plain" else cli_model(family)
    return save_model(tmp_path_factory.mktemp("model"), family, model)


@pytest.fixture(scope="module")
def predictor(folder: str, location: Location) -> Predictor:
    return Predictor(job_of(folder, location))


def batch_of(location: Location, entries: Iterable[Entry], max_new_tokens: int = TOKENS, attempts: int = 0) -> Batch:
    return Batch("chartqa", location.parts[0], tuple(entries), max_new_tokens, 1.0, attempts)


def answered(predictor: Predictor, batch: Batch) -> dict[str, ReplyRecord]:
    """Records by sample; each sample must have one."""
    records = [record for records in predictor.predict(batch) for record in records]
    assert sorted(record.sample_id for record in records) == sorted(entry.id for entry in batch.entries)
    return {record.sample_id: record for record in records}


def test_replies_do_not_depend_on_the_batch(predictor: Predictor, location: Location) -> None:
    entries = entries_of(location)
    together = answered(predictor, batch_of(location, entries))
    turned = answered(predictor, batch_of(location, reversed(entries[:7])))
    differing = 0
    for entry in entries:
        alone = answered(predictor, batch_of(location, [entry]))[entry.id]
        said = [together[entry.id], *([turned[entry.id]] if entry.id in turned else [])]
        differing += any((one.reply, one.finish, one.reply_tokens) != (alone.reply, alone.finish, alone.reply_tokens)
                         for one in said)  # fmt: skip
        assert alone.prompt_tokens == together[entry.id].prompt_tokens
    assert differing == 0
    assert len({record.reply for record in together.values()}) > 8
    assert not any(record.error for record in together.values())


def test_a_reply_equals_plain_use_of_transformers(folder: str, predictor: Predictor, location: Location) -> None:
    import io

    from PIL import Image

    from tests.evals.generation.charts import png

    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    question = {"type": "text", "text": "How very very high?\nAnswer the question with a single word."}
    chat = [{"role": "user", "content": [{"type": "image"}, question]}]
    image = Image.open(io.BytesIO(png(20)))
    inputs = processor(
        text=processor.apply_chat_template(chat, add_generation_prompt=True), images=image, return_tensors="pt"
    )
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    record = answered(predictor, batch_of(location, entries_of(location)[2:3]))["2"]
    assert record.reply == processor.decode(tokens, skip_special_tokens=True).strip()
    assert record.prompt_tokens == inputs["input_ids"].shape[1]
    assert (record.model, record.decoding) == ("model", "greedy, 16 tokens, fp32, sdpa")


def test_finish_says_whether_the_reply_was_cut(predictor: Predictor, location: Location) -> None:
    entries = entries_of(location)[:3]
    cut = answered(predictor, batch_of(location, entries, max_new_tokens=2))
    assert {record.finish for record in cut.values()} == {"length"}
    assert {record.reply_tokens for record in cut.values()} == {2}
    ends, predictor._ends = predictor._ends, frozenset(range(2000))
    stopped = answered(predictor, batch_of(location, entries, max_new_tokens=2))
    predictor._ends = ends
    assert {(record.finish, record.reply_tokens, record.reply) for record in stopped.values()} == {("stop", 0, "")}


@pytest.fixture
def llava(tmp_path: Path, location: Location) -> Predictor:
    return Predictor(job_of(save_model(tmp_path, "llava"), location))


@pytest.mark.slow
def test_replies_end_with_the_context_whatever_the_batch(llava: Predictor, location: Location) -> None:
    entries = entries_of(location)[:3]
    whole = answered(llava, batch_of(location, entries))
    prompts = {name: one.prompt_tokens for name, one in whole.items()}
    assert len(set(prompts.values())) > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llava, "_context", max(prompts.values()) + 3)
        cut = answered(llava, batch_of(location, entries))
        alone = answered(llava, batch_of(location, entries[:1]))
        patch.setattr(llava, "_context", max(prompts.values()))
        full = answered(llava, batch_of(location, entries))
    assert cut[entries[0].id].reply == alone[entries[0].id].reply
    for name, record in cut.items():
        assert whole[name].reply.startswith(record.reply.rstrip("�"))  # the cut may go through a character
        assert record.reply_tokens <= max(prompts.values()) + 3 - prompts[name]
    (longest,) = [name for name, tokens in prompts.items() if tokens == max(prompts.values())]
    assert "fills the model's context" in full[longest].error
    assert not any(record.error for name, record in full.items() if name != longest)


def test_bad_items_are_told_and_the_others_answered(tmp_path: Path) -> None:
    rows = [row(seed) for seed in range(5)]
    rows[1]["image"] = [{"bytes": b"no image", "path": None}]
    rows[3]["image"] = [{"bytes": None, "path": "gone.png"}]
    location = write_rows(tmp_path / "data", rows)
    entries = entries_of(location)
    # A scan that did not open the image leaves it to the replica to find that it is broken.
    entries[1] = Entry("1", 1, "k1", "p", "i", 10, ((10, 10),))
    entries.append(Entry("99", 99, "k99", "p", "i", 10, ()))
    predictor = Predictor(job_of(save_model(tmp_path / "model", "llava"), location))
    records = answered(predictor, batch_of(location, entries))
    assert {name for name, record in records.items() if record.finish == "error"} == {"1", "3", "99"}
    assert records["1"].error.startswith("broken image: ")
    assert "gone.png" in records["3"].error
    assert "row 99" in records["99"].error
    assert not records["1"].reply
    assert records["0"].reply


class Refusing:
    """Stands for `generate` of a model: refuses batches as it is told to."""

    def __init__(self, predictor: Predictor, refuse: Any) -> None:
        self.sizes: list[int] = []
        self._generate, self._refuse = predictor._model.generate, refuse
        predictor._model.generate = self

    def __call__(self, **inputs: Any) -> Any:
        self.sizes.append(len(inputs["input_ids"]))
        self._refuse(inputs)
        return self._generate(**inputs)


def test_a_batch_too_large_for_memory_is_halved_and_the_size_kept_in_mind(llava: Predictor, location: Location) -> None:
    def refuse(inputs: Any) -> None:
        if len(inputs["input_ids"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    entries = [entry for entry, images in zip(entries_of(location), IMAGES, strict=True) if images == 1][:8]
    expected = answered(llava, batch_of(location, entries))
    refusing = Refusing(llava, refuse)
    batch = batch_of(location, entries)
    records = list(llava.predict(batch))
    assert [len(some) for some in records] == [4, 4]
    assert {record.sample_id: record.reply for some in records for record in some} == {
        name: record.reply for name, record in expected.items()
    }
    answered(llava, batch)
    assert refusing.sizes == [8, 4, 4, 4, 4]


@pytest.mark.slow
def test_an_item_that_always_fails_is_an_error_after_its_attempts(llava: Predictor, location: Location) -> None:
    entries = entries_of(location)[:4]
    lengths = {name: record.prompt_tokens for name, record in answered(llava, batch_of(location, entries)).items()}
    longest = max(lengths.values())

    def refuse(inputs: Any) -> None:
        if int(inputs["attention_mask"].sum(1).max()) == longest:
            raise RuntimeError("no such\nkernel")

    refusing = Refusing(llava, refuse)
    records = answered(llava, batch_of(location, entries))
    failed = {name: record for name, record in records.items() if record.finish == "error"}
    assert failed.keys() == {name for name, length in lengths.items() if length == longest}
    for record in failed.values():
        assert (record.error, record.attempts, record.reply) == ("RuntimeError: no such kernel", 3, "")
    assert len(failed) == 1
    assert sorted(refusing.sizes) == [1, 1, 1, 1, 2, 2, 4]


def test_a_lost_device_is_no_fault_of_an_item(llava: Predictor, location: Location) -> None:
    def refuse(inputs: Any) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    Refusing(llava, refuse)
    with pytest.raises(DeviceLostError, match="device-side assert"):
        answered(llava, batch_of(location, entries_of(location)))


def test_a_file_that_is_gone_is_no_fault_of_an_item(tmp_path: Path) -> None:
    location = write_rows(tmp_path / "data", [row(0)])
    entries = entries_of(location)
    Path(location.parts[0].path).unlink()
    predictor = Predictor(job_of(save_model(tmp_path / "model", "llava"), location))
    with pytest.raises(UserError, match=r"test\.parquet"):
        predictor.prepare(batch_of(location, entries))


@pytest.mark.parametrize(
    ("prompt", "images", "asked"),
    [
        ("How?", 1, "<image>\nHow?"),
        ("How?", 2, "<image> <image>\nHow?"),
        ("How?", 0, "How?"),
        ("See <image> and <image>.", 2, "See <image> and <image>."),
        ("See <image> and <image>.", 1, "<image>\nSee  and ."),
        ("See <image>.", 0, "See ."),
        ("See <image 1>.", 1, "<image>\nSee <image 1>."),
    ],
)
def test_marks_stand_where_the_prompt_has_them_else_in_front(prompt: str, images: int, asked: str) -> None:
    assert with_marks(prompt, images) == asked


def test_errors_are_told_in_one_short_line() -> None:
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert len(one_line(ValueError("x" * 1000))) == 500


def test_sampling_settings_of_a_checkpoint_do_not_count(tmp_path: Path, location: Location) -> None:
    folder = save_model(tmp_path, "llava")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    model.generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=5.0)
    expected = answered(Predictor(job_of(folder, location)), batch_of(location, entries_of(location)))
    model.generation_config.save_pretrained(folder)
    found = answered(Predictor(job_of(folder, location)), batch_of(location, entries_of(location)))
    assert {name: one.reply for name, one in found.items()} == {name: one.reply for name, one in expected.items()}


def test_old_llava_folders_pad_to_a_square_and_others_do_as_they_say(tmp_path: Path, location: Location) -> None:
    import json

    folder = save_model(tmp_path, "llava")
    assert Predictor(job_of(folder, location))._processor.image_processor.do_pad is False
    path = tmp_path / "processor_config.json"
    stored = json.loads(path.read_text())
    del stored["image_processor"]["do_pad"]
    path.write_text(json.dumps(stored))
    assert Predictor(job_of(folder, location))._processor.image_processor.do_pad is True


def test_models_that_cannot_be_loaded_are_told(tmp_path: Path, location: Location) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Predictor(job_of(str(tmp_path / "absent"), location))
    folder = save_model(tmp_path / "model", "llava")
    with pytest.raises(UserError, match=r"replica\.gpus = 1"):
        Predictor(job_of(folder, location, ReplicaConfig(gpus=1)))
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"chat_template\.jinja"):
        Predictor(job_of(folder, location))
