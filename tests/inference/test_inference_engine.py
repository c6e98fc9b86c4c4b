"""The engine answers as evaluations do, whatever stands in the batch, and one request's fault stays its own."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.data.sample import IMAGE_MARK, Message
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.generation.job import Batch
from cli_ray.evals.generation.messages import with_marks
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import read
from cli_ray.inference.engine import Answer, BadRequestError, Engine, Request
from cli_ray.inference.sampling import Sampling
from cli_ray.model.tiny import build_tiny
from tests.evals.generation.charts import NAME, entries_of, job_of, png, row, save_model, write_rows
from tests.inference.foreign_models import save_foreign
from tests.model.batches import cli_model
from tests.model.chats import messages, tokenised

IMAGES = (1, 0, 1, 2, 1, 0)
"""Images of the questions: alone, none and several in one batch."""
TOKENS = 12
CPU = ReplicaConfig(gpus=0, dtype="fp32")


@pytest.fixture(scope="module", params=["plain", "cli"])
def folder(request: pytest.FixtureRequest, family: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    model = build_tiny(family) if request.param == "plain" else cli_model(family)
    return save_model(tmp_path_factory.mktemp("model"), family, model)


@pytest.fixture(scope="module")
def engine(folder: str) -> Engine:
    return Engine(folder, CPU)


def asked(bar: int, images: int = 1, **sampling: Any) -> Request:
    text = f"{IMAGE_MARK * images}\nHow {'very ' * (bar % 4)}high is bar {bar}?"
    pictures = tuple(png(10 * bar + index) for index in range(images))
    return Request((Message("user", text),), pictures, Sampling(**{"max_new_tokens": TOKENS} | sampling))


def answered(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    answers = []
    for answer in engine.generate(requests):
        assert isinstance(answer, Answer), answer
        answers.append(answer)
    return answers


@pytest.fixture
def questions(tmp_path: Path) -> Iterator[Location]:
    """Rows of ChartQA, some of which have no image, as those of benchmarks of text."""

    def images(location: Location, doc: Doc) -> list[bytes]:
        return images_of(location, doc) if doc["image"] else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli_ray.evals.items.survey.images_of", images)
        patch.setattr("cli_ray.evals.generation.predictor.images_of", images)
        yield write_rows(tmp_path, [row(seed, images) for seed, images in enumerate(IMAGES)], group=len(IMAGES))


def test_greedy_replies_are_those_of_an_evaluation_alone_and_in_a_batch(
    folder: str, engine: Engine, questions: Location
) -> None:
    batch = Batch(NAME, questions.parts[0], tuple(entries_of(questions)), TOKENS, 1.0)
    predicted = [record for records in Predictor(job_of(folder, questions)).predict(batch) for record in records]
    requests = []
    for _, doc in read(questions, questions.parts[0]):
        images = tuple(images_of(questions, doc)) if doc["image"] else ()
        text = with_marks(questions.benchmark.prompt(doc), len(images))
        requests.append(Request((Message("user", text),), images, Sampling(max_new_tokens=TOKENS)))
    expected = [(one.reply, one.finish, one.prompt_tokens, one.reply_tokens) for one in predicted]
    for answers in (answered(engine, requests), [answered(engine, [one])[0] for one in requests]):
        assert [(one.text, one.finish, one.prompt_tokens, one.reply_tokens) for one in answers] == expected
    assert [engine.check(request) for request in requests] == [one.prompt_tokens for one in predicted]
    assert len({reply for reply, *_ in expected}) > 3


def test_pieces_of_text_together_are_the_reply_and_none_is_half_a_character(engine: Engine) -> None:
    pieces: dict[int, list[str]] = {}
    requests = [asked(seed, images) for seed, images in enumerate(IMAGES)]
    answers = engine.generate(requests, lambda index, piece: pieces.setdefault(index, []).append(piece))
    assert [answer.text if isinstance(answer, Answer) else answer for answer in answers] == [
        "".join(pieces.get(index, [])) for index in range(len(requests))
    ]
    assert max(map(len, pieces.values())) > 3


def test_a_drawn_reply_depends_on_its_seed_and_not_on_its_batch(engine: Engine) -> None:
    requests = [asked(1, temperature=1.5, seed=seed) for seed in (7, 8)] + [
        asked(1),
        asked(2, 0, temperature=1, seed=7),
    ]
    together = answered(engine, requests)
    turned = answered(engine, requests[::-1])[::-1]
    assert together == turned == [answered(engine, [request])[0] for request in requests]
    assert len({answer.text for answer in together}) == len(requests)
    certain = [replace(requests[0], sampling=replace(requests[0].sampling, top_p=1e-6)), requests[2]]
    assert len({answer.text for answer in answered(engine, certain)}) == 1
    assert len({answer.text for answer in answered(engine, [asked(1, temperature=1.5)] * 3)}) > 1


def test_a_stop_text_ends_the_reply_and_is_no_part_of_it(engine: Engine) -> None:
    pieces: list[str] = []
    (whole,) = answered(engine, [asked(0)])
    end = len(whole.text) // 2
    stop = whole.text[end : end + 2]
    request = asked(0, stop=("never said", stop))
    (answer,) = engine.generate([request], lambda index, piece: pieces.append(piece))
    assert isinstance(answer, Answer)
    assert answer.text == "".join(pieces) == whole.text.partition(stop)[0].strip()
    assert answer.finish == "stop"
    assert answer.reply_tokens < whole.reply_tokens


def test_a_reply_that_nobody_waits_for_ends_and_the_others_go_on(engine: Engine) -> None:
    requests = [asked(0), asked(1), asked(2)]
    whole = answered(engine, requests)
    said: list[int] = []
    answers = engine.generate(requests, lambda index, piece: said.append(index), lambda index: index == 1 in said)
    assert [answers[0], answers[2]] == [whole[0], whole[2]]
    assert isinstance(answers[1], Answer)
    assert answers[1].finish == "length"
    assert 0 < answers[1].reply_tokens < whole[1].reply_tokens
    assert whole[1].text.startswith(answers[1].text.rstrip("�"))


def test_a_bad_request_is_told_and_the_others_are_answered(engine: Engine) -> None:
    good = asked(0)
    bad = {
        "broken image": replace(good, images=(b"no image",)),
        "2 <image> marks": replace(good, messages=(Message("user", f"{IMAGE_MARK}What is {IMAGE_MARK}?"),)),
        "no room for a reply": replace(good, messages=(Message("user", IMAGE_MARK + "very " * engine.context),)),
        "can hold: send less": replace(good, messages=(Message("user", IMAGE_MARK + "x" * 10**6),)),
        "the question is empty": Request((Message("user", " \n"),), ()),
        "none of the user at the end": Request((Message("assistant", "Yes."),), ()),
        "no characters": Request((Message("user", "\ud800"),), ()),
        "max_new_tokens = 0": asked(0, max_new_tokens=0),
        "temperature = nan": asked(0, temperature=float("nan")),
        "top_p = 0": asked(0, top_p=0.0),
        "stop has 1 texts": asked(0, stop=("",)),
    }
    answers = engine.generate([good, *bad.values(), good])
    assert answers[0] == answers[-1] == answered(engine, [good])[0]
    for (reason, request), answer in zip(bad.items(), answers[1:-1], strict=True):
        assert isinstance(answer, BadRequestError)
        assert reason in str(answer)
        with pytest.raises(BadRequestError, match=reason):
            engine.check(request)
    assert engine.generate([]) == []


def test_a_batch_too_large_for_memory_is_halved_unless_its_text_has_begun(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [asked(seed) for seed in range(5)]
    whole, generate, sizes = answered(engine, requests), engine._model.generate, list[int]()
    speaks = False

    def refusing(**given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 3:
            if speaks:
                (replies,) = given["stopping_criteria"]
                replies._replies[1]._tell("Well")
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**given)

    monkeypatch.setattr(engine._model, "generate", refusing)
    assert answered(engine, requests) == answered(engine, requests) == whole
    assert sizes == [5, 3, 2, 3, 2]
    monkeypatch.setattr(engine, "_too_many", float("inf"))
    speaks = True
    answers = engine.generate(requests)
    assert isinstance(answers[1], torch.OutOfMemoryError)
    assert [answers[0], *answers[2:]] == [whole[0], *whole[2:]]


def test_a_reply_ends_with_the_context_whatever_the_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [asked(0, 0), asked(2, 0)]
    whole = answered(engine, requests)
    monkeypatch.setattr(engine, "context", whole[1].prompt_tokens + 3)
    cut = answered(engine, requests)
    assert [answer.reply_tokens for answer in cut] == [TOKENS, 3]
    assert cut == [answered(engine, [request])[0] for request in requests]


def test_a_second_question_about_an_image_takes_no_pass_of_the_tower(folder: str) -> None:
    engine, passes = Engine(folder, CPU), list[int]()
    tower = engine._model.base_model.vision_tower
    tower.register_forward_pre_hook(lambda *given: passes.append(1), with_kwargs=True)
    first, other = asked(0), asked(1)
    again = replace(other, images=first.images)
    expected = [answered(Engine(folder, CPU), [request])[0] for request in (first, again, other)]
    assert answered(engine, [first, again]) == expected[:2]
    assert len(passes) == 1
    assert answered(engine, [again]) == expected[1:2]
    assert len(passes) == 1
    assert answered(engine, [first, other, again]) == [expected[0], expected[2], expected[1]]
    assert len(passes) == 2
    engine._features._max_bytes = 1
    engine._features.clear()
    for _ in range(2):
        assert answered(engine, [again]) == expected[1:2]
    assert len(passes) == 4


@pytest.mark.parametrize("images", [[1, 0], [2, 1]], ids=str)
def test_a_chat_that_is_encoded_again_goes_on_as_its_kept_cache(family: str, tmp_path: Path, images: list[int]) -> None:
    import io

    engine = Engine(save_model(tmp_path, family, cli_model(family)), CPU)
    chat, cache = messages(images), DynamicCache(config=engine._model.config)
    for turn in range(len(images)):
        inputs = tokenised(engine._processor, chat[: 2 * turn + 1])
        kept = engine._model.generate(**inputs, max_new_tokens=TOKENS, past_key_values=cache)
        cache.crop(inputs["input_ids"].shape[1] - cache.get_seq_length())  # goes on with the reply of the chat
        said, pictures = [], []
        for message in chat[: 2 * turn + 1]:
            parts = [part.get("text", IMAGE_MARK) for part in message["content"]]
            for part in message["content"]:
                if "image" in part:
                    file = io.BytesIO()
                    part["image"].save(file, "png")
                    pictures.append(file.getvalue())
            said.append(Message.of_parts(message["role"], parts))
        (answer,) = answered(engine, [Request(tuple(said), tuple(pictures), Sampling(max_new_tokens=TOKENS))])
        reply = kept[0, inputs["input_ids"].shape[1] :]
        assert answer.text == engine._processor.decode(reply, skip_special_tokens=True).strip()
        assert answer.prompt_tokens == inputs["input_ids"].shape[1]


def test_gates_are_told_of_requests_that_want_them(family: str, tmp_path: Path) -> None:
    engine = Engine(save_model(tmp_path, family, cli_model(family)), CPU)
    wanted = replace(asked(1, 2), gates=True)
    alone = answered(engine, [wanted])[0].injected
    first, second, third = answered(engine, [asked(0), wanted, replace(asked(0, 0), gates=True)])
    assert (first.injected, third.injected) == (None, None)
    assert alone is not None
    assert second.injected is not None
    assert second.injected.gate_mean == alone.gate_mean
    assert second.injected.heat is not None
    assert (second.injected.decoder_layers, second.injected.vision_layers) == ((0, 2, 4), (1, 3, 5))


@pytest.mark.parametrize("name", ["qwen2_5_vl", "idefics3"])
def test_models_of_other_families_are_asked_alike(name: str, tmp_path: Path) -> None:
    engine = Engine(save_foreign(tmp_path, name), CPU)
    requests = [asked(0), asked(1, 0), asked(2), asked(3, 2, temperature=1.0, seed=4)]
    together = answered(engine, requests)
    assert together == [answered(engine, [request])[0] for request in requests]
    assert [engine.check(request) for request in requests] == [answer.prompt_tokens for answer in together]
