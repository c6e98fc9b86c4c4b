"""The longest batch is as large as any that a run can meet."""

import pytest

from cli_ray.data.encoder import Encoder
from cli_ray.model.build import load_processor
from cli_ray.train.rehearsal import longest_batch
from tests.train.scenario import Case, config_of


@pytest.mark.parametrize("family", ["llava", "llava_onevision"])
def test_the_longest_pack_is_full_and_has_as_many_images_as_fit(family: str) -> None:
    config = config_of(Case(family=family, packing=True, max_length=400))
    encoder = Encoder(load_processor(config.model), config.data)
    batch = longest_batch(encoder, config)
    assert batch.labels.shape == (1, 400)
    lengths = batch.inputs["segment_ids"].flatten().bincount()
    assert lengths[:-1].unique().numel() <= 1
    assert lengths[-1] < 2 * lengths.min()
    assert len(batch.inputs["pixel_values"]) == len(lengths)


def test_the_longest_micro_batch_is_of_the_longest_samples() -> None:
    config = config_of(Case(micro_batch=2, max_length=400))
    encoder = Encoder(load_processor(config.model), config.data)
    assert longest_batch(encoder, config).labels.shape == (2, 400)
