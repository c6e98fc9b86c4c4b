"""Real shards come through whole; skipped where they are not at hand."""

import pytest

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import Encoded
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import read_all
from tests.shared import SHARED, needs

DATA = SHARED / "data"

pytestmark = needs(DATA)


@pytest.mark.parametrize("family", ["llava", "llava_onevision"])
@pytest.mark.parametrize(
    ("path", "count"), [("cc12m-0000.tar", 32), ("photos/photos-00000.tar", 64), ("sharegpt/mllm_demo.json", 6)]
)
def test_all_samples_come_through(family: str, path: str, count: int) -> None:
    data = DataConfig(sources=(SourceConfig(path=str(DATA / path)),), max_length=4096)
    rows = list(map(Encoder(tiny_processor(family), data), read_all(data)))
    assert [row for row in rows if not isinstance(row, Encoded)] == []
    assert len(rows) == count
