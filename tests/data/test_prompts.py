"""Training asks what the processor's own template asks, and what the evaluation asks."""

import io
from typing import Any

import pytest
from PIL import Image
from transformers import ProcessorMixin

from cli_ray.data.chat_template import Chat
from cli_ray.data.conversation import Conversation, read_conversation
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IGNORED, Encoded, Message, Sample
from cli_ray.evals.generation.messages import with_marks
from cli_ray.model.families import family_named
from tests.data.shards import data_config, picture
from tests.data.test_chat_template import CHATML, HUB_LLAVA, HUB_ONEVISION, with_template

QUESTION = "What is it?"
TEMPLATES = pytest.mark.parametrize(
    ("family", "template"),
    [
        pytest.param("llava", HUB_LLAVA, id="llava hub"),
        pytest.param("llava", family_named("llava").chat_template, id="llava tiny"),
        pytest.param("llava_onevision", HUB_ONEVISION, id="onevision hub"),
        pytest.param("llava_onevision", family_named("llava_onevision").chat_template, id="onevision tiny"),
    ],
)


def encode(processor: ProcessorMixin, turns: list[dict[str, Any]], images: list[bytes]) -> Encoded:
    """A sample as readers give it."""
    record = Conversation()
    read_conversation({"messages": turns, "images": images}, "", False, record)
    row = Encoder(processor, data_config("unused"))(Sample("x", images, record.messages, "s", "x"))
    assert isinstance(row, Encoded), row
    return row


def ids_of(processor: ProcessorMixin, text: str, images: list[bytes]) -> list[int]:
    """What the processor makes of a rendered chat."""
    pictures: Any = [Image.open(io.BytesIO(image)) for image in images]
    ids: list[int] = processor(text=text, images=[pictures] if images else None)["input_ids"][0]
    return list(ids)


def user(*parts: str) -> dict[str, Any]:
    """A question in typed parts; "" is an image."""
    content = [{"type": "text", "text": part} if part else {"type": "image"} for part in parts]
    return {"role": "user", "content": content}


def assistant(text: str) -> dict[str, Any]:
    """A reply in typed parts."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


@TEMPLATES
@pytest.mark.parametrize("images", [0, 1, 3])
def test_parts_strings_the_evaluation_and_the_template_ask_the_same(family: str, template: str, images: int) -> None:
    processor, pictures = with_template(family, template), [picture(i) for i in range(images)]
    parts = user(*[""] * images, QUESTION)
    text = processor.apply_chat_template([parts], add_generation_prompt=True)
    plain = ids_of(processor, text, pictures)
    strings = ["<image>\n" * images + QUESTION, "<image>" * images + QUESTION, " <image>" * images + QUESTION.strip()]
    for question in (parts, *[{"role": "user", "content": string} for string in strings[: 3 if images else 1]]):
        row = encode(processor, [question, assistant("A cat.")], pictures)
        assert row.input_ids[row.turns == 0].tolist() == plain
    asked = Chat(processor)([Message("user", with_marks(QUESTION, images))], True)
    assert ids_of(processor, asked, pictures) == plain


@TEMPLATES
@pytest.mark.parametrize(
    "question", [user("One.", "Two."), user("Look:", "", QUESTION), user(QUESTION, ""), user("", "", QUESTION)], ids=str
)
def test_parts_stay_parts(family: str, template: str, question: dict[str, Any]) -> None:
    processor = with_template(family, template)
    pictures = [picture(i) for i, part in enumerate(question["content"]) if part["type"] == "image"]
    row = encode(processor, [question, assistant("A cat.")], pictures)
    text = processor.apply_chat_template([question], add_generation_prompt=True)
    assert row.input_ids[row.turns == 0].tolist() == ids_of(processor, text, pictures)


@TEMPLATES
@pytest.mark.parametrize("images", [[1, 0, 0], [2, 1, 0], [0, 2, 1]], ids=str)
def test_each_turn_is_asked_as_in_a_chat_that_goes_on(family: str, template: str, images: list[int]) -> None:
    """After the model's own replies, each with the token that ends it, comes what the template adds."""
    processor = with_template(family, template)
    pictures = [picture(i) for i in range(sum(images))]
    replies = ["A cat.", "Yes,\nit is.", "No."]
    chat: list[dict[str, Any]] = []
    for count, reply in zip(images, replies, strict=True):
        chat += [user(*[""] * count, QUESTION), assistant(reply)]

    def render(turns: int, asks: bool) -> str:
        return str(processor.apply_chat_template(chat[:turns], add_generation_prompt=asks)) if turns else ""

    end, text = processor.tokenizer.eos_token, ""
    lead = " " if family == "llava" else ""
    row = encode(processor, chat, pictures)
    for turn, reply in enumerate(replies):
        text += render(2 * turn + 1, True)[len(render(2 * turn, False)) :]
        seen = pictures[: sum(images[: turn + 1])]
        if len(seen) == len(pictures):  # OneVision cuts an image into tiles while it is the only one
            prompt = ids_of(processor, text, seen)
            assert row.input_ids[: len(prompt)].tolist() == prompt
            assert row.turns[len(prompt) - 1 : len(prompt) + 1].tolist() == [turn, turn + 1]
        text += lead + reply + end
        if render(2 * turn + 2, False).endswith(f"{end}\n"):
            text += "\n"


def test_a_template_for_strings_gets_the_parts_on_lines() -> None:
    chat = Chat(with_template("llava_onevision", CHATML))
    message = Message.of_parts("user", ["<image>", "One.", "Two."])
    assert chat([message], True) == "<|im_start|>user\n<image>\nOne.\nTwo.<|im_end|>\n<|im_start|>assistant\n"


def test_marks_in_the_text_stay_where_they_are() -> None:
    """Where a template puts all images first, their places would be lost."""
    chat = Chat(with_template("llava", HUB_LLAVA))
    assert chat([Message("user", "See <image> and <image>.")], True) == "USER: See <image> and <image>. ASSISTANT:"


def test_a_reply_that_is_not_supervised_stays_in_the_context(processor: ProcessorMixin) -> None:
    messages = [Message("user", "<image>\nWhat?"), Message("assistant", "A dog.", supervised=False)]
    messages += [Message("user", "Sure?"), Message("assistant", "A cat.")]
    row = Encoder(processor, data_config("unused"))(Sample("x", [picture()], messages, "s", "x"))
    assert isinstance(row, Encoded)
    assert "A cat." in processor.tokenizer.decode(row.labels[row.labels != IGNORED])
    assert "A dog." not in processor.tokenizer.decode(row.labels[row.labels != IGNORED])
    assert "A dog." in processor.tokenizer.decode(row.input_ids[row.turns == 1])
    assert row.turns.max() == 2
