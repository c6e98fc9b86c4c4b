"""The made dataset: a function of the seed, disjoint splits, questions that cannot be guessed, readable shards."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from cli_ray.data.sample import SCHEMA
from cli_ray.data.synthetic import SIDE, SyntheticSample, chance_level, synthesize, write_parquet, write_tar


def conversation(sample: SyntheticSample) -> list[str]:
    """What is said in a sample, in order."""
    (first, first_answer), (second, second_answer) = ((turn.question, turn.answer) for turn in sample.turns)
    return [f"<image>\n{first}", first_answer, second, second_answer]


def test_samples_are_a_function_of_the_seed() -> None:
    first = synthesize(30, seed=5, split="train")
    assert first == synthesize(30, seed=5, split="train")
    assert first == synthesize(40, seed=5, split="train")[:30]
    assert not {s.image for s in first} & {s.image for s in synthesize(30, seed=6, split="train")}


def test_no_picture_is_in_both_splits() -> None:
    train = {s.image for seed in (0, 1) for s in synthesize(1500, seed, "train")}
    held_out = {s.image for seed in (0, 1) for s in synthesize(150, seed, "held_out")}
    assert not train & held_out


def test_each_kind_comes_equally_often_with_both_scopes() -> None:
    samples = synthesize(60, seed=0, split="train")
    assert Counter(sample.kind for sample in samples) == {"scene": 20, "text": 20, "chart": 20}
    assert {sample.turns[0].scope for sample in samples} == {"whole", "detail"}
    assert all({turn.scope for turn in sample.turns} == {"whole", "detail"} for sample in samples)
    assert len({sample.id for sample in samples}) == 60
    assert {Image.open(io.BytesIO(sample.image)).size for sample in samples} == {(SIDE, SIDE)}


def test_the_most_frequent_answer_is_not_much() -> None:
    chance = chance_level(synthesize(1200, seed=0, split="train"))
    assert len(chance) == 6
    assert max(chance.values()) < 0.45
    assert max(chance_level(synthesize(300, seed=3, split="held_out")).values()) < 0.5


def test_tar_shards(tmp_path: Path) -> None:
    samples = synthesize(5, seed=0, split="train")
    write_tar(samples, tmp_path / "tar", shard_size=2)
    shards = sorted((tmp_path / "tar").iterdir())
    assert [shard.name for shard in shards] == [f"shard-{n:05d}.tar" for n in range(3)]
    with tarfile.open(shards[1]) as tar:
        members = [(member.name, tar.extractfile(member)) for member in tar]
        stored = {name: file.read() for name, file in members if file is not None}
    assert list(stored) == [f"{s.id}.{suffix}" for s in samples[2:4] for suffix in ("png", "json")]
    assert stored[f"{samples[2].id}.png"] == samples[2].image
    turns = json.loads(stored[f"{samples[2].id}.json"])["conversations"]
    assert [turn["value"] for turn in turns] == conversation(samples[2])
    assert [turn["from"] for turn in turns] == ["human", "gpt"] * 2


def test_parquet_files(tmp_path: Path) -> None:
    samples = synthesize(5, seed=0, split="train")
    write_parquet(samples, tmp_path / "rows", rows_per_file=2)
    parts = sorted((tmp_path / "rows").iterdir())
    assert [part.name for part in parts] == [f"part-{n:05d}.parquet" for n in range(3)]
    table = pq.read_table(parts[2])
    assert table.schema.equals(SCHEMA)
    (row,) = table.to_pylist()
    assert (row["id"], row["images"], row["source"]) == (samples[4].id, [samples[4].image], "rows")
    assert [message["content"] for message in row["messages"]] == conversation(samples[4])
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * 2


def test_shards_are_equal_byte_for_byte(tmp_path: Path) -> None:
    for name in ("first", "second"):
        samples = synthesize(7, seed=0, split="train")
        write_tar(samples, tmp_path / name / "tar", shard_size=4)
        write_parquet(samples, tmp_path / name / "rows", rows_per_file=4)
    first, second = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in ("first", "second")
    )
    assert first == second
    assert len(first) == 4
