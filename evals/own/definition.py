"""What a TOML file says of a benchmark: the schema, and how such files are read and kept.

`files` reads them for commands, `cli_ray.evals.results.definitions` from output folders; `build` makes the benchmark.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import validated
from cli_ray.errors import UserError
from cli_ray.evals.own.template import Template
from cli_ray.evals.records import digest
from cli_ray.evals.scoring.pattern import fault_of

OPTIONS, REPLY = "options", "reply"
"""Places of templates that are no columns: the lettered options, a line each, and for judges the reply."""
MOST_BYTES = 1 << 20
"""Of a file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)")


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _texts(value: object) -> object:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""One name or several."""


def _template(text: str) -> str:
    Template.parse(text)
    return text


TemplateText = Annotated[str, AfterValidator(_template)]
"""Text of a `Template`."""


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text


Line = Annotated[str, AfterValidator(_line)]
"""Text in tables and under them."""


class OwnSection(Section):
    """A section of such a file."""

    lists_fields: ClassVar[str] = "docs/own_benchmarks.md"


class Columns(OwnSection):
    """Which column holds what."""

    id: str = ""
    """What tells items apart; without one the number of the row does."""
    image: Names = Field(default=("image",), min_length=1)
    """Images, one column or several: bytes, base64, or paths relative to the folder of the table."""
    question: str = ""
    """The bare question, for people; the prompt without one."""
    answer: str = "answer"
    """The right answer, or a list of right ones; may be empty where a judge needs none."""
    options: Names = ()
    """Options of the question: one column that holds a list, or a column each, of which empty ones are left out."""


class JudgePrompt(OwnSection):
    """How a judge grades replies."""

    prompt: TemplateText = ""
    """What it is asked: columns of the row in braces, and the reply as `{reply}`. Its answer has to begin with yes or
    no, or with a number."""
    points: float = Field(default=1.0, gt=0)
    """The number that is full marks."""
    max_tokens: int = Field(default=128, ge=1)
    """Of its answer."""


class Definition(OwnSection):
    """A benchmark."""

    name: str
    """On the command line and in file names."""
    title: Line = ""
    """In tables; the name without one."""
    data: Uri
    """Table (Parquet, JSONL, CSV or TSV), glob of tables, or folder: a path relative to this file, or a pyarrow URI. Or
    `hf://datasets/OWNER/NAME`, of which `split` and `config` are taken, or `hf://datasets/OWNER/NAME/FILE`."""
    split: str = "test"
    """Of a dataset of the hub."""
    config: str = ""
    """Of a dataset of the hub."""
    prompt: TemplateText
    """What is asked: columns of the row in braces, and `{options}`; `{{` is a brace. Images come first, or where
    `<image>` stands."""
    columns: Columns = Columns()
    scorer: Literal["exact", "letter", "yes-no", "relaxed", "anls", "contains", "regex", "judge"]
    """How replies are scored."""
    pattern: str = ""
    """For `regex`, in RE2's syntax: what the group `(?P<answer>...)` holds, or all that matches, is the answer."""
    judge: JudgePrompt = JudgePrompt()
    keep: dict[str, Annotated[tuple[str, ...], BeforeValidator(_texts)]] = Field(default={})
    """Values by column: rows with others do not belong to the benchmark."""
    facets: Names = ()
    """Columns by whose values scores are given too."""
    unit: str = ""
    """Column whose equal values join items: the headline is then the share of units all of whose items are right."""
    cluster: str = ""
    """Column whose equal values mark items that are not independent; without one, equal images do."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Of a reply."""
    references: dict[Line, float] = Field(default={})
    """Published headline numbers by model."""
    notes: tuple[Line, ...] = ()
    """For people, under the table."""

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str) -> str:
        if fault := fault_of_name(name):
            raise ValueError(fault)
        return name

    @field_validator("data")
    @classmethod
    def _names_data(cls, data: str) -> str:
        if not data.strip():
            raise ValueError("names no table, folder or URI")
        return data

    @model_validator(mode="after")
    def _scorer_has_what_it_needs(self) -> Self:
        if self.scorer == "letter" and not self.columns.options:
            raise ValueError("scorer = 'letter' needs columns.options: the column with the options, or one for each")
        if (self.scorer == "regex") != bool(self.pattern):
            raise ValueError("pattern belongs to scorer = 'regex', which needs it")
        if self.pattern and (fault := fault_of(self.pattern)):
            raise ValueError(f"pattern: {fault}")
        if (self.scorer == "judge") != bool(self.judge.prompt):
            raise ValueError("judge.prompt belongs to scorer = 'judge', which needs it")
        if self.scorer != "judge" and not self.columns.answer:
            raise ValueError(f"columns.answer is empty, but scorer = {self.scorer!r} compares replies with it")
        return self

    @model_validator(mode="after")
    def _images_are_no_text(self) -> Self:
        for field, text in (("prompt", self.prompt), ("judge.prompt", self.judge.prompt)):
            if named := set(self.columns.image) & set(Template.parse(text).names):
                raise ValueError(
                    f"{field} has {{{named.pop()}}}, a column of images, which come first: leave it out, or write "
                    "<image> where one belongs"
                )
        return self

    @model_validator(mode="after")
    def _judge_sees_the_reply(self) -> Self:
        if self.judge.prompt and REPLY not in Template.parse(self.judge.prompt).names:
            raise ValueError("judge.prompt has no {reply}, so that the judge would not see what it grades")
        return self

    @property
    def hub_id(self) -> str:
        """The dataset of the hub of which a split is taken; empty where the data is a file or folder."""
        match = _HUB.fullmatch(self.data)
        return match[1] if match else ""

    def digest(self) -> str:
        """Of what scores depend on, but for where the data lies."""
        return digest(self.model_dump_json(exclude={"data", "title", "notes", "references"}, exclude_defaults=True))

    def toml(self) -> str:
        """The definition as a file."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_defaults=True))


def fault_of_name(name: str) -> str:
    """Why a name cannot be that of a benchmark; empty where it can."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return ""
    return f"{name!r}: use at most 100 letters, digits, '.', '_' and '-', starting with one of the first two"


def read(path: str) -> Definition:
    """The definition in a file, its data as an absolute path or URI.

    Raises:
        UserError: there is no such file, it is no TOML, or it defines no benchmark; a line for each fault.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: has more than {MOST_BYTES:,} bytes, which no definition needs: is it the data?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8: save it as UTF-8") from None
    definition = parse(text, path)
    if "://" in definition.data:
        return definition
    data = Path(path).absolute().parent / Path(definition.data).expanduser()
    return definition.model_copy(update={"data": str(data)})


def parse(text: str, place: str) -> Definition:
    """The definition that a text is.

    Args:
        place: of the text, for messages.

    Raises:
        UserError: it is no TOML, or defines no benchmark; a line for each fault.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{place}: not valid TOML: {error}") from None
    return validated(Definition, values, place)
