"""`cli-ray data check` on small shards."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.config import InjectionConfig, ModelConfig
from cli_ray.config.injection import Layers
from cli_ray.costs.sizes import resolve
from cli_ray.model import build
from cli_ray.model.build import load_processor
from cli_ray.model.llava_onevision import CliLlavaOnevisionConfig
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train import model_check
from tests.data.shards import picture, table_rows, talk, tar_members, turns, write_parquet, write_tar
from tests.shared import SHARED, needs


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A tar of four samples, one of them broken."""
    members = tar_members(4)
    members[2] = (members[2][0], b"")
    write_tar(tmp_path / "x.tar", members)
    return tmp_path / "x.tar"


def check(*words: str | Path) -> int | str | None:
    """The exit code."""
    try:
        return main(["data", "check", *map(str, words)])
    except SystemExit as ended:
        return ended.code


def run_toml(folder: Path, data: str, rest: str = "") -> Path:
    """The config of a run of the tiny model."""
    path = folder / "run.toml"
    path.write_text(
        'name = "x"\n[model]\ncheckpoint = "tiny"\n[injection]\nvision_layers = {count = 2}\ndecoder_layers = '
        f"{{count = 2}}\n[train]\nglobal_batch_size = 4\n{rest}\n[data]\n{data}\n"
    )
    return path


