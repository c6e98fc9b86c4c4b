"""Which samples are shown."""

from pathlib import Path

import pytest

from cli_ray.data.images import Limits
from cli_ray.data.index import Index, build_index
from cli_ray.data.show.choice import Place, places_of_id, places_of_source, samples_at
from cli_ray.errors import UserError
from tests.data.shards import data_config, table_rows, tar_members, write_parquet, write_tar


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Two sources: a tar of 10 samples in units of 4, and a table of 6."""
    write_tar(tmp_path / "a.tar", tar_members(10))
    write_parquet(tmp_path / "b.parquet", table_rows(6))
    return build_index(data_config(tmp_path / "a.tar", tmp_path / "b.parquet"))


def ids(index: Index, places: list[Place]) -> list[str]:
    return [sample.id for sample in samples_at(index, places, Limits(10**6, 10**6))]


def test_the_first_ones_of_a_source_across_its_units(index: Index) -> None:
    assert ids(index, places_of_source(index, 0, 6, None)) == [f"a.tar#{n}:{n:05d}" for n in range(6)]
    assert ids(index, places_of_source(index, 1, 2, None)) == ["b.parquet#0:00000", "b.parquet#1:00001"]


def test_no_more_than_there_are(index: Index) -> None:
    assert len(places_of_source(index, 1, 100, None)) == 6
    assert len(set(places_of_source(index, 1, 100, 7))) == 6


def test_a_seed_draws_the_same_ones_each_time_and_another_seed_others(index: Index) -> None:
    drawn = {seed: ids(index, places_of_source(index, 0, 3, seed)) for seed in range(5)}
    assert drawn[3] == ids(index, places_of_source(index, 0, 3, 3))
    assert len({tuple(names) for names in drawn.values()}) > 1
    assert all(len(set(names)) == 3 for names in drawn.values())


def test_an_id_is_found_with_and_without_its_key(index: Index) -> None:
    for id_ in ("a.tar#9:00009", "a.tar#9"):
        assert ids(index, places_of_id(index, id_)) == ["a.tar#9:00009"]


@pytest.mark.parametrize("id_", ["a.tar#10", "a.tar", "a.tar#x", "c.tar#0", ""])
def test_an_id_that_is_not_there_is_refused(id_: str, index: Index) -> None:
    with pytest.raises(UserError, match="no source has such a sample; an id is SHARD#NUMBER"):
        places_of_id(index, id_)
