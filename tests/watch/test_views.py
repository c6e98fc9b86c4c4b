"""What is shown of runs, sweeps and results, and looks at them again and again."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from cli_ray.errors import UserError
from cli_ray.storage.lines import now
from cli_ray.train.run_folder import LEASE
from cli_ray.watch.history import read_run
from cli_ray.watch.looks import Watch
from cli_ray.watch.results import read_results
from cli_ray.watch.sweeps import read_sweep
from cli_ray.watch.views import results_line, results_view, run_line, run_view, sweep_line, sweep_view
from tests.watch.folders import event, row, step, trial, write_results, write_run, write_sweep

HOSTILE = "x\x1b[2J[bold red]\u202eevil[/]\n" + "y" * 100_000


def shown(view: RenderableType) -> str:
    """As a terminal without colours would print it."""
    out = io.StringIO()
    Console(file=out, width=200).print(view)
    return out.getvalue()


def test_the_view_of_a_run_says_how_far_it_is_how_it_learns_and_what_it_waits_for(tmp_path: Path) -> None:
    rows = [step(n, 2 * n, data_wait_ms=(5.0, 90.0), **{"loss/demo": 0.5}) for n in range(1, 11)]
    events = [
        event("begin", 0, steps=40),
        event("validation", 9, step=5, loss=1.25),
        event("evaluation", 9, step=5, scores={"pope": 71.5}, path="evals/step-00000005"),
        {"event": "checkpoint", "time": now(), "step": 5, "path": "checkpoints/step-5", "seconds": 3.2},
    ]
    run = write_run(tmp_path, rows, events)
    run.write(LEASE, "{}")
    history = read_run(run.uri)
    text = shown(run_view(history))
    for part in (
        "run: running, step 10/40 (25%), 1 min 00 s left", "0.2 (demo 0.5)", "800 tokens/s, 8 samples/s, 0.1 TFLOP/s",
        "700 ms, waiting for data 5 ms (rank 1: 90), for other ranks 100 ms", "1.50 GiB, padding 0.0%",
        "0 of 80 samples", "1.25 at step 5", "written in 3.2 s", "step 5: pope 71.5",
    ):  # fmt: skip
        assert part in text, text
    assert run_line(history) == "run: running, step 10/40 (25%), 1 min 00 s left, loss 0.2"


def test_an_evaluation_that_is_under_way_is_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path, [step(1, 1)], [event("evaluation started", 1, step=5)])
    write_results(tmp_path / "evals/step-00000005", {"pope": 3}, {"pope": 9}, {})
    assert "step 5: pope 3/9" in shown(run_view(read_run(run.uri)))


def test_the_view_of_a_failed_run_gives_the_reason(tmp_path: Path) -> None:
    run = write_run(tmp_path, events=[event("start", 0), event("end", 1, error="data.sources: no such file")])
    text = shown(run_view(read_run(run.uri)))
    assert "run: failed, at 2026-01-01T00:00:01 UTC" in text
    assert "data.sources: no such file" in text


def test_no_name_and_no_error_steers_the_terminal(tmp_path: Path) -> None:
    rows = [step(1, 1, **{f"loss/{HOSTILE}": 1.0})]
    run = write_run(tmp_path, rows, [event("end", 1, error=HOSTILE)])
    text = shown(run_view(read_run(run.uri))) + run_line(read_run(run.uri))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold red]" in text
    assert len(text) < 10_000


def test_the_view_of_a_sweep_that_goes_on_reads_its_trials(tmp_path: Path) -> None:
    write_sweep(tmp_path)
    for name, loss in (("a", 2.0), ("b", 1.0)):
        run = write_run(tmp_path / "trials" / name, [step(3, 3)], [event("validation", 3, step=3, loss=loss)])
    run.write(LEASE, "{}")
    (tmp_path / "trials/a/outcome.json").write_text(
        json.dumps({"state": "failed", "reason": "no memory", "step": 3, "validation_loss": 2.0})
    )
    (tmp_path / "trials/index.json").write_text("{}")
    sweep = read_sweep(str(tmp_path))
    assert (sweep.state, [trial.trial for trial in sweep.trials], sweep.best and sweep.best.trial) == (
        "running",
        ["a", "b"],
        "b",
    )
    assert sweep.trials[1].draw == {"optim.llm.lr": 0.0, "injection.amp.rank": 16}
    assert sweep_line(sweep) == "search: running, 1 of 2 begun trials are over, best: b with validation_loss 1"
    text = shown(sweep_view(sweep))
    assert "a failed: no memory" in text
    assert text.index("b      running") < text.index("a      failed")


def test_a_sweep_that_has_ended_is_what_its_results_say(tmp_path: Path) -> None:
    trials = [
        trial("a", "finished", 1.5, 4, 1e-3),
        trial("b", "stopped", 3.0, 8, 1e-4),
        trial("c", "failed", None, 8, 1e-2),
    ]
    write_sweep(tmp_path, {"front": ["a"], "importance": {}, "trials": trials})
    sweep = read_sweep(str(tmp_path))
    assert (sweep.state, sweep.best and sweep.best.trial, sweep.front) == ("ended", "a", ["a"])
    assert "search: ended, 3 of 3 begun trials are over, best: a with validation_loss 1.5, eval/pope 48.5" in shown(
        sweep_view(sweep)
    )


def test_a_sweep_without_its_config_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "trials.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"sweep\.json is missing, damaged or of another version"):
        Watch(str(tmp_path)).look()


def test_the_view_of_results_counts_what_is_done_and_shows_scores(tmp_path: Path) -> None:
    write_results(tmp_path, {"pope": 10, "mmmu": 4}, {"pope": 10, "mmmu": 20}, {"pope": row("pope", 71.234)})
    results = read_results(str(tmp_path))
    assert (results.state, results.done) == ("running", 14)
    text = shown(results_view(results, rate=2.0))
    assert "models/mine: running, 14 of 30 samples, 2.0 samples/s, 8.0 s left" in text
    assert "71.23 ± 1.25" in text
    assert "4/20" in text


def test_results_of_another_version_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    write_results(tmp_path, {}, {}, {"old": {"title": "Old", "value": 12.0, "n": 5, "n_found": 5, "complete": True}})
    (tmp_path / "config.json").write_text('{"model": "m"}')
    results = read_results(str(tmp_path))
    assert results_line(results) == "m: ended, 5 of 5 samples"
    assert "12.00" in shown(results_view(results))


def test_a_second_look_reads_what_was_added_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path, {"pope": 4}, {"pope": 20}, {})
    watch = Watch(str(tmp_path))
    times = iter([100.0, 102.0])
    monkeypatch.setattr("cli_ray.watch.looks.time.monotonic", lambda: next(times))
    assert watch.look().line == "models/mine: running, 4 of 20 samples"
    with (tmp_path / "records/pope/session.jsonl").open("a") as file:
        file.write('{"key": "k"}\n' * 8 + '{"key"')
    look = watch.look()
    assert look.line == "models/mine: running, 12 of 20 samples, 4.0 samples/s, 2.0 s left"
    assert not look.is_over


def test_the_last_line_of_long_metrics_is_found_without_reading_them(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    line = json.dumps(step(1, 1))
    with Path(run.join("metrics.jsonl")).open("w") as file:
        file.writelines(f"{line}\n" for _ in range(50_000))
        file.write(json.dumps(step(200_000, 9)) + "\n")
    history = read_run(run.uri)
    assert history.state.step == 200_000
    assert len(history.recent()) < 1000
