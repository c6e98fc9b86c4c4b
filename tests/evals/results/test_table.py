"""The table says what was measured, what is missing and who judged."""

import json
from math import sqrt
from pathlib import Path

import pytest

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import PROFILES, Profile
from cli_ray.evals.results.aggregate import Row, row
from cli_ray.evals.results.table import Results, line, markdown, read_results, results, suite_mean
from cli_ray.evals.suite import benchmark
from tests.evals.results.outputs import by_units, judged, made, sample, samples

PROFILE: Profile = "lmms-eval/0.7.3"
PLAIN = row(made(references={"LLaVA-1.5-7B": 17.8}), samples([1, 0, 1, 1], per_cluster=2), 4, PROFILE)
POINTS = row(
    by_units("mme", full_marks=2800, references={"LLaVA-1.5-7B": 1510.7}),
    samples([1, 1, 0, 1], per_unit=2, per_cluster=2),
    4,
    PROFILE,
)
FAILED = row(
    made("gaps", count=5),
    [sample(0, 1), sample(1, 0, state="truncated", truncated=True), sample(2, None, state="error")],
    5,
    PROFILE,
)
PART = row(
    made("part", references={"LLaVA-1.5-7B": 17.8}), samples([1, 0]), 2, "strict", decoding="greedy, 4 tokens, bf16"
)
UNJUDGED = row(
    judged(), [sample(i, None, state="unjudged", stand_in=float(i < 3)) for i in range(4)], 4, PROFILE, "gpt", "ab" * 9
)


def cells(text: str, title: str) -> list[str]:
    """The cells of a row."""
    (found,) = [one for one in text.splitlines() if one.startswith(f"| {title} ")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_rows() -> None:
    text = markdown([PLAIN, POINTS], "cli-7b")
    assert text.startswith("# cli-7b\n")
    assert cells(text, "TOY") == ["TOY", "accuracy", "75.00 ± 25.00", "4/4", "0", "0", "0", "17.8"]
    assert cells(text, "MME")[2:4] == [f"50.0 ± {POINTS.standard_error:.1f}", "4/4"]
    assert cells(text, "MME")[-1] == "1510.7"
    widths = {len(one) for one in text.splitlines() if one.startswith("|")}
    assert len(widths) == 1


def test_the_mean_is_in_percent_of_full_marks() -> None:
    found = suite_mean([PLAIN, POINTS])
    assert found is not None
    assert found.value == pytest.approx((75 + 100 * 50 / 2800) / 2)
    assert found.standard_error == pytest.approx(sqrt(25**2 + ((POINTS.standard_error or 0) / 28) ** 2) / 2)
    text = markdown([PLAIN, POINTS, UNJUDGED], "m")
    assert cells(text, "mean")[1:4] == ["percent", f"{found.value:.2f} ± {found.standard_error:.2f}", "2/3 sets"]
    assert "scaled: MME of 2,800; left out, as not wholly scored or doubtful: JUDGED." in text


def test_no_mean_of_whatever_happened_to_finish() -> None:
    assert suite_mean([PLAIN, POINTS, FAILED]) is None
    assert suite_mean([PLAIN, UNJUDGED]) is None
    assert suite_mean([]) is None


def test_an_incomplete_row_is_marked() -> None:
    text = markdown([FAILED], "m")
    assert cells(text, "GAPS")[2:] == ["50.00 ± 50.00", "2/5 (incomplete)", "0", "1", "1"]
    assert "GAPS: incomplete: 2 of 5 items have no record, 1 failed" in text


def test_an_unjudged_row_shows_its_stand_in_apart() -> None:
    text = markdown([PLAIN, UNJUDGED], "m")
    assert cells(text, "JUDGED")[2:4] == ["unjudged", "0/4"]
    assert "JUDGED: 4 of 4 unjudged; stand-in (exact match, 4 items): 75.00 ± 25.00." in text
    assert "Judge of JUDGED: gpt (prompt abababab)." in text
    assert "Scoring profile: lmms-eval/0.7.3." in text


def test_part_of_a_set_is_no_official_score() -> None:
    text = markdown([PLAIN, POINTS, PART], "m")
    assert cells(text, "PART") == ["PART", "accuracy", "50.00 ± 50.00", "2/2 of 4", "0", "0", "0", ""]
    assert "Not the official set, so not comparable with published numbers: PART." in text
    assert "Scoring profile: lmms-eval/0.7.3 (TOY, MME); strict (PART)." in text
    assert suite_mean([PLAIN, POINTS, PART]) != suite_mean([PLAIN, POINTS])
    mean = suite_mean([PLAIN, POINTS, PART])
    assert mean is not None
    assert (mean.benchmarks, mean.left_out) == (("TOY", "MME"), ("PART",))
    assert "LLaVA-1.5-7B" not in markdown([PART], "m")
    assert "Decoding: greedy, bf16." in markdown([PART], "m")


def test_a_score_that_no_reply_can_earn_is_marked_and_left_out_of_the_mean() -> None:
    wild = row(judged("wild", doubtful_above=50.0), samples([1, 1, 0, 1]), 4, PROFILE, "gpt", "ab" * 9)
    text = markdown([PLAIN, POINTS, wild], "m")
    assert cells(text, "WILD")[2] == f"75.00 ± {wild.standard_error:.2f} (doubtful)"
    assert "WILD: accuracy 75.00 is beyond what replies can earn" in text
    mean = suite_mean([PLAIN, POINTS, wild])
    assert mean is not None
    assert mean.left_out == ("WILD",)
    assert benchmark("llava-wild").doubtful_above == 200


def test_departures_from_the_authors_stand_under_the_table() -> None:
    one = made(notes=("Read by rules.",), upstream_notes=("As upstream.",))
    rows: dict[Profile, Row] = {profile: row(one, samples([1, 0]), 2, profile) for profile in PROFILES}
    assert "- TOY: Read by rules.\n- TOY: As upstream.\n" in markdown([rows["lmms-eval/0.7.3"]], "m")
    assert "As upstream." not in markdown([rows["strict"]], "m")
    for name in ("hallusionbench", "mathvista-testmini"):
        assert benchmark(name).notes_of("strict")


def test_an_empty_table() -> None:
    assert "| benchmark | metric |" in markdown([], "m")


def test_lines() -> None:
    assert line(PLAIN) == "TOY: accuracy 75.00 ± 25.00 (4/4 scored)"
    assert line(FAILED) == "GAPS: accuracy 50.00 ± 50.00 (2/5 scored, 1 truncated, 1 errors, incomplete)"
    assert line(UNJUDGED) == "JUDGED: accuracy unjudged (0/4 scored, 4 unjudged)"
    assert line(row(made(), [], 4, PROFILE)) == "TOY: accuracy - (0/4 scored, incomplete)"
    assert line(row(made(), [sample(0, 1)], 1, PROFILE)) == "TOY: accuracy 100.00 ± - (1/1 of 4 scored)"


def test_results_survive_json(tmp_path: Path) -> None:
    rows: list[Row] = [PLAIN, POINTS, UNJUDGED]
    (tmp_path / "results.json").write_text(json.dumps(results(rows, "runs/cli", "f00d")))
    found = read_results(str(tmp_path))
    assert found == Results(model="runs/cli", model_hash="f00d", rows=tuple(rows), mean=suite_mean(rows))
    assert read_results(f"file://{tmp_path}/") == found


def test_a_folder_without_results_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no results.json: give the --output"):
        read_results(str(tmp_path / "absent"))
    (tmp_path / "results.json").write_text('{"rows": 3')
    with pytest.raises(UserError, match=r"results.json: cannot be read"):
        read_results(str(tmp_path))
