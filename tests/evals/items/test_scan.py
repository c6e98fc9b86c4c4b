"""The pass over the items before anything is generated: keys, costs and faults."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli_ray.errors import UserError
from cli_ray.evals.items.pictures import Pictures
from cli_ray.evals.items.sources import locate
from cli_ray.evals.items.survey import Entry, check_ids, scan
from cli_ray.evals.records import digest, key_of
from cli_ray.evals.suite import BENCHMARKS, benchmark
from tests.evals.items.hub_cache import charts, png, write_jsonl, write_parquet

CHARTQA = benchmark("chartqa")


def _scan(folder: Path, rows: list[dict[str, Any]]) -> list[Entry]:
    write_jsonl(folder / "chartqa/a.jsonl", rows)
    location = locate(CHARTQA, str(folder), miniature=False)
    return [entry for part in location.parts for entry in scan(location, part, "greedy", "model")]


def test_an_entry_is_keyed_by_content(tmp_path: Path) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(2))
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    first, second = scan(location, location.parts[0], "greedy", "model")
    assert first.pictures
    assert first.pictures.thumbnail
    prompt = "how many? (0)\nAnswer the question with a single word."
    assert first == Entry(
        id="0",
        row=0,
        key=key_of("chartqa", "0", digest(prompt), digest(png()), "greedy", "model"),
        prompt_hash=digest(prompt),
        image_hash=digest(png()),
        prompt_chars=len(prompt),
        sizes=((4, 3),),
        pictures=Pictures("0", (f"{tmp_path}/chartqa/a.parquet#row=0&column=image",), first.pictures.thumbnail),
    )
    assert Image.open(io.BytesIO(first.pictures.thumbnail)).size == (4, 3)
    assert second.image_hash == first.image_hash
    assert second.key != first.key
    (other, _) = scan(location, location.parts[0], "greedy", "another model")
    assert other.key != first.key


def test_bad_items_are_marked_and_stop_no_other(tmp_path: Path) -> None:
    images = ["a.png", "gone.png", "../chartqa/a.png", "text.png", None]
    (tmp_path / "chartqa").mkdir()
    (tmp_path / "chartqa/a.png").write_bytes(png())
    (tmp_path / "chartqa/text.png").write_text("no image")
    entries = _scan(tmp_path, [row | {"image": image} for row, image in zip(charts(5, "x"), images, strict=True)])
    faults = [entry.error.partition(":")[0] for entry in entries]
    assert faults == ["", "missing image", "forbidden path", "broken image", "missing image"]
    assert [entry.row for entry in entries] == [0, 1, 2, 3, 4]
    assert len({entry.key for entry in entries}) == 5
    assert entries[1].image_hash == ""
    assert entries[1].prompt_chars == entries[0].prompt_chars


def test_a_row_whose_prompt_cannot_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(CHARTQA, prompt=lambda doc: str(doc["question"][100]))
    monkeypatch.setitem(BENCHMARKS, "chartqa", one)
    write_parquet(tmp_path / "chartqa/a.parquet", charts(1))
    location = locate(one, str(tmp_path), miniature=False)
    (entry,) = scan(location, location.parts[0], "", "")
    assert entry.error == "prompt: IndexError: string index out of range"


def test_an_item_without_id_is_the_users_to_fix(tmp_path: Path) -> None:
    one = replace(CHARTQA, sample_id=lambda doc, row: str(int(doc["type"])))
    write_parquet(tmp_path / "chartqa/a.parquet", charts(1))
    location = locate(one, str(tmp_path), miniature=False)
    with pytest.raises(UserError, match=r"chartqa: row 0 of .* has no id"):
        scan(location, location.parts[0], "", "")


def test_equal_ids_are_refused_with_both_rows() -> None:
    entries = [Entry(name, row, "k", "p", "i", 1, ()) for row, name in enumerate(("a", "b", "a"))]
    with pytest.raises(UserError, match="mme: rows 0 and 2 have the same id 'a'"):
        check_ids("mme", entries)
    check_ids("mme", entries[:2])
