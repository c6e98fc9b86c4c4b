"""Items that ask about the same images share them: equal tokens, features and replies, by fewer tower passes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from cli_ray.evals.generation.job import Batch
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.survey import Entry
from cli_ray.evals.records import ReplyRecord
from cli_ray.model.tiny import build_tiny
from tests.evals.generation.charts import NAME, entries_of, job_of, png, save_model, write_rows
from tests.model.batches import cli_model

SHOWN = ([0], [0], [6], [2, 6], [0], [6], [6, 2], [2, 6], [2, 2], [2])
"""Images of each question by their seed: seeds 0 and 6 are of one size, and every set stands alone or comes again."""
REPLY_TOKENS = 8
DISTINCT = ([0], [6], [2, 6], [6, 2], [2, 2], [2])

MODELS: dict[str, Callable[[str], PreTrainedModel]] = {
    "plain": build_tiny,
    "prompt": cli_model,
    "visual": partial(cli_model, agf={"context": "visual"}),
    "deepstack": partial(cli_model, kind="deepstack"),
}
"""Of which all but one share beginnings."""


def question(row: int) -> str:
    return f"How {'very ' * (row % 4)}high is bar {row}?"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Location:
    rows = [
        {
            "question": question(row),
            "answer": "1",
            "type": "human_test",
            "image": [{"bytes": png(seed), "path": None} for seed in seeds],
        }
        for row, seeds in enumerate(SHOWN)
    ]
    return write_rows(tmp_path_factory.mktemp("data"), rows, group=len(rows))


@pytest.fixture(scope="module", params=["plain", "prompt", "visual", "deepstack"])
def predictor(
    request: pytest.FixtureRequest, family: str, location: Location, tmp_path_factory: pytest.TempPathFactory
) -> Predictor:
    model = MODELS[request.param](family)
    return Predictor(job_of(save_model(tmp_path_factory.mktemp("model"), family, model), location))


@contextmanager
def tower_passes(predictor: Predictor) -> Iterator[list[int]]:
    """Images or tiles that go through the tower at each of its passes."""
    passes: list[int] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        passes.append(len(args[0] if args else kwargs["pixel_values"]))

    handle = predictor._model.base_model.vision_tower.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


def answered(predictor: Predictor, location: Location, entries: Sequence[Entry]) -> dict[str, ReplyRecord]:
    batch = Batch(NAME, location.parts[0], tuple(entries), REPLY_TOKENS, 1.0)
    return {record.sample_id: record for records in predictor.predict(batch) for record in records}


def test_each_image_goes_through_the_tower_once_a_batch_at_equal_replies(
    predictor: Predictor, location: Location
) -> None:
    entries = entries_of(location)
    alone: dict[str, ReplyRecord] = {}
    passes_of: dict[str, int] = {}
    for entry in entries:
        with tower_passes(predictor) as passes:
            alone |= answered(predictor, location, [entry])
        passes_of[entry.image_hash] = sum(passes)
    with tower_passes(predictor) as passes:
        together = answered(predictor, location, entries)
    assert passes == [sum(passes_of.values())]
    assert len(passes_of) == len(DISTINCT)
    said = {name: (one.reply, one.finish, one.reply_tokens, one.prompt_tokens, one.key) for name, one in alone.items()}
    assert {
        name: (one.reply, one.finish, one.reply_tokens, one.prompt_tokens, one.key) for name, one in together.items()
    } == said
    assert len({reply for reply, *_ in said.values()}) > len(DISTINCT)
    assert not any(record.error for record in together.values())


def test_a_beginning_goes_through_the_language_model_once_where_it_depends_on_no_question(
    predictor: Predictor, location: Location
) -> None:
    rows: list[int] = []
    handle = predictor._model.base_model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    answered(predictor, location, entries_of(location))
    handle.remove()
    injection = getattr(predictor._model.config, "injection", None)
    reads_ahead = injection is not None and injection.kind == "cli" and injection.agf.context == "prompt"
    assert rows[0] == (len(SHOWN) if reads_ahead else len(DISTINCT))
    assert set(rows[1:]) == {len(SHOWN)}


def test_what_a_resumed_call_asks_gets_the_replies_of_the_first(predictor: Predictor, location: Location) -> None:
    entries = entries_of(location)
    whole = answered(predictor, location, entries)
    rest = answered(predictor, location, entries[4:])
    assert {name: (one.key, one.reply) for name, one in rest.items()} == {
        entry.id: (whole[entry.id].key, whole[entry.id].reply) for entry in entries[4:]
    }


def test_an_image_that_cannot_be_decoded_fails_each_of_its_items(tmp_path: Path) -> None:
    cells = [b"no image", png(0), b"no image", png(0)]
    rows = [{"question": question(row), "answer": "1", "type": "human_test", "image": [{"bytes": cell, "path": None}]}
            for row, cell in enumerate(cells)]  # fmt: skip
    location = write_rows(tmp_path / "data", rows)
    entries = [Entry(str(row), row, f"k{row}", "p", str(cell), 10, ((90, 50),)) for row, cell in enumerate(cells)]
    records = answered(Predictor(job_of(save_model(tmp_path / "model", "llava"), location)), location, entries)
    assert {name for name, record in records.items() if record.error.startswith("broken image")} == {"0", "2"}
    assert records["1"].reply
    assert records["3"].reply
