"""What a benchmark is: where its items lie, what is asked, how a reply is read and how scores become numbers.

The types that benchmarks are written in and everything else passes around.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cli_ray.evals.scoring.reasoning import is_open, without_reasoning

Doc = Mapping[str, Any]
"""One row of a dataset in its official columns. Never written to."""

State = Literal["ok", "error", "truncated", "unparsed", "unjudged"]
Profile = Literal["lmms-eval/0.7.3", "vlmevalkit", "strict"]
PROFILES: tuple[Profile, ...] = ("lmms-eval/0.7.3", "strict")
"""Those that read replies to the prompts of lmms-eval."""
Prompts = Literal["lmms-eval", "vlmevalkit", "own"]
"""Whose words are asked: those of a kit, or of whoever wrote the benchmark."""

Messages = tuple[Mapping[str, str], ...]
"""A chat for a judge: `role` and `content` each."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered."""

    text: str
    finish: Literal["stop", "length", "error"] = "stop"
    """`length`: cut at max_new_tokens. `error`: generation failed; the text says why and is never scored."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What a scorer makes of one reply."""

    score: float | None
    """0 to 1 (MM-Vet's and LLaVA-W's judged points are scaled to that); None where there is nothing to score it by."""
    parsed: str = ""
    """What was read out of the reply; empty when nothing was."""
    rule: str = ""
    """The rule that fired, such as `letter at start`; shown to users."""
    state: Literal["ok", "unparsed"] = "ok"
    parts: Mapping[str, float] = field(default_factory=dict)
    """Further numbers of the sample that the aggregation needs."""


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One scored item."""

    id: str
    score: float | None
    parsed: str
    rule: str
    state: State
    """The first that holds of `error`, `unjudged`, `unparsed` and `truncated`; else `ok`."""
    truncated: bool = False
    """Whether the reply was cut at its longest, whatever the state."""
    stand_in: float | None = None
    """What the rules alone would give to an item that no judge has seen."""
    parts: Mapping[str, float] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)
    """The columns of the document that aggregation and submission need."""
    unit: str = ""
    """Items of one unit are scored together: all or none of them counts."""
    cluster: str = ""
    """Items of one cluster share an image or a group, so that their errors are not independent."""


Scorer = Callable[[Doc, str], Graded]
Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Source:
    """A split on the Hugging Face hub, and the same layout below a data root."""

    ids: tuple[str, ...]
    """Hub ids, the present one first; older scripts and caches use the others. None where the hub has no such items."""
    split: str
    config: str = ""

    @property
    def hub_id(self) -> str:
        """The present id; empty where there is none."""
        return self.ids[0] if self.ids else ""


@dataclass(frozen=True, slots=True)
class Judge:
    """How a judge, a language model behind an endpoint, scores replies that rules cannot."""

    prompt: Callable[[Doc, str], Messages | None]
    """From document and reply to what the judge is asked; None where rules decide."""
    read: Callable[[Doc, str, str], Graded | None]
    """From document, reply and the judge's answer to a score; None when that answer is nonsense."""
    max_tokens: int
    temperature: float = 0.0
    strict_read: Callable[[Doc, str, str], Graded | None] | None = None
    """Our reading of the answer where upstream's is wrong; the same as `read` without."""
    verdict_first: bool = False
    """Whether the verdict is on the first line, so that an answer may be cut behind it."""

    def reader(self, profile: Profile) -> Callable[[Doc, str, str], Graded | None]:
        """How answers are read under a profile, without their reasoning; one that is nothing else is nonsense."""
        read = self.strict_read if profile == "strict" and self.strict_read else self.read

        def verdict(doc: Doc, reply: str, answer: str) -> Graded | None:
            text = without_reasoning(answer)
            return read(doc, reply, text) if text and not is_open(text) else None

        return verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """What a submission file needs of an item."""

    id: str
    reply: str
    """Without its reasoning."""
    parsed: str
    facets: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """The file that the server of a hidden split takes."""

    filename: str
    write: Callable[[Sequence[Answer]], bytes]
    server: str
    """Where to hand it in."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who brought a benchmark that is none of ours; see `cli_ray.evals.own`."""

    place: str
    """The file or package, for people."""
    digest: str
    """Of all that its scores depend on but where its data lies: of another digest, it is another benchmark."""
    toml: str = ""
    """Its definition, which outputs keep; empty of one in Python."""
    module: str = ""
    """Of Python: the module or package whose code goes along to nodes that do not have it."""


