"""Records that were appended are found again, whatever happened to their writers."""

import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest
from pyarrow import fs

from cli_ray.evals import records
from cli_ray.evals.records import ReplyRecord, Store
from cli_ray.storage import folder


def record(key: str, benchmark: str = "pope", **changes: object) -> ReplyRecord:
    values = {"sample_id": key, "prompt_hash": "", "image_hash": "", "decoding": "greedy", "model": "m"}
    return ReplyRecord.model_validate(
        {"key": key, "benchmark": benchmark, "reply": "yes", "finish": "stop"} | values | changes
    )


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.jsonl"))


def test_what_was_appended_is_found_by_another(tmp_path: Path) -> None:
    first, text = Store(str(tmp_path)), "naïve \u2028\n"
    first.append([record("a", reply=text), record("b", "mme")])
    first.append([record("c")])
    second = Store(str(tmp_path))
    assert second.load("pope") == {"a": record("a", reply=text), "c": record("c")}
    assert second.keys("mme") == {"b"}
    assert second.load("absent") == {}
    assert second.keys("absent") == set()
    assert len(files(tmp_path)) == 2


def test_the_first_of_equal_keys_counts_and_a_reply_before_an_error(tmp_path: Path) -> None:
    one, two = Store(str(tmp_path)), Store(str(tmp_path))
    error = record("b", reply="", finish="error", error="broken")
    one.append([record("a", reply="first"), error, record("c", reply="", finish="error")])
    two.append(
        [record("a", reply="second"), record("b", reply="now"), record("c", reply="", finish="error", error="x")]
    )
    loaded = Store(str(tmp_path)).load("pope")
    assert {key: found.reply for key, found in loaded.items()} == {"a": "first", "b": "now", "c": ""}
    assert loaded["c"].error == ""
    assert one.keys("pope") == {"a", "b", "c"}
    assert one.keys("pope", errors=False) == {"a", "b"}


@pytest.mark.parametrize("lost", [1, 7, 60])
def test_a_line_cut_short_by_a_kill_is_passed_over(tmp_path: Path, lost: int) -> None:
    Store(str(tmp_path)).append([record("a"), record("b")])
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[: -1 - lost])
    later = Store(str(tmp_path))
    assert later.keys("pope") == {"a"}
    later.append([record("b", reply="again")])
    assert {key: found.reply for key, found in Store(str(tmp_path)).load("pope").items()} == {"a": "yes", "b": "again"}


def test_a_full_disk_tears_a_line_and_the_next_append_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Store(str(tmp_path))
    one.append([record("a")])

    def fill(file: FileIO, content: bytes) -> None:
        file.write(content[:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_write_all", fill)
        with pytest.raises(OSError, match="No space"):
            one.append([record("b")])
    one.append([record("c")])
    assert set(one.load("pope")) == {"a", "b", "c"}


def test_two_drivers_at_once_harm_nothing(tmp_path: Path) -> None:
    def write(name: str) -> None:
        mine = Store(str(tmp_path))
        for number in range(50):
            mine.append([record(f"{name}{number}"), record(f"both{number}")])

    threads = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Store(str(tmp_path)).load("pope")) == 200
    assert len(files(tmp_path)) == 3


class Later:
    """A timer that goes off when told."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.daemon = seconds, call, False

    def start(self) -> None:
        started.append(self)


started: list[Later] = []


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that may not append, as on an object store, and whose time is ours."""
    started.clear()
    monkeypatch.setattr(threading, "Timer", Later)
    one = Store(str(tmp_path))
    one._local = False
    return one


def test_object_stores_get_whole_files_every_few_seconds(tmp_path: Path, remote: Store) -> None:
    remote.append([record("a")])
    remote.append([record("b"), record("m", "mme")])
    assert files(tmp_path) == []
    (timer,) = started
    assert (timer.seconds, timer.daemon) == (records.FLUSH_SECONDS, True)
    timer.call()
    assert len(files(tmp_path)) == 2
    remote._flushed -= records.FLUSH_SECONDS
    remote.append([record("c")])
    remote.append([record("d")])
    remote.flush()
    remote.flush()
    assert len(files(tmp_path)) == 4
    assert set(Store(str(tmp_path)).load("pope")) == {"a", "b", "c", "d"}


def test_what_an_object_store_refuses_is_kept_and_told(
    tmp_path: Path, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no route")

    remote.append([record("a")])
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_path", refuse)
        started[0].call()
        with pytest.raises(OSError, match="no route"):
            remote.flush()
    remote.flush()
    assert set(Store(str(tmp_path)).load("pope")) == {"a"}


def test_files_of_an_object_store_lie_below_the_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paths begin with a bucket and no slash."""
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(folder, "resolve", lambda uri: (bucket, uri.removeprefix("s3://")))
    store = Store("s3://bucket/out")
    store.append([record("a")])
    store.flush()
    assert [path.parent for path in files(tmp_path)] == [tmp_path / "bucket/out/records/pope"]
    assert store.keys("pope") == {"a"}


def test_a_uri_is_a_place_too(tmp_path: Path) -> None:
    Store(f"file://{tmp_path}").append([record("a")])
    assert Store(str(tmp_path)).keys("pope") == {"a"}
