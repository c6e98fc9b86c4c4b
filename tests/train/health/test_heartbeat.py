"""Signs of life and orders between a driver and its ranks, without Ray."""

from dataclasses import dataclass, field, replace

from cli_ray.train.health.heartbeat import ENDED, Heartbeat, Orders, Pulse, Sign

SIGN = Sign(0, "a", "node", 1, "step", "", 5, seconds=2.0)


@dataclass
class Clock:
    """Seconds, moved by hand."""

    time: float = 100.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Line:
    """What a heartbeat sent, and what it gets in return."""

    orders: Orders | None = None
    sent: list[Sign] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(3, "node", self.send, self.ended.append)

    def send(self, sign: Sign) -> Orders | None:
        self.sent.append(sign)
        return self.orders


def test_the_pulse_knows_where_each_rank_is_and_for_how_long() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.beat(replace(SIGN, rank=1))
    clock.time += 3
    pulse.beat(SIGN)
    clock.time += 1
    assert [(seen.sign.rank, seen.silent_s, seen.idle_s) for seen in pulse.look()] == [(0, 1.0, 3.0), (1, 4.0, 6.0)]


def test_a_group_that_was_started_anew_replaces_the_old_one() -> None:
    pulse = Pulse()
    for rank in range(4):
        pulse.beat(replace(SIGN, rank=rank))
    for rank in range(2):
        pulse.beat(replace(SIGN, rank=rank, life="b"))
    assert [seen.sign.life for seen in pulse.look()] == ["b", "b"]


def test_orders_reach_every_rank_but_an_end_only_those_of_its_time() -> None:
    pulse = Pulse()
    assert pulse.beat(SIGN) == Orders(None, None)
    pulse.stop("SIGTERM")
    pulse.end("rank 1 hangs")
    assert pulse.look() == []
    assert pulse.beat(SIGN) == Orders("SIGTERM", "rank 1 hangs")
    assert pulse.beat(replace(SIGN, life="b")) == Orders("SIGTERM", None)
    assert [seen.sign.life for seen in pulse.look()] == ["b"]


def test_a_heartbeat_tells_where_its_rank_is_and_takes_orders() -> None:
    line = Line()
    heartbeat = line.heartbeat()
    heartbeat.beat()
    heartbeat.step = 7
    heartbeat.at("data", lambda: "window 2")
    line.orders = Orders("SIGTERM", None)
    heartbeat.beat()
    assert [(sign.rank, sign.phase, sign.detail, sign.step) for sign in line.sent] == [
        (3, "starting", "", 0),
        (3, "data", "window 2", 7),
    ]
    assert (heartbeat.stop_reason, line.ended) == ("SIGTERM", [])
    line.orders = None  # the pulse cannot be reached
    heartbeat.beat()
    assert heartbeat.stop_reason == "SIGTERM"
    line.orders = Orders(None, "rank 1 hangs")
    heartbeat.beat()
    assert line.ended == ["rank 1 hangs"]


def test_another_detail_is_progress_and_the_same_is_not() -> None:
    windows = iter(["window 1", "window 1", "window 2"])
    heartbeat = Line().heartbeat()
    heartbeat.at("data", lambda: next(windows))
    first, second, third = (heartbeat.sign() for _ in range(3))
    assert first.seconds < second.seconds
    assert third.seconds < second.seconds
    heartbeat.at("data", lambda: "window 2")
    assert heartbeat.sign().seconds < second.seconds


def test_a_heartbeat_ends_with_a_last_sign() -> None:
    line = Line()
    heartbeat = line.heartbeat()
    heartbeat.start()
    heartbeat.close()
    assert line.sent[-1].phase == ENDED
