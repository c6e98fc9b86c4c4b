"""What `say` wrote, without its times."""

from cli_ray.text import STAMP


def said(output: str) -> list[str]:
    """The lines of an output; each must begin with its time."""
    lines = output.splitlines()
    assert all(STAMP.match(line) for line in lines), output
    return [STAMP.sub("", line, count=1) for line in lines]
