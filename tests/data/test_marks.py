"""An `<image>` stands for an image or is text, and LLaVA's habits are followed where the source asks for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import ProcessorMixin

from cli_ray.data.conversation import NO_GREETING
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IGNORED, LITERAL_MARK, BadSample, Encoded, Message, Sample
from cli_ray.data.turns import AS_TEXT, MARK_FIRST, NOT_SEEN, TAGS_AS_TEXT
from tests.data.shards import data_config, picture, read_json, talk


def one(folder: Path, record: dict[str, Any], **fields: Any) -> Sample:
    """The sample of a record."""
    sample = read_json(folder, record, **fields)[0]
    assert isinstance(sample, Sample), sample
    return sample


def refusal(folder: Path, record: dict[str, Any], **fields: Any) -> BadSample:
    """Why a record is no sample."""
    sample = read_json(folder, record, **fields)[0]
    assert isinstance(sample, BadSample), sample
    return sample


def test_a_mark_in_an_answer_is_learnt_as_text(tmp_path: Path, processor: ProcessorMixin) -> None:
    answer = "# Title\n![fig](<image>) <image>\ntext"
    sample = one(tmp_path, talk("<image>\nParse the page.", answer, image="0.png"))
    assert sample.remarks == (AS_TEXT,)
    row = Encoder(processor, data_config("unused"))(sample)
    assert isinstance(row, Encoded)
    pictures = row.input_ids == processor.image_token_id
    assert np.flatnonzero(np.diff(pictures.astype(int)) > 0).size == 1
    assert processor.tokenizer.decode(row.labels[row.labels != IGNORED]).strip().startswith(answer)
    assert np.array_equal(row.labels[row.labels != IGNORED], row.input_ids[row.labels != IGNORED])


def test_a_mark_in_a_sentence_without_an_image_is_text(tmp_path: Path, processor: ProcessorMixin) -> None:
    sample = one(tmp_path, talk("Is <image> right in XML?", "Yes, or <img>."))
    assert sample.messages == [
        Message("user", f"Is {LITERAL_MARK} right in XML?"),
        Message("assistant", "Yes, or <img>."),
    ]
    row = Encoder(processor, data_config("unused"))(sample)
    assert isinstance(row, Encoded)
    assert "Is <image> right in XML?" in processor.tokenizer.decode(row.input_ids)
    assert processor.image_token_id not in row.input_ids


def test_a_mark_in_a_text_beside_images_that_are_parts(tmp_path: Path) -> None:
    sample = one(
        tmp_path, talk([{"type": "image"}, {"type": "text", "text": "Is it <image> or <img>?"}], image="0.png")
    )
    assert sample.messages[0].content.partition("<image>")[2].strip() == f"Is it {LITERAL_MARK} or <img>?"
    assert sample.remarks == (TAGS_AS_TEXT, AS_TEXT)


@pytest.mark.parametrize("question", ["<image>\nWhat?", "What?\n<image>", "<image>What?", "What?\n <image>\nHm?"])
def test_a_lost_image_is_no_text(tmp_path: Path, question: str) -> None:
    assert refusal(tmp_path, talk(question)).detail == "1 <image> marks for 0 images"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Picture 1: <img>0.jpg</img>\nWhat?", "image marks"),
        ("<video>\nWhat happens?", "not supported"),
        ("<audio>What is said?", "not supported"),
        ("<image>\nIs <image> right?", "image marks"),
    ],
)
def test_marks_of_other_kinds(tmp_path: Path, question: str, reason: str) -> None:
    assert refusal(tmp_path, talk(question, **({"image": "0.png"} if "<image>" in question else {}))).reason == reason


def test_tags_in_a_sentence_are_text_and_told(tmp_path: Path) -> None:
    sample = one(tmp_path, talk("How do I use <video> and <img src=x>?"))
    assert sample.messages[0].content == "How do I use <video> and <img src=x>?"
    assert sample.remarks == (TAGS_AS_TEXT,)


@pytest.mark.parametrize(
    ("question", "read"),
    [
        ("Which colour is this? <image>", "<image>\nWhich colour is this?"),
        ("Which colour is\n<image>\nplease? ", "<image>\nWhich colour is\n\nplease?"),
        ("<image>", "<image>"),
        ("<image>\nWhat?", "<image>\nWhat?"),
    ],
)
def test_the_mark_comes_first_as_in_llava(tmp_path: Path, question: str, read: str) -> None:
    record = talk(question, image="0.png")
    assert one(tmp_path, record).messages[0].content == question
    sample = one(tmp_path, record, llava_preprocessing=True)
    assert sample.messages[0].content == read
    assert sample.remarks == ((MARK_FIRST,) if read != question else ())


def test_several_marks_stay_where_they_are(tmp_path: Path) -> None:
    record = {
        "image": ["0.png", "1.png"],
        "messages": [*talk("Hello ")["messages"], *talk("<image> and <image>: colours?")["messages"]],
    }
    sample = one(tmp_path, record, llava_preprocessing=True)
    assert [message.content for message in sample.messages[::2]] == ["Hello ", "<image> and <image>: colours?"]
    assert sample.images == [picture(0), picture(1)]


def test_a_first_turn_of_the_assistant(tmp_path: Path) -> None:
    record = {"messages": [{"role": "assistant", "content": "Welcome!"}, *talk()["messages"]]}
    assert "llava_preprocessing leaves out a first assistant" in refusal(tmp_path, record).detail
    sample = one(tmp_path, record, llava_preprocessing=True)
    assert [message.role for message in sample.messages] == ["user", "assistant"]
    assert sample.remarks == (NO_GREETING,)
    last = {"messages": [*talk()["messages"], {"role": "user", "content": "Thanks"}]}
    assert refusal(tmp_path, last, llava_preprocessing=True).reason == "messages"


def test_an_image_without_a_mark(tmp_path: Path) -> None:
    """LLaVA's model is given no feature of such an image (`prepare_inputs_labels_for_multimodal`)."""
    record = talk(image="0.png")
    assert refusal(tmp_path, record).detail == "0 <image> marks for 1 images"
    sample = one(tmp_path, record, llava_preprocessing=True)
    assert (sample.images, sample.remarks) == ([], (NOT_SEEN,))


def test_the_code_point_of_literal_marks_is_in_no_text(tmp_path: Path) -> None:
    bad = refusal(tmp_path, talk(answer=f"A {LITERAL_MARK}."))
    assert (bad.reason, bad.detail) == ("broken record", r"a message holds '\ufdd0', which is no character")
