"""Models of other families: what each answers is what plain transformers makes of it, alone or in a batch."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from cli_ray.data.sample import BadDataError, Message
from cli_ray.evals.generation.lengths import counted_by
from cli_ray.inference.foreign import without_video
from cli_ray.inference.inputs import Prompt, encode, inputs_of
from cli_ray.inference.load import chat_of, load
from tests.evals.generation.charts import REPLICA, png
from tests.inference.foreign_models import RUNNABLE, save_foreign

NEW_TOKENS = 8
MARKS = 6
"""Tokens around an image that a processor may leave out of its count."""
ENDS = (2, 4)
"""End tokens of the tiny models."""


class Question(NamedTuple):
    """Texts and seeds of images, in their order."""

    parts: tuple[str | int, ...]

    @property
    def seeds(self) -> list[int]:
        return [part for part in self.parts if isinstance(part, int)]

    @property
    def message(self) -> Message:
        front = "<image>\n" * len(self.seeds) if self.parts[0] in self.seeds else ""
        inline = "".join("<image>" if isinstance(part, int) else part for part in self.parts)
        return Message("user", front + str(self.parts[-1]) if front else inline)

    @property
    def typed(self) -> list[dict[str, Any]]:
        """As users of transformers write it."""
        return [
            {"type": "image", "image": picture(part)} if isinstance(part, int) else {"type": "text", "text": part}
            for part in self.parts
        ]


QUESTIONS = [
    Question((0, "How high?")),
    Question((2, "How very very very high is the bar at the left?")),
    Question((1, 3, "Which of them is higher?")),
    Question(("Is ", 5, " or ", 4, " higher?")),
    Question(("Say a word.",)),
]


class Loaded(NamedTuple):
    """A model that is ready."""

    model: Any
    processor: ProcessorMixin

    def answers(self, questions: Sequence[Question]) -> list[list[int]]:
        """Tokens of the replies of one batch, without their end."""
        chat = chat_of(self.processor)
        prompts = [
            Prompt(chat([one.message], True), [picture(seed) for seed in one.seeds], str(one.seeds))
            for one in questions
        ]
        inputs = inputs_of(self.processor, prompts)
        with torch.inference_mode():
            output_BT = self.model.generate(**encode(self.model, inputs), max_new_tokens=NEW_TOKENS)
        return [until_end(row) for row in output_BT[:, inputs.tokens["input_ids"].shape[1] :].tolist()]


def until_end(tokens: Sequence[int]) -> list[int]:
    return [*tokens[: next((at for at, token in enumerate(tokens) if token in ENDS), len(tokens))]]


def picture(seed: int) -> Image.Image:
    return Image.open(io.BytesIO(png(seed))).convert("RGB")


@pytest.fixture(scope="module", params=RUNNABLE)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(*load(save_foreign(tmp_path_factory.mktemp("model"), request.param), REPLICA))


def askable(loaded: Loaded) -> list[Question]:
    """PaliGemma alone answers nothing without an image."""
    return [one for one in QUESTIONS if one.seeds or loaded.model.config.model_type != "paligemma"]


def test_replies_are_those_of_plain_transformers_alone_and_in_a_batch(loaded: Loaded) -> None:
    questions, processor = askable(loaded), loaded.processor
    expected = []
    for one in questions:
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": one.typed}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output_1T = loaded.model.generate(
                **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, repetition_penalty=1.0
            )
        expected.append(until_end(output_1T[0, inputs["input_ids"].shape[1] :].tolist()))
    assert [loaded.answers([one])[0] for one in questions] == expected
    assert loaded.answers(questions) == expected
    assert len({*map(tuple, expected)}) > 1


def test_images_are_counted_as_the_processor_lays_them_out(loaded: Loaded) -> None:
    count, token = counted_by(loaded.processor), loaded.processor.image_token
    for size in ((96, 48), (32, 32), (48, 96), (96, 80), (64, 64), (32, 80)):
        one, two = (
            len(loaded.processor(images=[[Image.new("RGB", size)] * number], text=[token * number])["input_ids"][0])
            for number in (1, 2)
        )
        assert abs(count([size]) - (two - one)) <= MARKS
    assert count([]) == 0
    assert count([(90, 50)] * 3) == 3 * count([(90, 50)])


def test_a_video_processor_is_neither_read_nor_needed(loaded: Loaded, tmp_path: Path) -> None:
    kind = without_video(PROCESSOR_MAPPING[type(loaded.model.config)])
    assert "video_processor" not in kind.get_attributes()
    loaded.processor.save_pretrained(tmp_path)
    assert not (tmp_path / "video_preprocessor_config.json").exists()


def test_paligemma_refuses_what_it_cannot_be_asked(tmp_path: Path) -> None:
    _, processor = load(save_foreign(tmp_path, "paligemma"), REPLICA)
    chat = chat_of(processor)
    assert chat([Message("user", "<image>\nHow high?")], True) == "<image>answer en How high?"
    with pytest.raises(BadDataError, match="about images alone"):
        chat([Message("user", "How high?")], True)
    with pytest.raises(BadDataError, match="one question"):
        chat([Message("system", "Be brief."), Message("user", "<image>\nHow high?")], True)


def test_a_model_that_can_think_aloud_is_asked_not_to(tmp_path: Path) -> None:
    folder = Path(save_foreign(tmp_path, "qwen3_vl"))
    template = folder / "chat_template.jinja"
    template.write_text(
        template.read_text() + "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    )
    _, processor = load(str(folder), REPLICA)
    assert not chat_of(processor)([Message("user", "How high?")], True).endswith("<think>")
    assert AutoConfig.from_pretrained(folder).model_type == "qwen3_vl"
