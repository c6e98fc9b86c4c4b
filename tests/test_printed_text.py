import pytest

from cli_ray.text import duration, printable, say
from tests.said import said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.34, "0.3 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"),
     (7500, "2 h 05 min"), (200_000, "2 d 07 h")],
)  # fmt: skip
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_each_line_that_is_said_has_its_time_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("loss of \x1b[2Jshard\x07\nand more \u202egnp.exe")
    assert said(capsys.readouterr().out) == [r"loss of \x1b[2Jshard\x07", r"and more \u202egnp.exe"]


def test_text_of_any_language_is_printed_as_it_is() -> None:
    assert printable("größer 猫 🐈 ±") == "größer 猫 🐈 ±"
