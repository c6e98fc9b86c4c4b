"""Replies that reason at length: which of the known options they choose."""

import time
from collections.abc import Mapping

import pytest

from cli_ray.evals.scoring.choice import stated

POINTS = {letter: f"Point {letter}" for letter in "ABCD"}
BOXES = {"A": "Box A", "B": "Box B"}
IMAGES = {"A": "the second image", "B": "the third image"}
SHADES = {"A": "A is darker", "B": "B is darker", "C": "About the same"}
YES_NO = {"A": "yes", "B": "no"}
LISTED = (
    "(A) Point A is at the tip, which is not it.\n(B) Point B is on the wires.\n(C) Point C is on the handle.\n"
    "(D) Point D is at the end.\n\n"
)


CHOSEN: tuple[tuple[Mapping[str, str], str, str], ...] = (
    (
        POINTS,
        "Point A is at the claw.\nPoint B is at the face.\n\nTherefore, the corresponding point "
        'for the action "Brush/Dust" would be:\n(D) Point D',
        "D",
    ),
    (POINTS, "This would be (A) Point A on the second image, as it is the closest.", "A"),
    (POINTS, LISTED + "The correct choice is (B) Point B, as it is the part.", "B"),
    (POINTS, LISTED + "Therefore, the most corresponding point would be:\n(D) Point D", "D"),
    (
        POINTS,
        LISTED + ("Given these, the best point would be:\n\n(D) Point D\n\nThis is because Point D is at the opening."),
        "D",
    ),
    (
        POINTS,
        "the correct corresponding point for the whisk would be:\n\n(A) Point A - This is the end "
        "of the handle, similar to the whisk.",
        "A",
    ),
    (POINTS, LISTED + "Therefore, there is no correct answer in the choices", ""),
    (POINTS, LISTED, ""),
    (
        BOXES,
        "Box A more accurately localizes and encloses the tank top. Box B, on the other hand, is too large.",
        "A",
    ),
    (BOXES, "Box B more accurately localizes the cat, while Box A is too narrow.", "B"),
    (BOXES, "Box A is large. Box B is small.", ""),
    (IMAGES, "(B) the third image is most similar to the first one because the second image differs.", "B"),
    (
        IMAGES,
        "Based on these, the second image (A) is most similar to the first one. The third image (B) differs.",
        "A",
    ),
    (
        IMAGES,
        "(A) The second image shows a cushion.\n\n(B) The third image displays lines.\n\nBased on "
        "this, (B) the third image is most similar to the first one.",
        "B",
    ),
    (
        IMAGES,
        "Based on this, the correct choice to complete the first image would be (A) the second "
        "image. Therefore, (B) the third image is not the correct choice to complete it.",
        "A",
    ),
    (
        IMAGES,
        "the correct choice to fill in the corner would be:\n\n(B) third image\n\nThis shows the second image is out.",
        "B",
    ),
    (IMAGES, "I would say:\n(A) the second image is most similar to the first one.", "A"),
    (IMAGES, "(B) the third image\n\nThe third image is most similar; the second image is not.", "B"),
    (
        SHADES,
        "Point A is on a couch, point B on the carpet. It appears that:\n\n(B) B is darker\n\nThe "
        "carpet at point B is dark.",
        "B",
    ),
    (SHADES, "points A and B have about the same colour.\n\n(C) About the same", "C"),
    (SHADES, "Therefore, the answer would be (C) About the same, assuming that the lighting differs.", "C"),
    (SHADES, "I'm sorry, but I can't assist with that.", ""),
    (YES_NO, "(B) no\n\nThe cats are on a desk, not on a chair.", "B"),
    (YES_NO, "(A) yes", "A"),
    (YES_NO, "So, in relation to the person, it is not far away.\n\n(B) no", "B"),
    (YES_NO, "I would lean towards:\n\n(B) no\n\nThe train is visible.", "B"),
    (YES_NO, "Therefore, the answer cannot be determined from the given choices (A) yes or (B) no.", ""),
    (YES_NO, "The options are:\n(A) yes\n(B) no", ""),
    (YES_NO, "There is no cup. Therefore, the correct answer is:\n\n(B) no", "B"),
)
"""Options, reply, letter."""


@pytest.mark.parametrize(("options", "reply", "letter"), CHOSEN)
def test_the_option_that_is_chosen_is_read(options: Mapping[str, str], reply: str, letter: str) -> None:
    assert stated(reply, options)[0] == letter


def test_options_that_differ_from_item_to_item_are_read_in_no_time() -> None:
    """A pattern of option texts is made anew for each."""
    started = time.monotonic()
    for number in range(100):
        options = {letter: f"text {number} {letter} of the thing" for letter in "ABCD"}
        assert stated(f"It is not text {number} A of the thing, it is text {number} B of the thing", options)[0] == "B"
    assert time.monotonic() - started < 10
