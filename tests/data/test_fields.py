"""No field of a record is dropped in silence: it is read, or listed, or refuses the sample."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli_ray.data.conversation import NO_SYSTEM
from cli_ray.data.sample import BadSample, Message, Sample, Unread
from tests.data.shards import data_config, picture, read_all, read_json, talk, turns


def only(samples: list[Sample | BadSample]) -> Sample | BadSample:
    """The one sample."""
    assert len(samples) == 1
    return samples[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"videos": ["clip.mp4"]},
        {"video": "clip"},
        {"video_path": "clip"},
        {"audios": ["a.wav"]},
        {"clip": "a.mp4"},
        {"what": ["b/c.WAV"]},
        {"image": "0.png", "video": "clip.mp4"},
        {"tools": [{"name": "weather"}]},
        {"tools": '[{"name": "weather"}]'},
    ],
)
def test_what_no_model_here_reads_refuses_the_sample(tmp_path: Path, fields: dict[str, Any]) -> None:
    bad = only(read_json(tmp_path, talk("<image>\nWhat?" if "image" in fields else "What?", **fields)))
    assert isinstance(bad, BadSample)
    assert bad.reason == "not supported"
    assert list(fields)[-1] in bad.detail


@pytest.mark.parametrize(
    "name",
    [
        "image_path",
        "image_paths",
        "img",
        "file_name",
        "image_file",
        "image_url",
        "Image",
        "media",
        "image_id",
        "picture",
    ],
)
def test_an_image_under_another_name_is_not_learnt_as_text(tmp_path: Path, name: str) -> None:
    bad = only(read_json(tmp_path, talk(**{name: "0.png"})))
    assert isinstance(bad, BadSample)
    assert (bad.reason, bad.detail) == ("missing image", f"{name} is not read ('0.png'); call it image or images")
    good = only(read_json(tmp_path, talk("<image>\nWhat?", image="0.png", **{name: "x"})))
    assert isinstance(good, Sample)
    assert good.unread == (Unread("field", name),)


def test_a_second_image_field(tmp_path: Path) -> None:
    for fields in ({"image_2": "1.png"}, {"images": ["1.png"]}):
        assert isinstance(only(read_json(tmp_path, talk("<image>\nWhat?", image="0.png", **fields))), BadSample)
    rows = [{"image": picture(), "depth": picture(1), "messages": turns()}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    found = only(read_all(data_config(tmp_path / "x.parquet")))
    assert found.unread == (Unread("column", "depth"),)


@pytest.mark.parametrize("value", ["", None, [], [""], [None], float("nan"), {"bytes": None, "path": None}])
@pytest.mark.parametrize("name", ["image", "images"])
def test_an_empty_image_is_none(tmp_path: Path, name: str, value: Any) -> None:
    good = only(read_json(tmp_path, talk(**{name: value})))
    assert isinstance(good, Sample), good
    assert good.images == []
    bad = only(read_json(tmp_path, talk("<image>\nWhat?", **{name: value})))
    assert isinstance(bad, BadSample)
    assert "1 <image> marks for 0 images" in bad.detail


def test_the_other_of_two_names_is_taken_when_one_is_empty(tmp_path: Path) -> None:
    record = {**talk("<image>\nWhat?"), "images": [], "image": "1.png", "conversations": []}
    good = only(read_json(tmp_path, record))
    assert isinstance(good, Sample)
    assert good.images == [picture(1)]
    parquet = [{"image": picture(), "messages": [{**turn, "from": None, "value": None} for turn in turns()]}]
    pq.write_table(pa.Table.from_pylist(parquet), tmp_path / "x.parquet")
    assert isinstance(only(read_all(data_config(tmp_path / "x.parquet"))), Sample)


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_system_field_is_the_first_message(tmp_path: Path, name: str) -> None:
    record = {"conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]}
    good = only(read_json(tmp_path, {**record, name: "In one word."}))
    assert isinstance(good, Sample)
    assert good.messages[0] == Message("system", "In one word.")
    assert [message.role for message in good.messages] == ["system", "user", "assistant"]
    pq.write_table(pa.table({"messages": [turns(images=0)], name: ["In one word."]}), tmp_path / "x.parquet")
    assert isinstance(table := only(read_all(data_config(tmp_path / "x.parquet"))), Sample)
    assert table.messages[0] == Message("system", "In one word.")


def test_two_system_messages(tmp_path: Path) -> None:
    turn = {"role": "system", "content": "Be brief."}
    record = {"messages": [turn, *talk()["messages"]]}
    same, other = read_json(tmp_path, {**record, "system": "Be brief."}, {**record, "system": "Be long."})
    assert isinstance(same, Sample)
    assert len(same.messages) == 3
    assert isinstance(other, BadSample)
    assert "two system messages" in other.detail


def test_an_empty_system_message_is_none(tmp_path: Path) -> None:
    record = {"messages": [{"role": "system", "content": ""}, *talk()["messages"]], "system": ""}
    good = only(read_json(tmp_path, record))
    assert isinstance(good, Sample)
    assert [message.role for message in good.messages] == ["user", "assistant"]
    assert good.remarks == (NO_SYSTEM,)


def test_what_is_not_read_is_listed(tmp_path: Path) -> None:
    record = talk(width=3, model="gpt-4", tools=[], caption="A cat on a mat.", label=None)
    record["messages"][0]["name"] = "Ann"
    good = only(read_json(tmp_path, record))
    assert isinstance(good, Sample)
    listed = {("field", "width"), ("field", "model"), ("field", "caption"), ("message field", "name")}
    assert set(good.unread) == listed
    bad = only(read_json(tmp_path, {"instruction": "What?", "input": "", "output": "A cat."}))
    assert isinstance(bad, BadSample)
    assert "only instruction, input, output" in bad.detail
    assert set(bad.unread) == {("field", "instruction"), ("field", "output")}


def test_what_is_not_read_is_listed_of_refused_samples_too(tmp_path: Path) -> None:
    record = {"tools": "[]", "conversations": [{"from": "function_call", "value": "{}"}]}
    bad = only(read_json(tmp_path, record))
    assert isinstance(bad, BadSample)
    assert "role 'function_call'" in bad.detail
    assert bad.unread == (Unread("field", "tools"),)


@pytest.mark.parametrize("name", ["tool_calls", "reasoning_content", "image", "audio", "train_detail"])
def test_fields_of_a_message_that_cannot_be_left_out(tmp_path: Path, name: str) -> None:
    record = talk()
    record["messages"][1][name] = "0.png"
    bad = only(read_json(tmp_path, record))
    assert isinstance(bad, BadSample)
    assert name in bad.detail


def test_boxes_in_a_field_of_their_own(tmp_path: Path) -> None:
    box = {"objects": {"ref": ["a cat"], "bbox": [[1, 2, 3, 4]]}}
    good, bad = read_json(tmp_path, talk(**box), talk(answer="At <bbox>.", **box))
    assert isinstance(good, Sample)
    assert good.unread == (Unread("field", "objects"),)
    assert isinstance(bad, BadSample)
    assert "objects" in bad.detail


def test_json_columns_are_parsed(tmp_path: Path) -> None:
    """As `datasets` writes a column of which some values are texts and some lists of parts."""
    datasets = pytest.importorskip("datasets")
    contents: list[Any] = ['What "is" it?', [{"type": "image"}, {"type": "text", "text": "\nWhat?"}]]
    messages = [
        [{"role": "user", "content": content}, {"role": "assistant", "content": "A.\nB."}] for content in contents
    ]
    kind = datasets.Json()
    features = datasets.Features(
        {
            "messages": datasets.List({"role": datasets.Value("string"), "content": kind}),
            "images": datasets.List(datasets.Value("binary")),
        }
    )
    dataset = datasets.Dataset.from_dict({"messages": messages, "images": [[], [picture()]]}, features=features)
    dataset.to_parquet(str(tmp_path / "x.parquet"))
    dataset.save_to_disk(str(tmp_path / "set"))
    for path in (tmp_path / "x.parquet", tmp_path / "set"):
        found = read_all(data_config(path))
        texts = [[message.content.split() for message in one.messages] for one in found if isinstance(one, Sample)]
        assert texts == [[["What", '"is"', "it?"], ["A.", "B."]], [["<image>", "What?"], ["A.", "B."]]]


def test_a_json_column_that_is_none(tmp_path: Path) -> None:
    storage = pa.array(['[{"role": "user"', "null"], pa.string())
    column = pa.ExtensionArray.from_storage(pa.json_(pa.string()), storage)
    pq.write_table(pa.table({"messages": column}), tmp_path / "x.parquet")
    assert [sample.reason for sample in read_all(data_config(tmp_path)) if isinstance(sample, BadSample)] == [
        "broken record",
        "wrong columns",
    ]
