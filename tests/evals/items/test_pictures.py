"""What people see of the items: places, thumbnails and which are shown."""

import io
from pathlib import Path

import pytest
from PIL import Image

from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Part
from cli_ray.evals.items.pictures import SHOWN, SIDE, Pictures, is_shown, read_pictures, thumbnail, write_pictures
from cli_ray.evals.items.sources import locate, read
from cli_ray.evals.items.survey import scan
from cli_ray.evals.results.scorer import _asked
from cli_ray.evals.suite import BENCHMARKS, benchmark
from cli_ray.storage.folder import Folder
from tests.evals.items.hub_cache import charts, png, write_jsonl, write_parquet


def test_about_as_many_items_are_shown_of_a_benchmark_of_any_size() -> None:
    assert all(is_shown(str(number), SHOWN) for number in range(SHOWN))
    counts = [sum(is_shown(str(number), items) for number in range(items)) for items in (1_000, 20_000)]
    assert all(0.8 * SHOWN < count < 1.2 * SHOWN for count in counts)


@pytest.mark.parametrize("size", [(1, 1), (8000, 4000), (4000, 30)])
def test_thumbnails_are_small_whatever_the_picture(size: tuple[int, int]) -> None:
    small = thumbnail(Image.radial_gradient("L").resize(size).convert("RGB"))
    shown = Image.open(io.BytesIO(small))
    assert max(shown.size) == min(SIDE, max(size))
    assert len(small) < 10_000


def test_places_lead_to_the_pictures(tmp_path: Path) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(3))
    write_parquet(tmp_path / "chartqa/b.parquet", charts(2))
    one = benchmark("chartqa")
    location = locate(one, str(tmp_path), miniature=False)
    entries = [entry for part in location.parts for entry in scan(location, part, "", "")]
    places = [entry.pictures.images for entry in entries if entry.pictures]
    assert places[4] == (f"{tmp_path}/chartqa/b.parquet#row=1&column=image",)
    (tmp_path / "files/chartqa").mkdir(parents=True)
    (tmp_path / "files/chartqa/a.png").write_bytes(png())
    write_jsonl(tmp_path / "files/chartqa/a.jsonl", [charts(1)[0] | {"image": "a.png"}])
    location = locate(one, str(tmp_path / "files"), miniature=False)
    (entry,) = scan(location, location.parts[0], "", "")
    assert entry.pictures
    assert entry.pictures.images == (f"{tmp_path}/files/chartqa/a.png",)


def test_a_damaged_picture_has_a_place_and_no_thumbnail(tmp_path: Path) -> None:
    row = charts(1)[0] | {"image": {"bytes": png()[:45], "path": None}}
    write_parquet(tmp_path / "chartqa/a.parquet", [row])
    one = benchmark("chartqa")
    location = locate(one, str(tmp_path), miniature=False)
    (entry,) = scan(location, location.parts[0], "", "")
    assert entry.pictures
    assert (len(entry.pictures.images), entry.pictures.thumbnail) == (1, None)


def test_pictures_are_kept_with_what_was_asked(tmp_path: Path) -> None:
    pictures = [Pictures("a", ("x.png",), b"webp"), Pictures("<script>"), Pictures("c", ("y", "z"))]
    folder = Folder(str(tmp_path))
    write_pictures(folder, "toy", pictures)
    assert list(read_pictures(folder, "toy")) == pictures
    assert list(read_pictures(folder, "other")) == []


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_says_question_gold_and_pictures(name: str) -> None:
    one = benchmark(name)
    location = locate(one, "", miniature=True)
    (part,) = location.parts
    whole = [doc for _, doc in read(location, part)]
    docs = [doc for _, doc in read(location, part, one.columns)]
    for entry, full, doc in zip(scan(location, part, "", ""), whole, docs, strict=True):
        assert entry.pictures
        assert len(entry.pictures.images) == len(images_of(location, full))
        asked = _asked(one, doc, entry.id, iter([entry.pictures]))
        assert asked.question == str(doc[one.question])
        assert asked.prompt == one.prompt(doc)
        assert asked.thumbnail
        hidden = one.submission is not None
        assert bool(asked.gold) is not hidden
        if not hidden and one.judge is None:
            assert one.score(doc, asked.gold.split(" | ")[0]).score


def test_items_that_an_older_version_asked_have_no_pictures() -> None:
    one = benchmark("pope")
    location = locate(one, "", miniature=True)
    (_, doc), *_ = read(location, location.parts[0], one.columns)
    asked = _asked(one, doc, "x", iter([]))
    assert (asked.question, asked.images, asked.thumbnail) == (doc["question"], (), None)


def test_parts_know_their_rows_in_the_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(300))
    parts: tuple[Part, ...] = locate(benchmark("chartqa"), str(tmp_path), miniature=False).parts
    assert [part.first_in_file for part in parts] == [part.first for part in parts]
