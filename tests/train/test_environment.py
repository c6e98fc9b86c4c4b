"""What a run ran on."""

import pytest

from cli_ray.train import environment


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a Ray job cli_ray may lie in the working directory alone."""
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package", "pytest"))
    assert environment.versions() == {"pytest": pytest.__version__}
