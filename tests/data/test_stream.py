"""The stream: the same batches for every number of workers, after every restart, with and without Ray."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli_ray.config import DataConfig
from cli_ray.data.cost import SampleCost
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, build_index
from cli_ray.data.reading import read_here
from cli_ray.data.sample import Row
from cli_ray.data.share import Cut
from cli_ray.data.stream import Read, Stream, Windows
from cli_ray.errors import UserError
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import data_config, table_rows, tar_members, turns, write_parquet, write_tar

Setup = tuple[Index, DataConfig, Encoder]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """23 samples with images of a tar, 14 without of a Parquet file; three of them bad."""
    folder = tmp_path_factory.mktemp("data")
    members = tar_members(23)
    members[8] = (members[8][0], b"no image")
    write_tar(folder / "a.tar", members)
    rows = [row | {"images": [], "messages": turns(n, images=0)} for n, row in enumerate(table_rows(14))]
    rows[3]["messages"], rows[9]["messages"] = [], None
    write_parquet(folder / "b.parquet", rows)
    data = data_config(folder / "a.tar", folder / "b.parquet")
    return build_index(data), data, Encoder(tiny_processor("llava"), data)


COST = SampleCost(tile=300, token=10, pair=1, supervised=5)


def stream(
    setup: Setup,
    lanes: int = 2,
    rank: int = 0,
    world_size: int = 1,
    seed: int = 0,
    step: int = 1,
    by_ray: bool = False,
    cost: SampleCost | None = COST,
    read: Read | None = None,
) -> Stream:
    """A stream of `step` micro-batches of 2 samples per lane and step; reads in this process or by Ray."""
    index, data, encoder = setup
    return Stream(
        index,
        data,
        encoder,
        seed=seed,
        lanes=lanes,
        rank=rank,
        world_size=world_size,
        micro_batch_size=2,
        global_batch_size=2 * lanes * step,
        cost=cost,
        read=None if by_ray else read or partial(read_here, sources=index.sources, encoder=encoder),
    )


def names(cut: Cut) -> tuple[str, ...]:
    """All that stands in a micro-batch."""
    return tuple(row.id for row in cut.rows)


def steps(one: Stream, epoch: int = 0, first_step: int = 0) -> list[list[tuple[str, ...]]]:
    """The names in each micro-batch of each step."""
    return [list(map(names, share.cuts)) for share in one.iterate(epoch, first_step)]


def test_every_sample_once_and_bad_ones_as_holes(setup: Setup) -> None:
    one = stream(setup)
    shares = list(one.iterate(0))
    seen = Counter(name for share in shares for name in share.ids)
    bad = {sample.id: sample.reason for share in shares for sample in share.bad}
    assert seen.total() == len(seen) == 34
    assert bad == {
        "a.tar#4:00004": "broken image",
        "b.parquet#3:00003": "messages",
        "b.parquet#9:00009": "wrong columns",
    }
    assert seen.total() + len(bad) == one.order.samples_per_epoch == setup[0].num_samples


def test_epochs_differ_and_seeds_too(setup: Setup) -> None:
    assert steps(stream(setup)) == steps(stream(setup))
    assert steps(stream(setup)) != steps(stream(setup), epoch=1)
    assert steps(stream(setup)) != steps(stream(setup, seed=1))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(1, 6), st.data())
def test_resumed_with_any_world_size(
    setup: Setup, lanes: int, world_size: int, epoch: int, step: int, data: st.DataObject
) -> None:
    """Steps from any place on equal those of the undisturbed run, over any number of ranks."""
    cost = data.draw(st.sampled_from([COST, None]))
    world_size = min(world_size, lanes)
    whole = steps(stream(setup, lanes, step=step, cost=cost), epoch)
    first = data.draw(st.integers(0, len(whole)))
    ranks = [stream(setup, lanes, rank, world_size, step=step, cost=cost) for rank in range(world_size)]
    assert all(one.steps_per_epoch == len(whole) for one in ranks)
    parts = [steps(one, epoch, first) for one in ranks]
    for one, part in zip(ranks, parts, strict=True):
        assert {len(batches) for batches in part} <= {one.micro_batches_per_step}
    for batches, expected in zip(zip(*parts, strict=True), whole[first:], strict=True):
        assert sorted(filter(None, (batch for part in batches for batch in part))) == sorted(filter(None, expected))


def test_a_state_puts_another_stream_where_it_was_taken(setup: Setup) -> None:
    """Over the end of an epoch, and for another number of ranks."""
    one, expected = stream(setup, lanes=2), iter(stream(setup, lanes=2))
    passed = one.steps_per_epoch + 2
    for share, same in zip(islice(one, passed), expected, strict=False):
        assert list(map(names, share.cuts)) == list(map(names, same.cuts))
    state = json.loads(json.dumps(one.state_dict()))
    assert (state["epoch"], state["epoch_step"]) == (1, 2)
    assert len(json.dumps(state)) < 250
    ranks = [stream(setup, lanes=2, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
        assert rank.state_dict() == state
    for (first, second), whole in zip(islice(zip(*ranks, strict=True), 8), islice(one, 8), strict=True):
        assert [names(cut) for share in (first, second) for cut in share.cuts] == [names(cut) for cut in whole.cuts]


def test_a_stream_that_began_to_read_goes_on_with_what_it_read(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    one, expected = stream(setup), stream(setup)
    for each in (one, expected):
        each.load_state_dict(each.state_dict() | {"epoch": 1, "epoch_step": 2})
    read = Mock(side_effect=one._read)
    monkeypatch.setattr(one, "_read", read)
    one.begin()
    assert read.call_count == 1
    assert one.state_dict() == expected.state_dict()
    rest = one.steps_per_epoch - 2
    for share, same in zip(islice(one, rest + 3), islice(expected, rest + 3), strict=True):
        assert list(map(names, share.cuts)) == list(map(names, same.cuts))
    assert read.call_count == 2, "one for each epoch"


def test_what_a_stream_began_to_read_elsewhere_is_left(setup: Setup) -> None:
    one, expected = stream(setup), stream(setup)
    one.begin()
    for each in (one, expected):
        each.load_state_dict(each.state_dict() | {"epoch": 1})
    assert list(map(names, next(iter(one)).cuts)) == list(map(names, next(iter(expected)).cuts))


OLD_STATE = {"lanes": 3, "window": 8, "micro_batch": 2, "per_step": 1, "samples_per_epoch": 37}
"""What version 0.1.0 had of a stream before there were costs."""
OLD_BATCHES = {
    2: [
        [["a#0", "a#12"], ["b#4", "b#5"], ["b#0", "b#1"]],
        [["a#2", "a#14"], ["a#10", "a#11"], ["a#18", "a#19"]],
    ],
    6: [[[], [], ["a#22", "b#12"]]],
}
"""What it gave from a step of epoch 1 on."""


@pytest.mark.parametrize("first", OLD_BATCHES)
def test_a_state_without_costs_keeps_the_order_that_it_was_made_with(setup: Setup, first: int) -> None:
    one, state = stream(setup, lanes=3, seed=5), {"seed": 5, **OLD_STATE, "epoch": 1, "epoch_step": first}
    one.load_state_dict(state)
    assert one.state_dict() == state
    for share, expected in zip(one, OLD_BATCHES[first], strict=False):
        assert [
            [re.sub(r"\..*#|:.*", lambda m: "#" * (m[0][0] == "."), name) for name in names(cut)] for cut in share.cuts
        ] == expected


def test_a_state_keeps_its_costs(setup: Setup) -> None:
    """A later version may reckon with others."""
    other = stream(setup, cost=SampleCost(token=1, pair=3))
    other.load_state_dict(stream(setup).state_dict())
    assert other.state_dict() == stream(setup).state_dict()
    assert steps(other) == steps(stream(setup))


def test_windows_before_a_step_are_not_read(setup: Setup) -> None:
    index, _, encoder = setup
    counts = list[int]()

    def read(windows: Windows) -> Iterator[list[Row]]:
        for rows in read_here(windows, index.sources, encoder):
            counts.append(len(rows))
            yield rows

    one = stream(setup, lanes=1, step=3, read=read)
    assert [len(list(one.iterate(0, first))) for first in (0, 2, 5)] == [7, 5, 2]
    # Windows of 8 samples, steps of 6: step 2 begins in the second window, step 5 in the fourth.
    assert counts == [8, 8, 8, 8, 5, 8, 8, 8, 5, 8, 5]


def test_the_state_of_another_order_is_refused(setup: Setup) -> None:
    state = stream(setup).state_dict()
    with pytest.raises(UserError, match=r"seed gives seed = 1, the checkpoint's stream was made with 0"):
        stream(setup, seed=1).load_state_dict(state)
    with pytest.raises(UserError, match=r"train\.global_batch_size gives per_step = 3"):
        stream(setup, step=3).load_state_dict(state)


def test_kinds_come_apart_within_a_step(setup: Setup) -> None:
    index, data, encoder = setup
    wide = data.model_copy(update={"window_samples": 40})
    for batches in steps(stream((index, wide, encoder), lanes=1, step=4)):
        mixed = [batch for batch in batches if len({name.split("#")[0] for name in batch}) == 2]
        assert len(mixed) <= 1


def test_lanes_end_together(setup: Setup) -> None:
    """Only the last step may be smaller."""
    filled = [sum(map(len, batches)) for batches in steps(stream(setup, lanes=3))]
    assert filled[:-1] == [6] * (len(filled) - 1)


def test_a_batch_that_does_not_divide_is_refused(setup: Setup) -> None:
    index, data, encoder = setup
    with pytest.raises(UserError, match="global_batch_size = 6 must be a multiple of lanes x"):
        Stream(index, data, encoder, seed=0, lanes=2, rank=0, world_size=1, micro_batch_size=2, global_batch_size=6)


def test_a_stream_tells_what_it_waits_for(setup: Setup) -> None:
    source = stream(setup)
    steps = source.iterate(1, 0)
    assert source.awaited().startswith("epoch 0, window 1 of ")
    next(steps)
    assert source.awaited().startswith("epoch 1, window 2 of ")
    assert "/a.tar" in source.awaited()