def _answers(doc: Doc) -> str:
    """The column `answer` or `answers`, each answer of a list once."""
    value = doc.get("answer", doc.get("answers"))
    several = value if isinstance(value, list) else [] if value is None else [value]
    texts = [str(each["answer"] if isinstance(each, Mapping) else each) for each in several]
    return " | ".join(dict.fromkeys(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark; see `evals/benchmarks`."""

    name: str
    """On the command line, such as `docvqa-val`."""
    title: str
    """In tables, such as `DocVQA val`."""
    source: Source
    data: str = ""
    """Table, glob of tables, or folder: a path or URI. Else the items are where `source` says."""
    origin: Origin | None = None
    """Of one that is none of ours."""
    count: int | None
    """Items to expect after `keep`; None where there is no official set of them."""
    columns: tuple[str, ...]
    """Columns that are needed beside those of images."""
    image_columns: tuple[str, ...] = ("image",)
    """Columns of images; a column may hold one or a list of them, or nothing."""
    id_column: str = ""
    """Whose values name rows: a cell of images that holds one of them stands for the images of that row, as in tables
    of VLMEvalKit."""
    shown: Callable[[Doc], Sequence[str]] | None = None
    """The columns of images that a document shows, in its order; every column that is not empty without."""
    images_from: Source | None = None
    """Where the images are, if not beside the questions (GQA): a split of `id` and `image`."""
    image_key: str = ""
    """The column of the questions that names the image there."""
    keep: Callable[[Doc], bool] | None = None
    """Rows of the split that belong to the benchmark; all without."""
    sample_id: Callable[[Doc, int], str] = lambda doc, row: str(row)
    """From a document and its row in the split to an id that is unique in the benchmark."""
    prompts: Prompts = "lmms-eval"
    """The kit whose words `prompt` has and whose rules `score` has; called upstream here."""
    prompt: Callable[[Doc], str]
    """What is asked; images come before it unless it holds `<image>` marks."""
    question: str = "question"
    """The column of the bare question, for people."""
    gold: Callable[[Doc], str] = _answers
    """The right answer, for people; empty where it is hidden."""
    max_new_tokens: int
    """Decoding is greedy throughout."""
    score: Scorer
    """Reads a reply without its reasoning as upstream does. For a judged benchmark: the stand-in."""
    scores_reasoning: bool = False
    """Whether `score` gets the reply with its reasoning, since upstream's filter of the task comes before the cut."""
    strict: Scorer | None = None
    """Our reading where upstream's is wrong; without, `score` of what the reply has in `<answer>` or a box, if any."""
    stand_in: str = ""
    """What the stand-in of a judged benchmark is, for the label in the table."""
    judge: Judge | None = None
    facets: tuple[str, ...] = ()
    """Columns that `aggregate`, `unit` or `submission` need."""
    unit: Callable[[Doc], str] | None = None
    """Items that are scored together (MME's two questions on an image)."""
    cluster: Callable[[Doc], str] | None = None
    """Items that share an image or a group; without, items with equal images do."""
    aggregate: Callable[[Sequence[ScoredItem]], Metrics]
    """From scored samples (none without a score, no part of a unit) to metrics in the units of published tables:
    percent, or points for MME and OCRBench. Called with at least one sample."""
    strict_aggregate: Callable[[Sequence[ScoredItem]], Metrics] | None = None
    headline: str
    """The metric in the table; under `strict`, too, unless that has its own."""
    strict_headline: str = ""
    """The metric in the table under `strict`, where the authors' is another than upstream's."""
    linear: bool = False
    """Whether the headline is 100 times the mean score, so that its standard error needs no resampling."""
    strict_linear: bool | None = None
    """The same of the headline under `strict`, where it differs."""
    full_marks: float = 100.0
    """What the headline can reach."""
    doubtful_above: float | None = None
    """What no honest headline reaches, so that the table marks it."""
    notes: tuple[str, ...] = ()
    """How the protocol departs from the authors'; under the table."""
    upstream_notes: tuple[str, ...] = ()
    """The same, of what only upstream does."""
    references: Mapping[str, float] = field(default_factory=dict)
    """Published headline numbers by model."""
    submission: Submission | None = None
    """For splits whose answers are hidden; `score` then gives None."""

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column of the split that is read."""
        return self.columns + (() if self.images_from else self.image_columns)

    @property
    def headlines(self) -> str:
        """The metrics in the table, for lists of benchmarks."""
        return self.headline + (f" (strict: {self.strict_headline})" if self.strict_headline else "")

    def headline_of(self, profile: Profile) -> str:
        """The metric in the table under a profile."""
        return self.strict_headline if profile == "strict" and self.strict_headline else self.headline

    def is_linear(self, profile: Profile) -> bool:
        """Whether the headline under a profile is 100 times the mean score."""
        return self.linear if profile != "strict" or self.strict_linear is None else self.strict_linear

    def notes_of(self, profile: Profile) -> tuple[str, ...]:
        """How the protocol under a profile departs from the authors'."""
        return self.notes + (() if profile == "strict" else self.upstream_notes)

    def aggregator(self, profile: Profile) -> Callable[[Sequence[ScoredItem]], Metrics]:
        """How scores become metrics under a profile."""
        return self.strict_aggregate if profile == "strict" and self.strict_aggregate else self.aggregate
