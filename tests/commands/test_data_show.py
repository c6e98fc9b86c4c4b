"""`cli-ray data show` on small shards, and its page in a browser."""

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from cli_ray.commands.main import main
from cli_ray.data.show.console import lines_of, print_views
from cli_ray.data.show.view import Piece, View
from tests.data.shards import json_source, picture, talk, tar_members, write_tar
from tests.shared import SHARED, needs

CHROMIUM = shutil.which("chromium")
HOSTILE = "</style><script>document.title='owned'</script><img src=http://127.0.0.1:9/x> {{ 7*7 }} \x1b[2J\u202e"


def show(*words: str | Path) -> int | str | None:
    """The exit code."""
    try:
        return main(["data", "show", *map(str, words)])
    except SystemExit as ended:
        return ended.code


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A tar of four samples, the second of them broken."""
    members = tar_members(4)
    members[2] = (members[2][0], b"")
    write_tar(tmp_path / "x.tar", members)
    return tmp_path / "x.tar"


def test_good_and_bad_samples_in_a_pipe(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(shard, "-n", "2") == 0
    text = capsys.readouterr().out
    assert "chat template and image sizes are those of LLaVA-1.5" in text
    assert "   | <s>USER: \n # | <image> x 576\n   | ↵\n   | What is it? ASSISTANT:\n + |  Number 0. </s>\n" in text
    assert "x.tar#1:00001\n" in text
    assert "  would be quarantined: broken image: " in text
    assert "x.tar#2" not in text
    assert "\x1b" not in text


def test_samples_of_given_ids_by_a_model(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(shard, "--model", "tiny", "--family", "llava_onevision", "--id", "x.tar#3", "x.tar#0:00000") == 0
    text = capsys.readouterr().out
    assert text.index("x.tar#0:00000") < text.index("x.tar#3:00003")
    assert "tokens of at most 4,096" in text
    assert " + | Number 0. <|im_end|>\n" in text
    assert show(shard, "--id", "x.tar#4") == 1
    assert "--id 'x.tar#4': no source has such a sample" in capsys.readouterr().err


def test_all_sources_of_a_run(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text(
        'name = "x"\n[model]\ncheckpoint = "tiny"\n[injection]\nvision_layers = {count = 2}\ndecoder_layers = '
        f'{{count = 2}}\n[train]\nglobal_batch_size = 4\n[data]\nsources = [{{path = "{shard}", name = "a"}}, '
        f'{{path = "{shard}", name = "b"}}]\n[validation]\nsources = [{{path = "{shard}", name = "held-out"}}]\n'
    )
    assert show(tmp_path / "run.toml", "-n", "1") == 0
    labels = re.findall(rf"^  (.+): {re.escape(str(shard))}, bytes", capsys.readouterr().out, re.MULTILINE)
    assert labels == ["a", "b", "held-out"]
    assert show(tmp_path / "run.toml", "--max-tiles", "2") == 1
    assert "change it there instead of giving --max-tiles" in capsys.readouterr().err


def test_a_terminal_gets_pictures_and_colours_and_text_cannot_leave_its_gutter(
    shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=40)
    words = Piece.of("supervised", "word " * 30 + "\n + | forged\n\x1b[2J", 9)
    print_views([View("a#0", "a", "a, row 0", pieces=[words])], console)
    plain = re.sub(r"\x1b\[[\d;]*m", "", file.getvalue()).splitlines()
    chat = plain[plain.index("  a: a, row 0") + 1 :]
    assert all(line.startswith(" + | ") and len(line) <= 40 for line in chat)
    assert " + |  + | forged↵" in chat
    assert "\\x1b[2J" in chat[-1]
    assert "\x1b[1;32m" in file.getvalue()


def test_pictures_are_half_blocks_of_two_colours() -> None:
    from PIL import Image

    from cli_ray.data.show.pictures import Picture

    image = Image.new("RGB", (4, 2), "red")
    image.paste("blue", (0, 1, 4, 2))
    [_, _, facts, line] = lines_of(View("a#0", "a", "w", pictures=[Picture(["PNG"], image)]), 80)
    assert facts.plain == "  image 1: PNG"
    assert line.plain == "     ▀▀▀▀"
    assert str(line.spans[0].style) == "rgb(255,0,0) on rgb(0,0,255)"


@pytest.fixture
def page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Of hostile samples, a good and a damaged picture among them."""
    (tmp_path / "cut.png").write_bytes(picture(0)[:200])
    json_source(
        tmp_path,
        talk(f"<image>\n{HOSTILE}", HOSTILE + "x" * 100_000, image="0.png", **{HOSTILE: 1}),
        talk("<image>\nWhat?", HOSTILE, image="cut.png"),
        talk("What?", image="../" + HOSTILE),
    )
    assert show(tmp_path / "x.jsonl", "--html", tmp_path / "pages/show.html") == 0
    assert f"wrote {tmp_path}/pages/show.html" in capsys.readouterr().out
    return tmp_path / "pages/show.html"


def test_the_page_holds_hostile_text_as_text_and_loads_nothing(page: Path) -> None:
    text = page.read_text()
    assert "default-src 'none'; style-src 'sha256-" in text.replace("&#39;", "'")
    assert text.count("<script") == text.count("<iframe") == 0
    assert "&lt;script&gt;" in text
    assert "{{ 7*7 }}" in text
    assert re.findall(r'<img src="(.{16})', text) == ["data:image/webp;"]
    assert not {"\x1b", "\u202e"} & set(text)
    assert "characters are not shown" in text
    assert len(text) < 60_000


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_page_in_its_style_and_runs_nothing_of_it(page: Path, tmp_path: Path) -> None:
    """A style that its policy refused would be told on the console."""
    quiet = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", *quiet, "--enable-logging=stderr")
    words = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{page}"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert "<title>owned" not in done.stdout
    assert done.stdout.count("<article") == 3


@needs(SHARED / "data")
@pytest.mark.parametrize(("path", "samples"), [("cc12m-0000.tar", 2), ("photos", 2), ("sharegpt/mllm_demo.json", 2)])
def test_real_data(path: str, samples: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(SHARED / "data" / path, "-n", str(samples), "--seed", "1") == 0
    text = capsys.readouterr().out
    assert text.count("\n # | <image> x 576\n") >= samples
    assert "would be quarantined" not in text
