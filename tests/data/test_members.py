"""Which members of a tar are the images of a sample, in which order, and what of the others is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_ray.data.sample import BadSample, Sample, Unread
from tests.data.shards import data_config, picture, read_all, tar_members, turns, write_tar

SORTED = [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
"""As names of numbers are sorted by those who write tars."""


def read(folder: Path, *members: tuple[str, bytes | dict[str, Any]], **fields: Any) -> list[Sample | BadSample]:
    """What comes of a tar."""
    encoded = [(name, json.dumps(held).encode() if isinstance(held, dict) else held) for name, held in members]
    write_tar(folder / "x.tar", encoded)
    return read_all(data_config(folder / "x.tar", **fields))


def images(sample: Sample | BadSample) -> list[bytes]:
    """Its images."""
    assert isinstance(sample, Sample), sample
    return sample.images


@pytest.mark.parametrize("before", ["s.", "s.image_", "s.page-"])
def test_images_come_by_their_numbers(tmp_path: Path, before: str) -> None:
    members = [(f"{before}{n}.png", picture(n)) for n in SORTED]
    found = read(tmp_path, *members, ("s.json", {"messages": turns(images=12)}))
    assert images(found[0]) == [picture(n) for n in range(12)]


@pytest.mark.parametrize("named", ["s.{}.png", "{}.png", "photos/{}.png", "photos/s.{}.png"])
def test_images_come_as_the_json_names_them(tmp_path: Path, named: str) -> None:
    order = [3, 0, 2, 1]
    members = [(f"s.{n}.png", picture(n)) for n in range(4)]
    text = {"image": [named.format(n) for n in order], "messages": turns(images=4)}
    assert images(read(tmp_path, *members, ("s.json", text))[0]) == [picture(n) for n in order]


def test_names_of_another_place_say_nothing(tmp_path: Path) -> None:
    members = [(f"s.{n}.png", picture(n)) for n in (1, 0)]
    text = {"image": ["a/x.png", "b/x.png"], "messages": turns(images=2)}
    assert images(read(tmp_path, *members, ("s.json", text))[0]) == [picture(0), picture(1)]


def test_an_image_that_the_json_names_and_the_tar_does_not_hold(tmp_path: Path) -> None:
    text = {"image": ["s.0.png", "s.9.png"], "messages": turns(images=2)}
    bad = read(tmp_path, ("s.0.png", picture()), ("s.1.png", picture()), ("s.json", text))[0]
    assert isinstance(bad, BadSample)
    assert "names 's.9.png', which the tar does not hold beside it" in bad.detail


def test_a_mask_is_no_second_image(tmp_path: Path) -> None:
    good = read(tmp_path, ("0.jpg", picture()), ("0.seg.png", picture(1)), ("0.txt", b"red"))[0]
    assert images(good) == [picture()]
    assert good.unread == (Unread("member", ".seg.png"),)
    text = {"images": ["0.jpg", "0.seg.png"], "messages": turns(images=2)}
    both = read(tmp_path, ("0.jpg", picture()), ("0.seg.png", picture(1)), ("0.json", text))[0]
    assert images(both) == [picture(), picture(1)]
    bad = read(tmp_path, ("0.left.png", picture()), ("0.right.png", picture(1)), ("0.txt", b"red"))[0]
    assert isinstance(bad, BadSample)
    assert "left.png, right.png: name these images in the .json" in bad.detail


def test_names_with_dots(tmp_path: Path) -> None:
    members = [(f"v1.0{n}.jpg", picture(n)) for n in range(5)]
    (bad,) = read(tmp_path, *members, ("v1.caption.txt", b"five pictures"))
    assert isinstance(bad, BadSample)
    assert "no .json or .txt of sample 'v1'" in bad.detail
    assert "share their names up to the first dot" in bad.detail


@pytest.mark.parametrize("text", [{"image": "x.png", "messages": turns()}, {"messages": turns()}, None])
def test_members_that_are_apart(tmp_path: Path, text: dict[str, Any] | None) -> None:
    texts: list[tuple[str, Any]] = [(f"{n}.txt", b"red") if text is None else (f"{n}.json", text) for n in range(3)]
    found = read(tmp_path, *((f"{n}.png", picture(n)) for n in range(3)), *texts)
    assert len(found) == 6
    for sample in found:
        assert isinstance(sample, BadSample)
        is_told = "tar --sort=name" in sample.detail
        assert is_told or sample.detail == "1 <image> marks for 0 images"


@pytest.mark.parametrize("ending", ["gif", "bmp", "tif", "tiff", "avif", "jfif", "jp2", "JPEG"])
def test_images_with_other_endings(tmp_path: Path, ending: str) -> None:
    assert images(read(tmp_path, (f"0.{ending}", picture()), ("0.txt", b"red"))[0]) == [picture()]


@pytest.mark.parametrize("ending", ["heic", "svg", "ppm", "mp4", "wav", "front.mp4"])
def test_members_that_cannot_be_left_out(tmp_path: Path, ending: str) -> None:
    before, after = tar_members(2)[:2], tar_members(1, first=1)
    orders: tuple[list[tuple[str, Any]], ...] = (
        [(f"b.{ending}", b"x"), ("b.json", {"messages": turns(images=0)})],
        [("b.json", {"messages": turns(images=0)}), (f"b.{ending}", b"x")],
    )
    for members in orders:
        for unit_samples in (1, 2, 3):
            found = read(
                tmp_path,
                *before,
                *members,
                *after,
                unit_samples=unit_samples,
                window_samples=6 // unit_samples * unit_samples,
            )
            assert [isinstance(sample, Sample) for sample in found] == [True, False, True]
            assert isinstance(found[1], BadSample)
            assert found[1].reason == "not supported"
            assert f"b.{ending}" in found[1].detail


@pytest.mark.parametrize("unit_samples", [1, 2, 5])
def test_other_members_are_listed_wherever_they_stand(tmp_path: Path, unit_samples: int) -> None:
    members = [
        ("README", b"x"), ("a.cls", b"x"), ("a.png", picture()), ("b.cls", b"x"), ("a.txt", b"red"), ("a.npy", b"x"),
        ("c.cls", b"x"), ("b.png", picture()), ("b.txt", b"red"), ("z.cls", b"x"), ("._b.png", b"x"),
    ]  # fmt: skip
    found = read(tmp_path, *members, unit_samples=unit_samples, window_samples=unit_samples)
    assert [images(sample) for sample in found] == [[picture()], [picture()]]
    assert sorted(one.name for sample in found for one in sample.unread) == [
        "._b.png", ".cls", ".cls", ".cls", ".cls", ".npy", "README",
    ]  # fmt: skip


def test_fields_of_the_json_count_as_those_of_a_record(tmp_path: Path) -> None:
    text = {"messages": turns(), "system": "Be brief.", "width": 3}
    good = read(tmp_path, ("a.png", picture()), ("a.json", text))[0]
    assert isinstance(good, Sample)
    assert good.messages[0].content == "Be brief."
    assert good.unread == (Unread("field", "width"),)
    bad = read(tmp_path, ("a.png", picture()), ("a.json", {**text, "videos": ["x.mp4"]}))[0]
    assert isinstance(bad, BadSample)
    assert bad.reason == "not supported"
    both = read(tmp_path, ("a.png", picture()), ("a.txt", b"red"), ("a.json", text))[0]
    assert Unread("member", ".txt") in both.unread
