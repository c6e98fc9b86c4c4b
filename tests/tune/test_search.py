"""What draws trials."""

from cli_ray.config import SweepConfig
from cli_ray.tune.search import Optuna, searcher
from cli_ray.tune.space import ray_space


def test_a_report_without_the_objective_is_no_fault() -> None:
    """A benchmark is known after its checkpoint was evaluated, and a trial is validated before."""
    values = {"name": "s", "base": "run.toml", "objectives": ["eval/pope"], "scheduler": "none"}
    config = SweepConfig.model_validate(values | {"space": {"injection.amp.rank": [2, 4]}})
    search = searcher(config, 1)
    assert isinstance(search, Optuna)
    search.set_search_properties(None, None, ray_space(config))
    assert set(search.suggest("a")) == {"injection.amp.rank"}
    search.on_trial_result("a", {"validation_loss": 0.5, "training_iteration": 1})
    search.on_trial_complete("a", {"eval/pope": 0.8})
