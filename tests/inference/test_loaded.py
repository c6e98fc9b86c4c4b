"""A loaded model answers in three lines, streams, and talks in turns."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli_ray import load
from cli_ray.errors import UserError
from cli_ray.inference.loaded import LoadedModel
from cli_ray.inference.request import BadRequestError
from cli_ray.inference.sampling import Sampling
from tests.evals.generation.charts import png, save_model
from tests.model.batches import cli_model

SHORT = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(save_model(tmp_path_factory.mktemp("model"), "llava", cli_model("llava")), gpus=0)


def test_streamed_pieces_are_the_reply(model: LoadedModel) -> None:
    reply = model.ask(png(0), "What is it?", sampling=SHORT)
    assert "".join(model.stream(png(0), "What is it?", sampling=SHORT)) == reply
    assert model.ask([png(0)], "<image>\nWhat is it?", sampling=SHORT) == reply
    assert model.ask((), "What is it?", sampling=SHORT) != reply


def test_a_stream_that_nobody_reads_on_ends(model: LoadedModel) -> None:
    pieces = model.stream(png(0), "What is it?", sampling=Sampling(max_new_tokens=3000))
    assert next(pieces)
    pieces.close()


def test_a_fault_is_raised_to_who_asked(model: LoadedModel) -> None:
    with pytest.raises(BadRequestError, match="broken image"):
        model.ask(b"none", "What is it?")
    with pytest.raises(BadRequestError, match="the question is empty"):
        list(model.stream((), " "))
    with pytest.raises(BadRequestError, match="<image> marks"):
        model.ask(png(0), "Is <image> like <image>?")


def test_a_conversation_keeps_turns_and_images(model: LoadedModel) -> None:
    chat = model.chat(system="Be brief.", sampling=SHORT)
    first = chat.ask("What is it?", png(0))
    assert [message.role for message in chat.messages] == ["system", "user", "assistant"]
    second = chat.ask("And this?", [png(1), png(2)])
    with pytest.raises(BadRequestError, match="broken image"):
        chat.ask("And this?", b"none")
    assert len(chat.messages) == 5
    again = model.chat(system="Be brief.", sampling=SHORT)
    assert [again.ask("What is it?", png(0)), again.ask("And this?", [png(1), png(2)])] == [first, second]
    again.clear()
    assert again.ask("And this?", [png(1), png(2)]) != second
    assert again.messages[0].content == "Be brief."


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/events.jsonl").touch()
    for content, name in (
        ('{"model_type": "bert"}', "other"),
        ('{"mm_vision_tower": "x"}', "original"),
        ("{}", "none"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    for name, reason in {
        "run": "has no complete checkpoint yet",
        "other": "a language model that sees no images",
        "original": "LLaVA's original format",
        "none": "names no model_type",
        "absent": "cannot be read, as a folder or from the hub",
    }.items():
        with pytest.raises(UserError, match=reason):
            load(str(tmp_path / name), gpus=0)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys; from cli_ray import load; print({'torch', 'transformers', 'PIL', 'ray'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
