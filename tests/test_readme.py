from tests.readme import README, renewed


def test_the_generated_parts_are_fresh() -> None:
    readme = README.read_text()
    assert renewed(readme) == readme, "run: python -m tests.readme"


def test_the_first_command_comes_early() -> None:
    lines = README.read_text().splitlines()
    assert max(i for i, line in enumerate(lines, 1) if line.startswith(("make demo", "make test"))) <= 20