def test_report(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(shard) == 1
    text = capsys.readouterr().out
    for part in (
        "x.tar: webdataset, 1 shard",
        "4 samples: 3 good, 1 would be quarantined",
        "broken image 1",
        f"x.tar#1:00001 ({shard}, bytes",
        "zero bytes",
        "characters",
        "1 of 4 samples (25.00%) would be quarantined, above data.max_bad_share = 1.00%: training would stop",
    ):
        assert part in text
    assert check(shard, "--max-bad-share", "0.25") == 0
    assert "within data.max_bad_share = 25.00%" in capsys.readouterr().out


def test_json_with_a_model(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(shard, "--model", "tiny", "--family", "llava_onevision", "--json") == 1
    found = json.loads(capsys.readouterr().out)["x.tar"]
    assert found["quarantined"] == {"broken image": 1}
    assert found["examples"]["broken image"][0]["source"] == "x.tar"
    assert found["length"]["min"] > 0
    assert found["supervised"] > 0


def test_images_that_a_budget_shrinks_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of three; their sizes are reported as they are."""
    sizes = [(96, 96), (30, 20), (97, 65)]
    rows = [row | {"images": [picture(0, *size)]} for row, size in zip(table_rows(3), sizes, strict=True)]
    write_parquet(tmp_path / "x.parquet", rows)
    words = (tmp_path / "x.parquet", "--model", "tiny", "--family", "llava_onevision", "--max-tiles", "2")
    assert check(*words) == 0
    text = capsys.readouterr().out
    assert "2 of 3 images are shrunk, and take fewer tokens:" in text
    assert "whole   min 120, 5% 120, median 120" in text
    assert "width   min 30, 5% 30, median 96, 95% 96, max 97 pixels" in text
    assert check(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)["x.parquet"]
    assert (found["full_tokens"]["min"], found["full_tokens"]["max"]) == (120, 172)
    assert (found["shrunk_tokens"]["min"], found["shrunk_tokens"]["max"]) == (36, 44)


def test_a_budget_that_means_nothing_is_refused(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(shard, "--max-tiles", "0") == 1
    assert "--max-tiles: must be greater than or equal to 1" in capsys.readouterr().err
    assert check(shard, "--max-tiles", "2", "--max-image-tokens", "99") == 1
    assert "max_tiles = 2 and max_image_tokens = 99 are two measures of one budget" in capsys.readouterr().err


def test_a_run_config(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f'path = "{shard}"\nname = "pictures"\n'
    held_out = f"[[validation.sources]]\n{source}"
    config = run_toml(tmp_path, f"max_bad_share = 0.3\n[[data.sources]]\n{source}", held_out)
    assert check(config) == 0
    text = capsys.readouterr().out
    assert "\npictures: webdataset" in text
    assert "\nvalidation: pictures: webdataset" in text
    assert "\n1 of 4 samples (25.00%)" in text


def test_a_run_config_says_all_itself(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_toml(tmp_path, f'[[data.sources]]\npath = "{shard}"')
    assert check(config, "--max-length", "99", "--family", "llava") == 1
    assert (
        "says what is read and how: change it there instead of giving --family, --max-length" in capsys.readouterr().err
    )


def test_what_a_run_would_refuse_is_refused(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any sample is read, by the checks that a run begins with."""
    config = run_toml(tmp_path, f'max_length = 16\n[[data.sources]]\npath = "{shard}"')
    assert check(config) == 1
    assert "data.max_length = 16 has no room for a single image" in capsys.readouterr().err
    assert check(shard, "--model", "tiny", "--max-length", "4097") == 1
    assert "data.max_length = 4097, the language model has 4096 positions" in capsys.readouterr().err


def test_the_encoder_is_built_once(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def load(model: ModelConfig) -> Any:
        built.append(model.checkpoint)
        return load_processor(model)

    for module in (build, model_check):
        monkeypatch.setattr(module, "load_processor", load)
    assert check(shard, "--model", "tiny", "--max-bad-share", "0.25") == 0
    assert built == ["tiny"]


def test_a_checkpoint_says_its_family_and_injection(
    shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = build_tiny("llava_onevision").config
    injection = resolve(InjectionConfig(vision_layers=Layers(count=2), decoder_layers=Layers(count=2)), plain)
    lengths = []
    for config in (plain, CliLlavaOnevisionConfig.from_plain(plain, injection)):
        folder = tmp_path / config.model_type
        config.save_pretrained(folder)
        tiny_processor("llava_onevision").save_pretrained(folder)
        assert check(shard, "--model", folder, "--max-bad-share", "0.3", "--json") == 0
        lengths.append(json.loads(capsys.readouterr().out)["x.tar"]["length"])
    assert check(shard, "--model", "tiny", "--family", "llava_onevision", "--max-bad-share", "0.3", "--json") == 0
    lengths.append(json.loads(capsys.readouterr().out)["x.tar"]["length"])
    assert lengths[0] == lengths[1] == lengths[2]
    assert check(shard, "--model", tmp_path / "llava_onevision", "--family", "llava") == 1
    assert "model.family" in capsys.readouterr().err


@pytest.mark.parametrize(("weights", "expected"), [((9, 1), "1 of 40 samples (2.50%)"), ((1, 5), "5 of 24 samples")])
def test_sources_count_by_their_weights(
    shard: Path, tmp_path: Path, weights: tuple[int, int], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """None of 4 samples and 1 of 4 are bad."""
    write_tar(tmp_path / "good.tar", tar_members(4))
    pairs = zip((tmp_path / "good.tar", shard), weights, strict=True)
    tables = [f'[[data.sources]]\npath = "{path}"\nweight = {weight}' for path, weight in pairs]
    assert check(run_toml(tmp_path, "max_bad_share = 0.01\n" + "\n".join(tables))) == 1
    assert expected in capsys.readouterr().out


def test_a_part_is_taken_for_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"messages": turns(n, images=0)[: 1 if n % 10 == 3 else 2]} for n in range(1000)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert check(path, "--limit", "20") == 1
    text = capsys.readouterr().out
    assert "20 of 1,000 samples read: 18 good, 2 would be quarantined" in text
    assert "about 100 of 1,000 samples (10.00%) would be quarantined, above" in text
    assert "estimated from the part that was read, the first samples of each source" in text
    assert check(path, "--limit", "20", "--max-bad-share", "0.1") == 0
    assert check(path, "--max-bad-share", "0.1") == 0
    assert "estimated" not in capsys.readouterr().out.rpartition("\n100 of 1,000")[2]


def test_lost_shards_weigh_what_they_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        write_parquet(tmp_path / f"{number}.parquet", table_rows(40))
    whole = (tmp_path / "0.parquet").read_bytes()
    (tmp_path / "3.parquet").write_bytes(whole[: len(whole) // 2])
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 487261223\n"
    (tmp_path / "4.parquet").write_text(pointer)
    (tmp_path / "5.parquet").write_text("<!DOCTYPE html><html><title>429 Too Many Requests</title></html>")
    (tmp_path / "6.parquet").write_bytes(b"")
    assert check(tmp_path, "--limit", "10") == 1
    text = capsys.readouterr().out
    for part in (
        "broken shard 160\n",
        "it was cut, its end is missing; download it again: about 40 samples",
        "a git-lfs pointer and not the file of 487,261,223 bytes; fetch it (git lfs pull): about 40 samples",
        "an HTML page and not the file (429 Too Many Requests); download it again: about 40 samples",
        "the file is empty: about 40 samples",
        "160 of 280 samples (57.14%) would be quarantined, above",
    ):
        assert part in text


def test_a_cut_shard_that_nothing_can_be_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps([{"messages": turns(n, images=0)} for n in range(1000)])
    (tmp_path / "x.json").write_text(text[:-1])
    assert check(tmp_path) == 1
    said = capsys.readouterr().out
    for part in (
        "the JSON array has no end: the file was cut",
        f"nothing tells how many samples it held: {tmp_path / 'x.json'}",
        "1 of 1,001 samples (0.10%) would be quarantined, within data.max_bad_share = 1.00%\ntraining would not start",
    ):
        assert part in said


def test_a_shard_without_samples_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(tmp_path / "a.tar", tar_members(2))
    write_tar(tmp_path / "b.tar", [("0.mp4", picture())])
    assert check(tmp_path) == 0
    assert f"holds no sample: {tmp_path / 'b.tar'}" in capsys.readouterr().out


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
    assert check(tmp_path / "absent") == 1
    assert "no such file" in capsys.readouterr().err


CASES = SHARED / "cases" / "data"


@needs(CASES)
@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [
        ("lost_shards", 1, "2,000 of 2,500 samples (80.00%) would be quarantined, above data.max_bad_share = 1.00%"),
        ("half_share", 0, "10 of 2,000 samples (0.50%) would be quarantined, within data.max_bad_share = 1.00%"),
    ],
)
def test_cases(name: str, code: int, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(CASES / name) == code
    assert verdict in capsys.readouterr().out
