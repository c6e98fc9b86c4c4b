"""Estimates of whole runs: what the numbers follow from, and what they must not do."""

from dataclasses import replace

import pytest

from cli_ray.costs.flops import Work, price
from cli_ray.errors import UserError
from cli_ray.plan.estimate import resolved
from cli_ray.plan.lengths import largest_image
from cli_ray.plan.source import shape_named
from tests.plan.configs import TILED, estimate_of, run_of


def test_weights_and_states_are_sharded_as_the_stage_says() -> None:
    estimate = estimate_of(run_of())
    parts = estimate.parts.values()
    every, trained = sum(part.all for part in parts), sum(part.trained for part in parts)
    one, two, three = (estimate.state(stage) for stage in (1, 2, 3))
    assert [state.weights for state in (one, two, three)] == [2 * every, 2 * every, 2 * every // 8]
    assert [state.gradients for state in (one, two, three)] == [4 * trained, 4 * trained // 8, 4 * trained // 8]
    assert {state.optimizer for state in (one, two, three)} == {8 * trained // 8}
    assert one.lasting > two.lasting > three.lasting


def test_checkpointing_keeps_the_inputs_of_layers_alone() -> None:
    estimate = estimate_of(run_of(train={"pack_tokens": 4096, "micro_batch_size": 1}))
    boundaries = 32 * 4096 * 4096 * 2
    norm = 4096 * 4096 * 6
    assert estimate.activations.decoder == boundaries + norm
    assert estimate.other_activations.decoder > 15 * estimate.activations.decoder


def test_a_step_has_the_flops_of_its_samples() -> None:
    estimate = estimate_of(run_of())
    costs = price(estimate.shape, estimate.injection, estimate.config.optim, 0)
    length = 576 + 128
    sample = Work(0, 1, 576, length, length**2, 64, 1, length)
    passes = Work(passes=estimate.passes * 8)
    assert estimate.step_flops == 64 * sample.times(costs) + passes.times(costs)
    assert 1.005 < estimate.step_flops / estimate.plain_flops < 1.05


def test_time_and_money_follow_from_steps_and_peak() -> None:
    estimate = estimate_of(run_of())
    known = replace(estimate, lengths=replace(estimate.lengths, samples=6400.0))
    assert estimate.steps is None
    assert known.steps == 100
    assert known.step_seconds == pytest.approx(known.step_flops / (8 * 989e12 * 0.3))
    assert known.hours == pytest.approx(100 * (known.step_seconds or 0) / 3600)


def test_the_largest_image_is_the_one_that_a_run_rehearses() -> None:
    config = run_of(TILED, data={"max_length": 4096})
    tiles, tokens = largest_image(config, shape_named(config.model), 4000)
    assert tokens <= 4000
    assert tiles > 5
    estimate = estimate_of(config)
    assert estimate.batch.tokens == 8 * 4096


def test_what_the_model_does_not_have_is_refused() -> None:
    config = run_of(injection={"vision_layers": [30]})
    with pytest.raises(UserError, match=r"injection.vision_layers: \[30\] must be distinct indices in 1..23"):
        resolved(config, shape_named(config.model))
    config = run_of(data={"max_length": 8192})
    with pytest.raises(UserError, match=r"data.max_length = 8192, the language model has 4096 positions"):
        resolved(config, shape_named(config.model))


def test_a_checkpoint_holds_what_is_trained_and_an_export_all() -> None:
    estimate = estimate_of(run_of(optim={"llm": {"lr": 0.0}, "projector": {"lr": 1e-3}}))
    trained = sum(part.trained for part in estimate.parts.values())
    assert estimate.checkpoint_size == 14 * trained
    assert estimate.export_size == 2 * sum(part.all for part in estimate.parts.values())
