"""`cli-ray data check` on small shards."""

import json
from pathlib import Path

import pytest

from cli_ray.commands.main import main
from tests.data.shards import picture, talk, tar_members, write_tar


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A tar of four samples, one of them broken."""
    members = tar_members(4)
    members[2] = (members[2][0], b"")
    write_tar(tmp_path / "x.tar", members)
    return tmp_path / "x.tar"


def test_report(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(shard)]) == 0
    text = capsys.readouterr().out
    for part in (
        "x.tar: webdataset, 1 shards",
        "4 samples: 3 good, 1 would be quarantined",
        "broken image 1",
        f"x.tar#1:00001 ({shard}, bytes",
        "zero bytes",
        "characters",
        "1 of 4 samples (25.00%) would be quarantined, above data.max_bad_share = 1.00%: training would stop",
    ):
        assert part in text


def test_json_with_a_model(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(shard), "--model", "tiny", "--family", "llava_onevision", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["x.tar"]
    assert found["quarantined"] == {"broken image": 1}
    assert found["examples"]["broken image"][0]["source"] == "x.tar"
    assert found["length"]["min"] > 0
    assert found["supervised"] > 0


def test_a_run_config(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'name = "x"\n[model]\ncheckpoint = "tiny"\n[train]\nglobal_batch_size = 4\n'
        f'[[data.sources]]\npath = "{shard}"\nname = "pictures"\n'
    )
    assert main(["data", "check", str(config)]) == 0
    assert "pictures: webdataset" in capsys.readouterr().out


def test_what_is_not_read_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[v1] set"
    folder.mkdir()
    write_tar(folder / "x.tar", [*tar_members(1), ("00000.cls", b"1")])
    (folder / "y.tar.gz").write_bytes(b"")
    assert main(["data", "check", str(folder)]) == 0
    text = capsys.readouterr().out
    for part in (
        "[v1] set: webdataset",
        "  not read: member .cls, in 1 samples",
        "  not read: 1 .gz (y.tar.gz): packed files are not read, unpack them",
    ):
        assert part in text


def test_llava_preprocessing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(tmp_path / "x.tar", [("0.png", picture()), ("0.json", json.dumps(talk("What? <image>")).encode())])
    assert main(["data", "check", str(tmp_path), "--llava-preprocessing"]) == 0
    assert "<image> is moved to the beginning of its message, as LLaVA does, in 1 samples" in capsys.readouterr().out


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path / "absent")]) == 1
    assert "no such file" in capsys.readouterr().err
