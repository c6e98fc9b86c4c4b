"""The tensors of one forward pass, padded and packed."""

import numpy as np
import torch

from cli_ray.data.collate import collate, normalize, pack
from cli_ray.data.sample import IGNORED, Encoded


def row(name: str, labels: list[int], tiles: list[int]) -> Encoded:
    """A row whose ids count up, with images of some tiles."""
    images = [np.full((count, 3, 2, 2), i + 1, np.uint8) for i, count in enumerate(tiles)]
    sizes = np.full((len(tiles), 2), 7, np.int32)
    ids = np.arange(10, 10 + len(labels), dtype=np.int32)
    turns = (np.array(labels) != IGNORED).cumsum().astype(np.int32)
    return Encoded(name, f"of-{name}", ids, np.array(labels, np.int32), images, sizes, turns)


def test_padding_labels_and_context() -> None:
    batch = collate([row("a", [IGNORED, 11, IGNORED, 13], []), row("c", [IGNORED, IGNORED, 12], [])], 0, tiled=False)
    assert batch.inputs["input_ids"].tolist() == [[10, 11, 12, 13], [10, 11, 12, 0]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.labels.tolist() == [[IGNORED, 11, IGNORED, 13], [IGNORED, IGNORED, 12, IGNORED]]
    assert batch.turn_ids.tolist() == [[0, 1, 1, 2], [0, 0, 1, -1]]
    assert (batch.ids, batch.sources) == (["a", "c"], ["of-a", "of-c"])
    assert batch.sample_BT.tolist() == [[0] * 4, [1] * 4]
    assert batch.inputs.keys() == {"input_ids", "attention_mask"}


def test_one_square_image_each() -> None:
    batch = collate([row("a", [1, 2], [1]), row("b", [1], []), row("c", [1], [1, 1])], 0, tiled=False)
    assert batch.inputs["pixel_values"].shape == (3, 3, 2, 2)
    assert batch.inputs["pixel_values"].dtype == torch.uint8
    assert batch.inputs["pixel_values"][:, 0, 0, 0].tolist() == [1, 1, 2]


def test_tiles_are_padded() -> None:
    batch = collate([row("a", [1, 2], [3]), row("b", [1], []), row("c", [1], [1, 1])], 0, tiled=True)
    assert batch.inputs["pixel_values"].shape == (3, 3, 3, 2, 2)
    assert batch.inputs["pixel_values"][:, :, 0, 0, 0].tolist() == [[1, 1, 1], [1, 0, 0], [2, 0, 0]]
    assert batch.inputs["image_sizes"].tolist() == [[7, 7]] * 3
    assert batch.inputs["batch_num_images"].tolist() == [1, 0, 2]


def test_without_samples_there_is_a_dummy() -> None:
    for batch in (collate([], 5, tiled=True), pack([], 5, tiled=True)):
        assert batch.inputs["input_ids"].tolist() == [[5, 5]]
        assert batch.labels.tolist() == [[IGNORED, IGNORED]]
        assert batch.sample_BT.tolist() == [[0, 0]]
        assert batch.ids == []
    assert collate([], 5, tiled=True).inputs["attention_mask"].all()
    assert "attention_mask" not in batch.inputs


def test_a_pack_is_one_row_without_padding() -> None:
    rows = [row("a", [9, 11, IGNORED, 13], [2]), row("b", [10, 12], []), row("c", [IGNORED, 3, 4], [1, 1])]
    batch = pack(rows, 0, tiled=True, place=(1, 2))
    assert batch.inputs["input_ids"].tolist() == [[10, 11, 12, 13, 10, 11, 10, 11, 12]]
    assert batch.inputs["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 2, 2, 2]]
    assert batch.labels.tolist() == [[IGNORED, 11, IGNORED, 13, IGNORED, 12, IGNORED, 3, 4]]
    assert batch.turn_ids.tolist() == [[1, 2, 2, 3, 1, 2, 0, 1, 2]]
    assert batch.inputs["pixel_values"][:, :, 0, 0, 0].tolist() == [[1, 1], [1, 0], [2, 0]]
    assert batch.inputs["batch_num_images"].tolist() == [1, 0, 2]
    assert (batch.ids, batch.sources, batch.place) == (["a", "b", "c"], ["of-a", "of-b", "of-c"], (1, 2))
    assert "attention_mask" not in batch.inputs


def test_normalize() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalize(pixels, mean=[0.0, 0.2, 0.5], std=[1.0, 0.5, 0.25], dtype=torch.bfloat16)
    assert found.dtype == torch.bfloat16
    assert found.flatten().tolist() == [0.0, 0.0, 2.0]
