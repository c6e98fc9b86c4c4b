"""JSON text that nobody vouches for."""

import json
from typing import Any

from cli_ray.data.sample import BadDataError

MAX_BYTES = 8 << 20
"""Of the longest text that is parsed. In memory it may take twenty times that: `[[],[],...]` does."""


def parse(text: bytes | str, name: str) -> Any:
    """What a text holds.

    Args:
        text: of a record, or of one of its fields.
        name: of the text, for the message.

    Raises:
        BadDataError: it is no JSON, nested too deeply, or too long.
    """
    if len(text) > MAX_BYTES:
        raise BadDataError("broken record", f"{name} has {len(text):,} bytes, JSON may have {MAX_BYTES:,}")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadDataError("broken record", f"{name} is nested too deeply") from error
    except ValueError as error:
        raise BadDataError("broken record", f"{name} is no JSON: {error}") from error
