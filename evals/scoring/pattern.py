"""Answers that a regular expression reads out of replies: a rule of own benchmarks.

The syntax is RE2's, which pyarrow brings: it takes time linear in the length of the reply whatever the pattern, so that
none can hang an evaluation.
"""

from functools import lru_cache

GROUP = "answer"
"""The group that holds the answer; without one, all that the pattern matches is it."""


def fault_of(pattern: str) -> str:
    """Why a pattern cannot be used; empty where it can."""
    import pyarrow as pa

    try:
        extracted(pattern, "")
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        return f"{reason}; the syntax is RE2's, groups are (?:...) or (?P<{GROUP}>...)"
    return ""


def extracted(pattern: str, reply: str) -> str | None:
    """What the pattern finds first in a reply; None where it finds nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = reply.encode(errors="replace").decode()  # halves of code points, which a cut reply can end in
    [found] = pc.extract_regex(pa.array([text], pa.string()), _named(pattern)).to_pylist()
    return None if found is None else str(found[GROUP])


@lru_cache
def _named(pattern: str) -> str:
    return pattern if f"(?P<{GROUP}>" in pattern else f"(?P<{GROUP}>{pattern})"
