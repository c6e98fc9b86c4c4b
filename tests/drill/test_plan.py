import pytest

from cli_ray.config import ClusterConfig
from cli_ray.drill.plan import KINDS, MOMENTS, Course, Room, check_drill, plan, rooms
from cli_ray.errors import UserError

COURSE = Course(steps=20, every=6, start_s=25.0, step_s=0.5, whole_s=40.0)


def test_a_plan_depends_on_its_seed_alone() -> None:
    assert plan(KINDS, 5, 3, COURSE) == plan(KINDS, 5, 3, COURSE)
    assert plan(KINDS, 5, 3, COURSE) != plan(KINDS, 5, 4, COURSE)


def test_every_kind_gets_its_kills_at_every_moment() -> None:
    kills = plan(KINDS, 6, 0, COURSE)
    assert [kill.kind for kill in kills] == list(KINDS) * 6
    for kind in ("worker", "node", "driver"):
        assert [kill.moment for kill in kills if kill.kind == kind].count("checkpoint") == 2
        assert {kill.moment for kill in kills if kill.kind == kind} == set(MOMENTS)


def test_moments_lie_within_the_run() -> None:
    for kill in plan(KINDS, 50, 1, COURSE):
        assert 0 <= kill.step < COURSE.steps
        assert (kill.step == 0) == (kill.moment == "start")
        assert 0 <= kill.delay_s <= (COURSE.step_s if kill.step else COURSE.start_s)
        if kill.moment == "checkpoint":
            assert kill.step in (6, 12, 18)


def test_storage_goes_between_two_checkpoints_and_comes_back_after_the_later_one_was_due() -> None:
    for kill in plan(["storage"], 50, 1, COURSE):
        assert kill.due in (6, 12, 18)
        assert kill.due - 6 <= kill.step < kill.due
        assert 1 <= kill.outage_s <= 5
        assert kill.back_by == 19


def test_a_run_without_a_checkpoint_on_its_way_can_be_drilled_too() -> None:
    kills = plan(KINDS, 6, 0, Course(steps=1, every=500, start_s=25.0, step_s=0.5, whole_s=40.0))
    assert {(kill.step, kill.due) for kill in kills} == {(0, 1), (1, 1)}


@pytest.mark.parametrize(("workers", "nodes", "cpus"), [(1, 3, 1), (2, 3, 1), (3, 3, 2), (4, 3, 2), (4, 5, 1)])
def test_no_node_holds_all_workers_and_the_stream_has_a_cpu(workers: int, nodes: int, cpus: int) -> None:
    layout = rooms(ClusterConfig(num_workers=workers, gpus_per_worker=0), nodes, gpus=0)
    assert layout == [Room(cpus)] * nodes
    assert cpus < workers or workers == 1
    assert cpus * nodes > workers


def test_gpus_of_this_machine_are_dealt_to_the_nodes() -> None:
    assert rooms(ClusterConfig(num_workers=1), 3, gpus=1) == [Room(1, (0,)), Room(1), Room(1)]
    assert rooms(ClusterConfig(num_workers=4), 3, gpus=4) == [Room(2, (0, 1)), Room(2, (2, 3)), Room(2)]
    with pytest.raises(UserError, match=r"for 2 workers, 1 a node, needs 1 GPUs a node, and this machine has 1 in all"):
        rooms(ClusterConfig(num_workers=2), 3, gpus=1)


def test_kills_that_end_the_run_are_refused() -> None:
    cluster = ClusterConfig(max_failures=0)
    check_drill(cluster, ["driver", "storage"])
    with pytest.raises(UserError, match=r"cluster\.max_failures = 0 ends the run"):
        check_drill(cluster, ["driver", "node"])


def test_a_number_of_workers_that_may_change_is_refused() -> None:
    with pytest.raises(UserError, match=r"drill one number: --cluster\.num-workers 4"):
        check_drill(ClusterConfig(num_workers=(2, 4)), ["node"])
