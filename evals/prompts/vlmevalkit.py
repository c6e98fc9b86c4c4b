"""The words in which VLMEvalKit asks, and the options that our columns hold within the text of a question.

As `vlmeval/dataset/image_mcq.py` of August 2026 has them (`e8e78f05`, github.com/open-compass/VLMEvalKit, Apache-2.0).

`cli_ray.evals.vlmevalkit` puts them into benchmarks.
"""

import re
from collections.abc import Mapping, Sequence

from cli_ray.evals.scoring.choice import lines

SELECT = "Please select the correct answer from the options above. \n"
_HEADING = re.compile(r"\s*\n\s*(?:Options|Choices):\s*")
"""Before the options of MMStar."""
_LETTER_ONLY = re.compile(
    r"\s*Please answer directly with only the letter of the correct option and nothing else\.\s*$"
)
"""Behind the options of RealWorldQA."""
_NUMBERED = re.compile(r"<image (\d)>")


def choice(question: str, options: Mapping[str, str], hint: str = "") -> str:
    """`ImageMCQDataset.build_prompt`, to the space before the last line break. Without options nothing is to select."""
    before = f"Hint: {hint}\n" if hint else ""
    behind = f"Options:\n{lines(options)}\n{SELECT}" if options else ""
    return f"{before}Question: {question}\n{behind}"


def with_images_between(text: str) -> str:
    """`MMMUDataset.split_MMMU`: an image mark wherever the text says `<image 1>` or so."""
    return _NUMBERED.sub("<image>", text)


def images_named(text: str) -> list[str]:
    """The numbers of images that a text names, in its order; those it names twice are there twice."""
    return _NUMBERED.findall(text)


def under_heading(text: str) -> tuple[str, dict[str, str]]:
    """The question and options of MMStar, whose texts end in `Options: A: x, B: y` or in `Choices:` and lines `(A) x`.

    Returns:
        The whole text and no options where they cannot be told apart.
    """
    headings = list(_HEADING.finditer(text))
    if headings:
        body = text[headings[-1].end() :]
        options = _parted(body, "{}:", r",?\s+") or _parted(body, r"\({}\)", r"\s*\n\s*")
        if options:
            return text[: headings[-1].start()].strip(), options
    return text.strip(), {}


def on_lines(text: str) -> tuple[str, dict[str, str]]:
    """The question and options of RealWorldQA, whose texts have lines `A. x` and an instruction behind them.

    Returns:
        The whole text and no options where it has none.
    """
    bare = _LETTER_ONLY.sub("", text)
    first = re.search(r"^A\. ", bare, re.MULTILINE)
    options = _parted(bare[first.start() :], r"{}\.", r"\s*\n\s*") if first else {}
    return (bare[: first.start()].strip(), options) if first and options else (text.strip(), {})


def _parted(body: str, mark: str, between: str, letters: Sequence[str] = "ABCD") -> dict[str, str]:
    """The texts behind the marks of letters, in their order from A; empty with fewer than two of them.

    Args:
        mark: pattern of a mark, with `{}` for its letter.
        between: pattern of what parts two options.
    """
    marks: list[re.Match[str]] = []
    for letter in letters:
        before = between if marks else r"\A\s*"
        found = re.compile(f"{before}{mark.format(letter)}\\s").search(body, marks[-1].end() - 1 if marks else 0)
        if not found:
            break
        marks.append(found)
    ends = [*(found.start() for found in marks[1:]), len(body)]
    texts = [body[found.end() : end].strip() for found, end in zip(marks, ends, strict=False)]
    return dict(zip(letters, texts, strict=False)) if len(texts) > 1 else {}
