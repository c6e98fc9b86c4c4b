"""Successive halving over two starts of a sweep."""

from pathlib import Path
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from cli_ray.train.run_folder import METRICS, RunFolder
from cli_ray.tune.search import Asha


def asha(runs: Path) -> Asha:
    options = {"time_attr": "step", "metric": "validation_loss", "mode": "min", "grace_period": 2}
    return Asha(str(runs), **options, max_t=1000, reduction_factor=2)


def test_a_sweep_that_goes_on_compares_with_what_was_reported_before(tmp_path: Path) -> None:
    rows = ['{"step": 1}', '{"step": 2, "validation_loss": 0.5}', '{"step": 4, "validation_loss": null}']
    RunFolder(str(tmp_path / "good")).append(METRICS, rows)
    good, new = (SimpleNamespace(trial_id=name, last_result={}) for name in ("good", "new"))
    worse = {"step": 2, "validation_loss": 0.9}

    forgetful = asha(tmp_path)  # the good one has reported nothing yet
    forgetful.on_trial_add(None, good)
    forgetful.on_trial_add(None, new)
    assert forgetful.on_trial_result(None, new, worse) == TrialScheduler.CONTINUE

    good.last_result = {"step": 4}
    again = asha(tmp_path)
    again.on_trial_add(None, good)
    again.on_trial_add(None, new)
    assert again.on_trial_result(None, new, worse) == TrialScheduler.STOP
