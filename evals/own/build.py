"""The benchmark of a definition. `files` calls it for commands, `cli_ray.evals.results.definitions` for old results."""

from collections.abc import Callable, Mapping, Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Metrics, Origin, ScoredItem, Source
from cli_ray.evals.items.cells import text_of
from cli_ray.evals.own.definition import OPTIONS, REPLY, Definition
from cli_ray.evals.own.rules import answers, gold_letter, judge, options, scorers
from cli_ray.evals.own.template import Template
from cli_ray.evals.scoring import choice
from cli_ray.evals.scoring.means import grouped, percent

UNITS = "units"
"""The headline of a benchmark with units."""
_METRICS = {"anls": "anls", "judge": "score"}


def build(definition: Definition, place: str) -> Benchmark:
    """The benchmark that a definition describes.

    Args:
        place: the file, for people.
    """
    columns, prompt = definition.columns, Template.parse(definition.prompt)
    grade = Template.parse(definition.judge.prompt) if definition.judge.prompt else None
    metric = _METRICS.get(definition.scorer, "accuracy")
    score, strict = scorers(definition)
    return Benchmark(
        name=definition.name,
        title=definition.title or definition.name,
        source=Source((definition.hub_id,) if definition.hub_id else (), definition.split, definition.config),
        data="" if definition.hub_id else definition.data,
        origin=Origin(place, definition.digest(), toml=definition.toml()),
        count=None,
        columns=_columns(definition, prompt, grade),
        image_columns=columns.image,
        id_column=columns.id,
        keep=_kept(definition.keep) if definition.keep else None,
        sample_id=_id_in(columns.id) if columns.id else lambda doc, row: str(row),
        prompts="own",
        prompt=_fill(definition, prompt),
        question=columns.question,
        gold=lambda doc: _gold(definition, doc),
        max_new_tokens=definition.max_new_tokens,
        score=score,
        strict=strict,
        stand_in="right answer contained in the reply" if grade else "",
        judge=judge(definition.judge, _fill(definition, grade)) if grade else None,
        facets=definition.facets,
        unit=_of_row(definition.unit) if definition.unit else None,
        cluster=_of_row(definition.cluster) if definition.cluster else None,
        aggregate=_aggregate(metric, definition.facets, by_unit=bool(definition.unit)),
        headline=UNITS if definition.unit else metric,
        linear=not definition.unit,
        notes=definition.notes,
        references=definition.references,
    )


def _columns(definition: Definition, prompt: Template, grade: Template | None) -> tuple[str, ...]:
    """Every column that is read beside those of images."""
    columns = definition.columns
    graded = (name for name in grade.names if name != REPLY) if grade else ()
    named = [name for name in (*prompt.names, *graded) if name != OPTIONS or not columns.options]
    single = (columns.id, columns.question, columns.answer, definition.unit, definition.cluster)
    names = (*named, *single, *columns.options, *definition.facets, *definition.keep)
    return tuple(dict.fromkeys(filter(None, names)))


def _fill(definition: Definition, template: Template) -> Callable[..., str]:
    """From a row, and from a reply where a judge is asked, to the text of a template."""

    def fill(doc: Doc, reply: str | None = None) -> str:
        values = {name: text_of(doc.get(name)) for name in template.names}
        if definition.columns.options and OPTIONS in values:
            values[OPTIONS] = choice.lines(options(definition, doc))
        return template.fill(values if reply is None else values | {REPLY: reply})

    return fill


def _gold(definition: Definition, doc: Doc) -> str:
    if definition.scorer == "letter":
        letter = gold_letter(definition, doc)
        return f"{letter}. {options(definition, doc)[letter]}"
    return " | ".join(dict.fromkeys(answers(definition, doc))) if definition.columns.answer else ""


def _kept(wanted: Mapping[str, tuple[str, ...]]) -> Callable[[Doc], bool]:
    folded = {name: {value.casefold() for value in values} for name, values in wanted.items()}
    return lambda doc: all(text_of(doc[name]).casefold() in values for name, values in folded.items())


def _id_in(column: str) -> Callable[[Doc, int], str]:
    def sample_id(doc: Doc, row: int) -> str:
        if not (value := text_of(doc[column]).strip()):
            raise ValueError(f"the column {column!r} is empty")
        return value

    return sample_id


def _of_row(column: str) -> Callable[[Doc], str]:
    return lambda doc: text_of(doc[column])


def _aggregate(metric: str, facets: Sequence[str], *, by_unit: bool) -> Callable[[Sequence[ScoredItem]], Metrics]:
    """In percent: the mean score over all, and for each value of each facet as `accuracy/FACET=VALUE`; and the share of
    units all of whose items are right."""

    def aggregate(samples: Sequence[ScoredItem]) -> Metrics:
        metrics = {metric: percent(samples)}
        if by_unit:
            units = grouped(samples, lambda sample: sample.unit).values()
            whole = [min(sample.score or 0.0 for sample in unit) for unit in units]
            metrics[UNITS] = 100 * sum(whole) / len(whole)
        for facet in facets:
            groups = grouped(samples, lambda sample, facet=facet: text_of(sample.facets[facet]))  # type: ignore[misc]
            metrics |= {f"{metric}/{facet}={value}": percent(group) for value, group in groups.items()}
        return metrics

    return aggregate
