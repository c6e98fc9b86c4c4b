"""`cli-ray ask` and `cli-ray chat`: what is written where, and what is told of what cannot be asked."""

import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli_ray import load
from cli_ray.commands import asking, chat
from cli_ray.commands.main import main
from cli_ray.inference.sampling import Sampling
from tests.evals.generation.charts import png, save_model
from tests.model.batches import cli_model

SHORT = ("--gpus", "0", "--max-new-tokens", "8")
QUESTION = "What is it?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), "llava", cli_model("llava"))


@pytest.fixture(scope="module")
def reply(model: str) -> str:
    return load(model, gpus=0).ask(png(0), QUESTION, sampling=Sampling(max_new_tokens=8))


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    path.write_bytes(png(0))
    return str(path)


def typed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_the_reply_is_all_of_standard_output(
    model: str, picture: str, reply: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "--model", model, *SHORT, picture, QUESTION]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{reply}\n", f"{model} on CPU in fp32\n")
    for words in ([picture], [picture, "-"]):
        typed(monkeypatch, f"{QUESTION}\r\n".encode())
        assert main(["ask", "--model", model, *SHORT, *words]) == 0
        assert capsys.readouterr().out == out


def test_json_and_gates(
    model: str, picture: str, reply: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ask", "--model", model, *SHORT, picture, QUESTION, "--gates"]
    drawn = tmp_path / "heat.png"
    assert main([*words, "--json", "--gates-image", str(drawn)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["reply"], told["finish"], told["reply_tokens"]) == (reply, "length", 8)
    assert told["injected"]["decoder_layers"] == [0, 2, 4]
    assert Image.open(drawn).width > 100
    assert main(words) == 0
    table = capsys.readouterr().out
    assert table.startswith(f"{reply}\n\n| decoder layer | vision 1 | vision 3 | vision 5 | share added |")
    assert main(["ask", "--model", model, *SHORT, QUESTION, "--gates"]) == 0
    assert "nothing was injected" in capsys.readouterr().out
    assert main([*words, "--gates-image", str(tmp_path / "heat.what")]) == 1
    assert "cannot be drawn" in capsys.readouterr().err


def test_what_cannot_be_asked_is_told_before_the_model_is_loaded(
    picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "half.png").write_bytes(png(0)[:200])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    bad: list[tuple[list[str], bytes, str]] = [
        ([str(tmp_path / "none.png"), QUESTION], b"", "there is no picture"),
        ([str(tmp_path), QUESTION], b"", "is a folder"),
        ([str(tmp_path / "text.png"), QUESTION], b"", "text.png cannot be shown: no image"),
        ([str(tmp_path / "half.png"), QUESTION], b"", "half.png cannot be shown"),
        ([str(tmp_path / "bomb.png"), QUESTION], b"", "bomb.png cannot be shown: 20000 x 20000 pixels"),
        (["https://example.com/a.png", QUESTION], b"", "is a web address"),
        ([picture, " "], b"", "the question is empty"),
        ([picture], b"", "the question is empty"),
        ([picture], b"\xff\xfe\0x", "no text in UTF-8"),
        ([picture], b"a\0b", "zero bytes"),
        ([picture], b"a" * (2**20 + 1), "more than 1,048,576 bytes"),
        ([picture, "Is <image> an <image>?"], b"", "2 <image> marks, but there are 1 images"),
        ([], b"", "the question is empty"),
        ([picture, QUESTION], b"", "name a model"),
    ]
    for words, content, reason in bad:
        typed(monkeypatch, content)
        assert main(["ask", *words]) == 1
        assert reason in capsys.readouterr().err


def test_a_chat_goes_on_after_what_cannot_be_done(
    model: str, picture: str, reply: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["/help", "/image", "/image none.png", "/what", f"/image {picture}", QUESTION, "", "/clear", "Is <image>?",
             f"/image {picture}", QUESTION, "/system Be brief.", QUESTION, "/quit", "never asked"]  # fmt: skip
    typed(monkeypatch, "\n".join(lines).encode())
    assert main(["chat", "--model", model, *SHORT]) == 0
    out, err = capsys.readouterr()
    said = out.splitlines()
    assert [line.split()[0] for line in said[:5]] == ["/image", "/system", "/clear", "/help", "/quit"]
    assert said[5:7] == [reply, reply]
    assert len(said) == 8
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        "error: /image needs the path of a picture",
        "error: there is no picture none.png: name a file",
        "error: there is no command /what: /help lists them",
        "error: the messages have 1 <image> marks, but there are 0 images: write one for each image and none elsewhere",
    ]


def test_an_interrupt_stops_a_reply_and_not_the_chat(
    model: str, picture: str, reply: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def tell(piece: str) -> None:
        if not said:
            signal.raise_signal(signal.SIGINT)
        said.append(piece)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(chat, "tell", tell)
    typed(monkeypatch, f"/image {picture}\n{QUESTION}\n/clear\n/image {picture}\n{QUESTION}\n".encode())
    assert main(["chat", "--model", model, *SHORT]) == 0
    assert signal.getsignal(signal.SIGINT) is before
    whole = "".join(said)
    assert whole.endswith(reply)
    assert 0 < len(whole) < 2 * len(reply)
    assert capsys.readouterr().out == "\n\n"


def test_a_reply_does_not_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal: Any = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    asking.tell("a\x1b[2J\tb\n")
    assert terminal.getvalue() == "a\\x1b[2J\tb\n"
