"""What `cli-ray train` ends with."""

from cli_ray.commands.train import told

SUMMARY = {
    "run": "/shared/runs/a",
    "step": 5000,
    "samples": 640_000,
    "tokens": 410_000_000,
    "bad_samples": 3,
    "loss": 0.9,
    "validation_loss": None,
    "seconds": 7500.0,
}


def test_the_end_of_a_run_says_what_it_came_to_where_things_lie_and_what_is_next() -> None:
    assert told(SUMMARY) == [
        "run /shared/runs/a is done: 5,000 steps, 640,000 samples, 410,000,000 tokens",
        "  quarantined  3 samples, see quarantine/",
        "  loss         0.9000 in training",
        "  took         2 h 05 min since its last start",
        "  checkpoint   /shared/runs/a/checkpoints/step-00005000",
        "  records      /shared/runs/a/metrics.jsonl, /shared/runs/a/events.jsonl",
        "next: cli-ray export /shared/runs/a --output DIR",
    ]


def test_a_run_that_an_earlier_version_ended_has_less_to_say() -> None:
    earlier = {name: value for name, value in SUMMARY.items() if name not in ("loss", "seconds")}
    lines = told({**earlier, "bad_samples": 0, "validation_loss": 1.25})
    assert lines[1:3] == ["  quarantined  none", "  loss         1.2500 in validation"]
    assert not any("took" in line for line in lines)
