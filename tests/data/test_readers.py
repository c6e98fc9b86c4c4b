"""Every format ends in the same samples, from a path, a folder, a glob or a URI."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.sample import Message, Sample
from tests.data.shards import data_config, picture, read_all, table_rows, tar_members, turns, write_parquet, write_tar

COUNT = 10


def content(samples: list[Any]) -> list[tuple[list[bytes], list[Message]]]:
    """What samples of all formats share."""
    assert all(isinstance(sample, Sample) for sample in samples), samples
    return [(sample.images, sample.messages) for sample in samples]


EXPECTED = [
    ([picture(n)], [Message("user", turns(n)[0]["content"]), Message("assistant", turns(n)[1]["content"])])
    for n in range(COUNT)
]


def with_images(folder: Path) -> list[dict[str, Any]]:
    """Records in LLaVA's form, with their images as files in `folder`."""
    folder.mkdir(exist_ok=True)
    names = {"user": "human", "assistant": "gpt"}
    records = []
    for n in range(COUNT):
        (folder / f"{n}.png").write_bytes(picture(n))
        talk = [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns(n)]
        records.append({"id": n, "image": f"{n}.png", "conversations": talk})
    return records


def test_webdataset(tmp_path: Path) -> None:
    write_tar(tmp_path / "b.tar", tar_members(COUNT - 3, first=3))
    write_tar(tmp_path / "a.tar", tar_members(3))
    for path in (str(tmp_path), f"{tmp_path}/*.tar", f"file://{tmp_path}/*.tar", f"file://{tmp_path}"):
        samples = read_all(data_config(path))
        assert content(samples) == EXPECTED
    assert samples[0].id == "a.tar#0:00000"
    assert samples[-1].id == "b.tar#6:00009"
    assert samples[-1].where.startswith(f"file://{tmp_path}/b.tar, bytes ")


def test_webdataset_captions_and_several_images(tmp_path: Path) -> None:
    caption = json.dumps({"caption": "from json", "width": 3}).encode()
    talk = json.dumps({"conversations": turns(0, images=2), "image": "elsewhere.jpg"}).encode()
    write_tar(
        tmp_path / "x.tar",
        [
            ("./d/a.JPG", picture(1)),
            ("./d/a.json", caption),
            ("./d/a.txt", b" from txt\n"),
            ("b.webp", picture(2)),
            ("b.json", caption),
            ("b.cls", b"\x80\x04never opened"),
            ("c.0.png", picture(3)),
            ("c.1.jpeg", picture(4)),
            ("c.json", talk),
            ("d.json", json.dumps({"messages": turns(0, images=0)}).encode()),
            ("README.md", b"no sample"),
            ("._e.jpg", b"what macOS leaves"),
        ],
    )
    data = DataConfig(
        sources=(SourceConfig(path=str(tmp_path / "x.tar"), prompt="What?"),), unit_samples=2, window_samples=2
    )
    question, answer = Message("user", "<image>\nWhat?"), Message("assistant", "Number 0. ")
    assert content(read_all(data)) == [
        ([picture(1)], [question, Message("assistant", "from txt")]),
        ([picture(2)], [question, Message("assistant", "from json")]),
        (
            [picture(3), picture(4)],
            [Message("user", "<image>\n<image>\nWhat is it?"), Message("assistant", "Number 0. ")],
        ),
        ([], [Message("user", "What is it?"), answer]),
    ]


def test_parquet_in_our_schema(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", table_rows(COUNT), row_group_size=7)
    samples = read_all(data_config(tmp_path))
    assert content(samples) == EXPECTED
    assert samples[8].id == "x.parquet#8:00008"
    assert samples[8].where.endswith("x.parquet, row 8")


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_in_other_schemas(tmp_path: Path, packed: bool) -> None:
    """`image` as the struct of Hugging Face datasets, conversations as a list or as JSON text."""
    rows = [
        {
            "image": {"bytes": picture(n), "path": None},
            "conversations": json.dumps(turns(n)) if packed else turns(n),
            "width": 40,
        }
        for n in range(COUNT)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert content(read_all(data_config(tmp_path))) == EXPECTED


def test_parquet_with_paths_in_an_image_folder(tmp_path: Path) -> None:
    with_images(tmp_path / "pictures")
    rows = [{"images": [{"bytes": None, "path": f"{n}.png"}], "messages": turns(n)} for n in range(COUNT)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    source = SourceConfig(path=f"{tmp_path}/x.parquet", image_folder=str(tmp_path / "pictures"))
    assert content(read_all(DataConfig(sources=(source,)))) == EXPECTED


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_llava_json(tmp_path: Path, suffix: str, scheme: str) -> None:
    records = with_images(tmp_path / "pictures")
    lines = "\n".join(map(json.dumps, records)) + "\n\n"
    (tmp_path / f"x.{suffix}").write_text(json.dumps(records, indent=1) if suffix == "json" else lines)
    source = SourceConfig(path=f"{scheme}{tmp_path}/x.{suffix}", image_folder=f"{scheme}{tmp_path}/pictures")
    samples = read_all(DataConfig(sources=(source,), unit_samples=3, window_samples=3))
    assert content(samples) == EXPECTED
    assert samples[4].id == f"x.{suffix}#4:4"


def test_messages_json_beside_its_images(tmp_path: Path) -> None:
    with_images(tmp_path)
    parts = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    records = [
        {"images": [f"{n}.png"], "messages": [{"role": "user", "content": parts}, turns(n)[1]]} for n in range(COUNT)
    ]
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf " + json.dumps(records).encode())
    question = Message.of_parts("user", ["<image>", "What is it?"])
    expected = [(images, [question, reply]) for images, (_, reply) in EXPECTED]
    assert content(read_all(data_config(tmp_path / "x.json"))) == expected


def test_a_datasets_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "images": [datasets.Image()],
            "messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
        }
    )
    rows = [{"images": [{"bytes": picture(n), "path": None}], "messages": turns(n)} for n in range(COUNT)]
    dataset = datasets.Dataset.from_list(rows, features=features)
    dataset.save_to_disk(str(tmp_path / "set"), num_shards=3)
    assert content(read_all(data_config(tmp_path / "set"))) == EXPECTED


def test_units_read_alone_equal_the_whole(tmp_path: Path) -> None:
    """Positions do not depend on what was read before."""
    write_tar(tmp_path / "x.tar", tar_members(COUNT))
    for unit_samples in (1, 3, 50):
        data = data_config(tmp_path, unit_samples=unit_samples, window_samples=unit_samples)
        assert content(read_all(data)) == EXPECTED
