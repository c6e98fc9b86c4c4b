"""Batches hold all samples once and within bounds; the queue hands out the most work first and loses nothing."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.job import Batch
from cli_ray.evals.generation.lengths import text_tokens
from cli_ray.evals.generation.schedule import Queue, expected_reply, plan
from cli_ray.evals.items.location import Part
from cli_ray.evals.items.survey import Entry

PARTS = [Part("a", 0, 0, 10, 0), Part("a", 1, 10, 5, 10), Part("b", 0, 0, 100, 15)]


def entry(row: int, chars: int = 30, images: int = 1, image_hash: str = "i") -> Entry:
    return Entry(str(row), row, f"key{row}", "p", image_hash, chars, ((32, 32),) * images)


def images(sizes: Sequence[tuple[int, int]]) -> int:
    return 100 * len(sizes)


def batch(name: str, rows: Sequence[int], cost: float, attempts: int = 0) -> Batch:
    return Batch(name, PARTS[2], tuple(entry(row) for row in rows), 16, cost, attempts)


def keys(one: Batch) -> list[str]:
    return [entry.key for entry in one.entries]


@given(
    rows=st.sets(st.integers(0, 114), max_size=115),
    size=st.integers(1, 20),
    tokens=st.integers(1, 5000),
    seed=st.integers(0, 9),
)
def test_a_plan_holds_each_sample_once_and_keeps_the_bounds(rows: set[int], size: int, tokens: int, seed: int) -> None:
    draw = random.Random(seed)
    entries = [entry(row, draw.randint(1, 900), draw.randint(0, 3), draw.choice("abc")) for row in rows]
    draw.shuffle(entries)
    replica = ReplicaConfig(batch_size=size, batch_tokens=tokens)
    batches = plan("x", 16, PARTS, entries, replica, images)
    assert sorted(entry.row for one in batches for entry in one.entries) == sorted(rows)
    for one in batches:
        lengths = [images(entry.sizes) + text_tokens(entry.prompt_chars) for entry in one.entries]
        assert all(one.part.first <= entry.row < one.part.first + one.part.rows for entry in one.entries)
        assert lengths == sorted(lengths, reverse=True)
        assert len(lengths) <= size
        assert len(lengths) == 1 or len(lengths) * (lengths[0] + 16) <= tokens


def test_a_plan_does_not_depend_on_the_order_of_samples() -> None:
    entries = [entry(row, 10 * (row % 7)) for row in range(115)]
    assert plan("x", 16, PARTS, entries, ReplicaConfig(), images) == plan(
        "x", 16, PARTS, entries[::-1], ReplicaConfig(), images
    )


def rows_of(batches: Sequence[Batch]) -> list[set[int]]:
    return [{entry.row for entry in one.entries} for one in batches]


def test_questions_about_one_image_stand_in_one_batch() -> None:
    # By length alone the two images would alternate: 100 + 48 + 30, 29, 28 ... tokens.
    entries = [entry(row, 90 - 3 * row, image_hash="ab"[row % 2]) for row in range(8)]
    batches = plan("x", 16, PARTS, entries, ReplicaConfig(batch_size=4), images)
    assert rows_of(batches) == [{0, 2, 4, 6}, {1, 3, 5, 7}]


def test_a_much_shorter_question_about_an_image_goes_with_others_of_its_length() -> None:
    long, short, other = entry(0, 900, image_hash="a"), entry(1, 30, image_hash="a"), entry(2, 600, image_hash="b")
    batches = plan("x", 16, PARTS, [long, short, other], ReplicaConfig(batch_size=2), images)
    assert rows_of(batches) == [{0, 2}, {1}]


def test_longer_prompts_and_longer_replies_cost_more() -> None:
    def cost(chars: int, tokens: int) -> float:
        return plan("x", tokens, PARTS, [entry(0, chars)], ReplicaConfig(), images)[0].cost

    assert cost(30, 16) < cost(3000, 16)
    assert cost(30, 16) < cost(30, 1024) < cost(30, 16384)
    assert [expected_reply(tokens) for tokens in (16, 64, 1024)] == [16, 64, 256]


def drain(queue: Queue) -> list[Batch]:
    """Takes and finishes all, each batch as long as it costs."""
    order = []
    while taken := queue.take():
        ticket, one = taken
        queue.recorded(ticket, keys(one))
        assert queue.finished(ticket, one.cost) is None
        order.append(one)
    return order


def test_most_expected_work_comes_first_over_all_benchmarks() -> None:
    queue = Queue([batch("a", [0], 5), batch("b", [1], 9), batch("a", [2], 7), batch("b", [3], 1)], 3)
    assert [one.cost for one in drain(queue)] == [9, 7, 5, 1]
    assert queue.done
    assert queue.remaining("a") == queue.remaining("b") == queue.remaining("never") == 0


def test_seconds_are_learnt_for_each_benchmark() -> None:
    quick = [batch("quick", [row], 10) for row in range(3)]
    queue = Queue([*quick, batch("slow", [9, 10], 11), batch("slow", [8], 6)], 3)
    order = []
    while taken := queue.take():
        ticket, one = taken
        queue.recorded(ticket, keys(one))
        queue.finished(ticket, one.cost * (5 if one.benchmark == "slow" else 1))
        order.append((one.benchmark, one.cost))
    # The second quick one is still expected to be as slow as what was seen; then the small slow one counts for 30.
    assert order == [("slow", 11), ("quick", 10), ("slow", 6), ("quick", 10), ("quick", 10)]


def test_remaining_counts_samples_down() -> None:
    queue = Queue([batch("a", [0, 1, 2], 1)], 3)
    taken = queue.take()
    assert taken
    queue.recorded(taken[0], ["key0"])
    queue.recorded(taken[0], ["key0", "key2"])
    assert (queue.remaining("a"), queue.done) == (1, False)


def test_the_last_batches_are_left_to_idle_replicas() -> None:
    queue = Queue([batch("a", [row], 1) for row in range(4)], 3)
    first = queue.take(replicas=2)
    assert first
    second = queue.take([first[0]], replicas=2)
    assert second
    assert queue.take([first[0], second[0]], replicas=2) is None
    assert queue.take(replicas=2)


def test_a_lost_batch_comes_back_without_what_was_recorded() -> None:
    queue = Queue([batch("a", [0, 1, 2], 3), batch("a", [3], 1)], 3)
    taken = queue.take()
    assert taken
    queue.recorded(taken[0], ["key1"])
    assert queue.lost(taken[0]) is None
    again = queue.take()
    assert again
    assert (keys(again[1]), again[1].attempts, again[1].cost) == (["key0", "key2"], 1, 2)


def test_suspects_run_alone() -> None:
    queue = Queue([batch("a", [row], 1) for row in range(9)], 3)
    lost, held = queue.take(), queue.take()
    assert lost
    assert held
    queue.lost(lost[0])
    assert queue.take([held[0]]) is None, "a busy replica waits until the suspect is taken"
    suspect = queue.take()
    assert suspect
    assert suspect[1].attempts == 1
    assert queue.take([suspect[0]]) is None, "a replica with a suspect gets nothing beside it"
    assert queue.take([held[0]])


@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 5, 16])
@pytest.mark.parametrize("poisonous", [{4}, {0, 15}, set(range(16)), set()])
def test_a_sample_that_kills_is_found_and_the_others_are_done(size: int, poisonous: set[int], attempts: int) -> None:
    queue = Queue([batch("a", range(start, min(16, start + size)), size) for start in range(0, 16, size)], attempts)
    done: list[str] = []
    given_up: list[Batch] = []
    while not queue.done:
        taken = queue.take()
        assert taken
        ticket, one = taken
        if any(entry.row in poisonous for entry in one.entries):
            lost = queue.lost(ticket)
            given_up += [lost] if lost else []
        else:
            queue.recorded(ticket, keys(one))
            queue.finished(ticket, 1.0)
            done += keys(one)
    assert sorted(entry.row for one in given_up for entry in one.entries) == sorted(poisonous)
    assert all(one.attempts >= attempts and len(one.entries) == 1 for one in given_up)
    assert sorted(done) == sorted(f"key{row}" for row in range(16) if row not in poisonous)
    assert queue.remaining("a") == 0


def test_a_batch_that_ends_without_all_its_records_comes_back() -> None:
    queue = Queue([batch("a", [0, 1], 1)], 3)
    taken = queue.take()
    assert taken
    queue.recorded(taken[0], ["key0"])
    queue.finished(taken[0], 1.0)
    again = queue.take()
    assert again
    assert keys(again[1]) == ["key1"]
