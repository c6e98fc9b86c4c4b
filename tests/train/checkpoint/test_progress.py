import itertools
import math

import pytest

from cli_ray.config import OptimConfig
from cli_ray.train.checkpoint.files import Checkpoint, Progress, to_delete, total_steps
from cli_ray.train.schedule import lr_factor


def test_progress_counts() -> None:
    progress = Progress()
    for _ in range(5):
        progress = progress.after_step(samples=4, tokens=10, bad_samples=1, shrunk_images=2)
    assert progress == Progress(step=5, samples=20, tokens=50, bad_samples=5, shrunk_images=10)
    assert Progress.model_validate_json(progress.model_dump_json()) == progress


def test_a_checkpoint_that_counted_no_shrunk_images_is_read() -> None:
    stored = '{"step": 5, "samples": 20, "tokens": 50, "bad_samples": 5}'
    assert Progress.model_validate_json(stored) == Progress(step=5, samples=20, tokens=50, bad_samples=5)


@pytest.mark.parametrize(("epochs", "max_steps", "steps"), [(1, None, 10), (2.5, None, 25), (3, 7, 7), (0.01, None, 1)])
def test_total_steps(epochs: float, max_steps: int | None, steps: int) -> None:
    assert total_steps(10, epochs, max_steps) == steps


def test_the_rate_rises_then_falls_to_its_floor() -> None:
    optim = OptimConfig(warmup_share=0.1, min_lr_share=0.2)
    factors = [lr_factor(step, 100, optim) for step in range(100)]
    assert factors[:10] == [(i + 1) / 11 for i in range(10)]
    assert factors[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert math.isclose(lr_factor(100, 100, optim), 0.2)
    assert lr_factor(0, 1, OptimConfig(warmup_share=0)) == 1.0


def test_the_newest_and_the_best_checkpoints_are_kept() -> None:
    losses = [None, 3.0, 1.0, 2.0, 2.5]
    checkpoints = [
        Checkpoint(progress=Progress(step=i), stream={}, world_size=1, zero_stage=2, validation_loss=loss)
        for i, loss in enumerate(losses)
    ]
    kept = [c.progress.step for c in checkpoints if c not in to_delete(checkpoints, keep_last=1, keep_best=2)]
    assert kept == [2, 3, 4]
    assert [c.progress.step for c in to_delete(checkpoints, keep_last=2, keep_best=0)] == [0, 1, 2]
