"""What the tests of jobs and of the tutorial share: a head."""

from collections.abc import Iterator

import pytest

from tests.jobs.heads import Head, started


@pytest.fixture(scope="package")
def head() -> Iterator[Head]:
    """A head; it and all it started end with the fixture."""
    with started() as head:
        yield head
