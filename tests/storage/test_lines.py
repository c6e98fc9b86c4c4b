"""Lines of files that processes add to: none is lost while storage fails, and only the one that a crash cut."""

import json
from io import FileIO
from pathlib import Path

import pytest

from cli_ray.storage import folder as folders
from cli_ray.storage.files import resolve, write_aside
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import Journal, journal_end, json_lines, read_journal, stream_journal
from cli_ray.train.run_folder import RunFolder


def test_lines_wait_while_the_storage_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    journal = Journal(folder, "logs/a.jsonl")
    (tmp_path / "run").write_text("a file where a folder should be")
    journal.add("1")
    journal.add("2", "3")
    assert capsys.readouterr().out.count("logs/a.jsonl of") == 1
    with pytest.raises(OSError, match="run"):
        journal.close()
    (tmp_path / "run").unlink()
    journal.add("4")
    assert folder.read("logs/a.jsonl") == "1\n2\n3\n4\n"
    journal.close()
    assert folder.read("logs/a.jsonl") == "1\n2\n3\n4\n"


def test_a_cut_line_is_passed_over_wherever_it_stands(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    assert read_journal(folder, "a.jsonl") == []
    folder.append("a.jsonl", ['{"step": 1}', '{"st', '{"step": 2}'])
    (tmp_path / "a.jsonl").open("a").write('{"step": 3')
    assert read_journal(folder, "a.jsonl") == [{"step": 1}, {"step": 2}]


def test_long_files_are_read_in_pieces_or_from_their_end(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert list(stream_journal(folder, "a.jsonl")) == journal_end(folder, "a.jsonl") == []
    rows = [{"step": step, "text": "x" * 1000} for step in range(3000)]  # longer than a piece
    folder.append("a.jsonl", [json.dumps(row) for row in rows])
    assert list(stream_journal(folder, "a.jsonl")) == rows
    assert journal_end(folder, "a.jsonl", size=2500) == rows[-2:]
    assert journal_end(folder, "a.jsonl", size=10**8) == rows


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    journal = Journal(RunFolder(str(tmp_path)), "a.jsonl")
    journal.add("1")
    assert "No space left on device" in capsys.readouterr().out
    (tmp_path / "a.jsonl").unlink()
    journal.add("2")
    assert (tmp_path / "a.jsonl").read_text() == "1\n2\n"


@pytest.mark.parametrize("cut", ['{"step": 2', '{"step": 2, "loss"', "{", "12", '"a', ""])
def test_a_line_that_a_crash_cut_counts_for_nothing_and_is_lost_alone(tmp_path: Path, cut: str) -> None:
    """On a mounted filesystem, and where a file is written anew as on an object store."""
    for folder in (Folder(str(tmp_path)), Unmounted(str(tmp_path))):
        (tmp_path / "a.jsonl").write_text(f'{{"step": 1, "text": "\u2028"}}\n{cut}')
        assert [row["step"] for row in read_journal(folder, "a.jsonl")] == [1]
        folder.append("a.jsonl", ['{"step": 3}'])
        folder.append("a.jsonl", ['{"step": 4}'])
        assert [row["step"] for row in read_journal(folder, "a.jsonl")] == [1, 3, 4]
        assert read_journal(folder, "absent.jsonl") == []


class Unmounted(Folder):
    """A folder that may not append."""

    @property
    def is_local(self) -> bool:
        return False


def test_lines_come_as_text_or_bytes() -> None:
    assert list(json_lines(['{"a": 1}', b'{"b": 2}', b"", b"\xff", "[1]"])) == [{"a": 1}, {"b": 2}]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    folder.append("a.jsonl", ["1"])

    def fill(file: FileIO, content: bytes) -> None:
        file.write(content[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "_write_all", fill)
        with pytest.raises(OSError, match="No space"):
            folder.append("a.jsonl", ["22"])
    assert folder.read("a.jsonl") == "1\n"


def test_a_file_takes_its_name_once_it_is_whole(tmp_path: Path) -> None:
    filesystem, path = resolve(str(tmp_path / "deep" / "a.txt"))
    with write_aside(filesystem, path) as file:
        file.write(b"old")
    with pytest.raises(ValueError, match="half"), write_aside(filesystem, path) as file:  # noqa: PT012
        file.write(b"ne")
        raise ValueError("half")
    assert [(name.name, name.read_bytes()) for name in (tmp_path / "deep").iterdir()] == [("a.txt", b"old")]
