"""Hostile texts made fit to be shown: `page` cleans all that it shows, `figures` the labels that it draws."""

import re

_UNSEEN = re.compile("[^\n\t -\U0010ffff]|[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, which HTML and SVG forbid, and those that turn the direction of the text around them."""


def clean(text: str) -> str:
    """A text without control characters, changes of direction and halves of code points. Right-to-left scripts stay as
    they are."""
    return _UNSEEN.sub("\ufffd", text).encode(errors="replace").decode()
