from pathlib import Path

import pytest

from cli_ray.storage.lines import Journal, read_journal
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    journal = Journal(RunFolder(str(tmp_path)), "a.jsonl")
    journal.add("1")
    assert "No space left on device" in capsys.readouterr().out
    (tmp_path / "a.jsonl").unlink()
    journal.add("2")
    assert (tmp_path / "a.jsonl").read_text() == "1\n2\n"
