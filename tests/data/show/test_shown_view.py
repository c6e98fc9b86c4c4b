"""What is shown of a sample."""

from pathlib import Path

import pytest

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.encoder import Encoder
from cli_ray.data.show.view import MAX_PIECES, MAX_TEXT, Piece, View, view
from cli_ray.model.build import published_processor
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import data_config, json_source, picture, read_all, talk


def views(folder: Path, *records: dict[str, object], family: str = "llava", **fields: object) -> list[View]:
    """Of JSON records, with the published images of a family and without a vocabulary."""
    data = json_source(folder, *records)
    encoder = Encoder(published_processor(family), data.model_copy(update={"max_length": 2**20, **fields}))
    return [view(sample, encoder, "characters") for sample in read_all(data)]


def chat(shown: View) -> list[tuple[str, str, int]]:
    return [(piece.kind, piece.head, piece.tokens if piece.kind == "image" else 0) for piece in shown.pieces]


def test_the_chat_is_that_of_the_template_with_its_image_folded(tmp_path: Path) -> None:
    [shown] = views(tmp_path, talk("<image>\nWhat is it?", image="0.png"))
    assert chat(shown) == [
        ("context", "<s>USER: ", 0),
        ("image", "<image>", 576),
        ("context", "\nWhat is it? ASSISTANT:", 0),
        ("supervised", " A cat.</s>", 0),
    ]
    assert dict(shown.facts)["size"] == "43 characters, 11 of them supervised; 576 image tokens"


def test_images_beside_each_other_stay_apart_and_a_turn_that_is_not_learnt_is_context(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which?"}]},
        {"role": "assistant", "content": "One.", "weight": 0},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ]
    [shown] = views(tmp_path, {"messages": messages, "images": ["0.png", "1.png"]})
    assert [piece.tokens for piece in shown.pieces if piece.kind == "image"] == [576, 576]
    assert [piece.head for piece in shown.pieces if piece.kind == "supervised"] == [" Yes.</s>"]
    assert any("One." in piece.head for piece in shown.pieces if piece.kind == "context")


def test_a_mark_that_is_text_is_no_image(tmp_path: Path) -> None:
    [shown] = views(tmp_path, talk("<image>\nParse.", "![](<image>)", image="0.png"))
    assert [piece.head for piece in shown.pieces if piece.kind == "supervised"] == [" ![](<image>)</s>"]
    assert ("remark", "<image> without an image is text") in shown.facts


def test_tiles_and_what_a_budget_leaves_are_told(tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(picture(0, 1600, 1200))
    record = talk("<image>\nWhat?", image="wide.png")
    [whole] = views(tmp_path, record, family="llava_onevision")
    assert whole.pictures[0].facts[1] == "20 tiles and the whole image, each 384 x 384 pixels: 7,309 tokens"
    [shrunk] = views(tmp_path, record, family="llava_onevision", max_tiles=4)
    assert "4 tiles and the whole image" in shrunk.pictures[0].facts[1]
    assert shrunk.pictures[0].facts[1].endswith("shrunk by the image budget, 7,309 tokens without it")
    image = shrunk.pictures[0].image
    assert image is not None
    assert max(image.size) == 480


def test_fields_that_are_read_and_not_read_are_listed(tmp_path: Path) -> None:
    [shown] = views(tmp_path, talk("<image>\nWhat?", image="0.png", url="http://x", id="7"))
    assert dict(shown.facts)["read"] == "id, image, messages"
    assert dict(shown.facts)["not read"] == "field url"


def test_a_bad_sample_shows_why_and_what_there_is_of_it(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(picture(0)[:200])
    lost, cut, long = views(
        tmp_path,
        talk("<image>\nWhat?", image="absent.png"),
        talk("<image>\nWhat?", "No <image> here.", image="cut.png"),
        talk("<image>\n" + "x" * 5000, image="0.png"),
        max_length=600,
    )
    assert lost.fault.startswith("missing image: 'absent.png'")
    assert cut.fault.startswith("broken image: ")
    assert cut.pictures[0].image is None
    assert chat(cut) == [("message", "user: <image>\nWhat?", 0), ("message", "assistant: No <image> here.", 0)]
    assert long.fault.startswith("too long: ")
    assert long.pictures[0].image is not None


def test_nothing_of_a_text_is_hidden_or_reaches_a_terminal() -> None:
    piece = Piece.of("context", "a\x1b[2J\u202eb\u200bc\td\ne", 3)
    assert piece.head == "a\\x1b[2J\\u202eb\\u200bc\\td\ne"


def test_long_texts_and_long_chats_are_shortened_and_say_so(tmp_path: Path) -> None:
    messages = [{"role": role, "content": "x"} for _ in range(60) for role in ("user", "assistant")]
    long, many = views(tmp_path, talk("Say it.", "y" * 100_000 + "end"), {"messages": messages})
    [reply] = [piece for piece in long.pieces if piece.kind == "supervised"]
    assert len(reply.head) + len(reply.tail) == MAX_TEXT
    assert reply.left_out == len(" " + "y" * 100_000 + "end</s>") - MAX_TEXT
    assert reply.tail.endswith("end</s>")
    assert (len(many.pieces), many.more_pieces) == (MAX_PIECES, 120 - MAX_PIECES)


@pytest.mark.parametrize("family", ["llava", "llava_onevision"])
def test_with_a_vocabulary_the_pieces_join_to_all_tokens(family: str, tmp_path: Path) -> None:
    data = json_source(tmp_path, talk("<image>\nWas ist das? 猫", "Eine Katze 🐈 ist es.", image="0.png"))
    corpus = ["Was ist das?", "Eine Katze ist es.", "USER: ASSISTANT:"]
    encoder = Encoder(tiny_processor(family, corpus=corpus, merges=50), data)
    [sample] = read_all(data)
    shown = view(sample, encoder, "tokens")
    row = encoder(sample)
    assert sum(piece.tokens for piece in shown.pieces) == len(row.input_ids)  # type: ignore[union-attr]
    text = "".join(piece.head for piece in shown.pieces)
    assert "\nWas ist das? 猫" in text
    assert "Eine Katze 🐈 ist es." in text
    assert dict(shown.facts)["size"].startswith(f"{len(row.input_ids)} tokens of at most 4,096: ")  # type: ignore[union-attr]


def test_a_source_of_any_label_is_shown_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture())
    (tmp_path / "x.jsonl").write_text('{"messages": 1}')
    data = DataConfig(sources=(SourceConfig(path=str(tmp_path / "x.jsonl"), name="a\nb\x1b"),))
    encoder = Encoder(published_processor("llava"), data_config(tmp_path))
    [shown] = [view(sample, encoder, "characters") for sample in read_all(data)]
    assert shown.source == "a\\nb\\x1b"
