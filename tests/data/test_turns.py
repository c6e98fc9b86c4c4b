"""Masks of turns are obeyed, and pictures inside parts are read, in the order that they are given."""

import base64
from pathlib import Path
from typing import Any

import pytest
from transformers import ProcessorMixin

from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IGNORED, BadSample, Encoded, Sample, Unread
from cli_ray.data.turns import MASKS
from tests.data.shards import data_config, picture, read_json, talk


def two_turns(**first: Any) -> dict[str, Any]:
    """Two questions; the first answer has other fields."""
    messages = [*talk(answer="One.")["messages"], *talk(answer="Two.")["messages"]]
    messages[1] |= first
    return {"messages": messages}


def supervised(processor: ProcessorMixin, sample: Sample | BadSample) -> tuple[str, str]:
    """The text of a sample, and what of it is learnt."""
    row = Encoder(processor, data_config("unused"))(sample)
    assert isinstance(row, Encoded), row
    return processor.tokenizer.decode(row.input_ids), processor.tokenizer.decode(row.labels[row.labels != IGNORED])


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("value", [0, 0.0, False])
def test_a_masked_turn_is_context_only(tmp_path: Path, processor: ProcessorMixin, name: str, value: Any) -> None:
    value = 1 - value if name == "masked" else value
    sample = read_json(tmp_path, two_turns(**{name: value}))[0]
    assert isinstance(sample, Sample)
    assert [message.supervised for message in sample.messages] == [True, False, True, True]
    text, learnt = supervised(processor, sample)
    assert "One." in text
    assert "One." not in learnt
    assert "Two." in learnt


@pytest.mark.parametrize("fields", [{}, {"weight": 1}, {"train": True}, {"loss": None}, {"weight": float("nan")}])
def test_other_turns_are_learnt(tmp_path: Path, processor: ProcessorMixin, fields: dict[str, Any]) -> None:
    _, learnt = supervised(processor, read_json(tmp_path, two_turns(**fields))[0])
    assert "One." in learnt


@pytest.mark.parametrize("value", [0.5, 2, -1, "0", [1, 0]])
def test_a_weight_that_cannot_be_obeyed(tmp_path: Path, value: Any) -> None:
    bad = read_json(tmp_path, two_turns(weight=value))[0]
    assert isinstance(bad, BadSample)
    assert bad.reason == "messages"
    assert "weight is" in bad.detail


def test_a_question_that_shall_be_learnt(tmp_path: Path) -> None:
    record = talk()
    record["messages"][0]["train"] = False
    asks = talk()
    asks["messages"][0]["train"] = True
    good, bad = read_json(tmp_path, record, asks)
    assert isinstance(good, Sample)
    assert isinstance(bad, BadSample)
    assert "asks to learn a message of the user" in bad.detail


def test_no_turn_that_is_learnt(tmp_path: Path) -> None:
    record = talk()
    record["messages"][1]["weight"] = 0
    bad = read_json(tmp_path, record)[0]
    assert isinstance(bad, BadSample)
    assert bad.reason == "nothing supervised"


def parts(*pictures: dict[str, Any]) -> dict[str, Any]:
    """A record whose question has some images as parts."""
    return talk([*({"type": "image", **fields} for fields in pictures), {"type": "text", "text": "What?"}])


URL = f"data:image/png;base64,{base64.b64encode(picture(1)).decode()}"


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "1.png"},
        {"path": "1.png", "image": None},
        {"url": "1.png"},
        {"base64": base64.b64encode(picture(1)).decode()},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
    ],
)
def test_pictures_inside_parts(tmp_path: Path, fields: dict[str, Any]) -> None:
    good = read_json(tmp_path, parts(fields, {"image": "0.png"}))[0]
    assert isinstance(good, Sample), good
    assert good.images == [picture(1), picture(0)]
    assert good.messages[0].content.split("<image>")[-1].strip() == "What?"
    assert good.messages[0].content.count("<image>") == 2
    assert good.unread == ()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"url": "file:///x/0.png"}, "forbidden path"),
        ({"url": "https://example.org/0.png"}, "forbidden path"),
        ({"image": "0.png", "path": "1.png"}, "wrong columns"),
        ({"image": 7}, "wrong columns"),
        ({"url": "data:image/png;base64,?"}, "broken image"),
        ({"url": "data:image/png,x"}, "broken image"),
        ({"index": "0"}, "wrong columns"),
    ],
)
def test_pictures_that_cannot_be_read(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    bad = read_json(tmp_path, parts(fields))[0]
    assert isinstance(bad, BadSample)
    assert bad.reason == reason


def test_parts_point_at_images(tmp_path: Path) -> None:
    record = parts({"index": 1, "text": None}, {"index": 0, "text": None})
    record["messages"][1]["content"] = [{"type": "text", "text": "A cat.", "index": None, "cache_control": "x"}]
    good = read_json(tmp_path, {**record, "images": ["0.png", "1.png"]})[0]
    assert isinstance(good, Sample)
    assert good.images == [picture(1), picture(0)]
    assert good.unread == (Unread("part field", "cache_control"),)


@pytest.mark.parametrize("indices", [(0, 0), (0, 2), (0, None)])
def test_parts_that_point_at_other_images(tmp_path: Path, indices: tuple[int | None, ...]) -> None:
    record = parts(*({"index": index} for index in indices))
    bad = read_json(tmp_path, {**record, "images": ["0.png", "1.png"]})[0]
    assert isinstance(bad, BadSample)
    assert "expected each of them once" in bad.detail


def test_images_of_two_places(tmp_path: Path) -> None:
    bad = read_json(tmp_path, {**parts({"image": "0.png"}), "image": "1.png"})[0]
    assert isinstance(bad, BadSample)
    assert "some images are in parts" in bad.detail


def test_both_names_of_a_text(tmp_path: Path) -> None:
    record = talk()
    record["messages"][1]["value"] = "Another."
    bad = read_json(tmp_path, record)[0]
    assert isinstance(bad, BadSample)
    assert "both content and value" in bad.detail


@pytest.mark.parametrize(
    "content",
    [
        '[{"type": "text", "text": "What?"}]',
        '[{"index": null, "text": "What?", "type": "text"}]',
        "[{'type': 'image'}, {'type': 'text', 'text': 'What?'}]",
    ],
)
def test_parts_that_were_made_text(tmp_path: Path, content: str) -> None:
    bad = read_json(tmp_path, talk(content))[0]
    assert isinstance(bad, BadSample)
    assert "the text of a list of parts" in bad.detail


@pytest.mark.parametrize("answer", ['[{"label": "cat", "box": [1, 2]}]', "[1, 2]", '{"type": "text"}', "[{}]"])
def test_answers_of_json_are_texts(tmp_path: Path, answer: str) -> None:
    good = read_json(tmp_path, talk(answer=answer))[0]
    assert isinstance(good, Sample)
    assert good.messages[1].content == answer
