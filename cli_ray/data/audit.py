"""What a dataset holds, by reading all of it the way training does, in flat memory.

`cli-ray data check` prints it, and whether training would stop by it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli_ray.config import DataConfig
from cli_ray.data.images import Limits, decode_all
from cli_ray.data.index import Index
from cli_ray.data.quarantine import allowed
from cli_ray.data.sample import BadDataError, BadSample, Encoded, Sample, Shrunk
from cli_ray.data.source import read_samples

EXAMPLES = 3
"""Bad samples kept for each reason."""
MAX_NAMES = 200
"""Names of what was not read that are kept for a source; those of hostile records have no end."""
LOST_EXAMPLES = 20
"""Those that others are lost with, for each reason."""

_BITS = 5
_SPREADS = ("width", "height", "length", "full_tokens", "shrunk_tokens")


@dataclass
class Distribution:
    """Counts of numbers, kept to five binary digits, so that any number of them takes a few kB."""

    counts: Counter[int] = field(default_factory=Counter)
    smallest: int | None = None
    largest: int | None = None

    def add(self, value: int) -> None:
        """Counts a number that is not negative."""
        shift = max(value.bit_length() - _BITS, 0)
        self.counts[value >> shift << shift] += 1
        self.smallest = value if self.smallest is None else min(self.smallest, value)
        self.largest = value if self.largest is None else max(self.largest, value)

    def quantile(self, share: float) -> int | None:
        """The number that `share` of all do not exceed, to about 3 %; None without numbers."""
        rest = share * self.counts.total()
        for value in sorted(self.counts):
            rest -= self.counts[value]
            if rest <= 0:
                return max(value, self.smallest or 0)
        return None

    def octaves(self) -> list[tuple[int, int, int]]:
        """A histogram by powers of two: low, high (exclusive), count."""
        bins: Counter[int] = Counter()
        for value, count in self.counts.items():
            bins[value.bit_length()] += count
        return [(1 << bits >> 1, 1 << bits, bins[bits]) for bits in range(min(bins), max(bins) + 1)] if bins else []

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        quantiles = {f"p{round(share * 100)}": self.quantile(share) for share in (0.05, 0.5, 0.95)}
        return {"min": self.smallest, **quantiles, "max": self.largest, "histogram": self.octaves()}


@dataclass
class SourceAudit:
    """What one source holds."""

    format: str
    shards: int
    MiB: float
    """Size of the shards; of JSON sources without the images beside them."""
    total: int = 0
    """Samples that the index counts, those that are lost with a shard included."""
    lost: int = 0
    """Of these, samples that the index knows to be lost."""
    empty: list[str] = field(default_factory=list)
    """Shards without any sample."""
    uncertain: list[str] = field(default_factory=list)
    """Shards that may have held more than is counted: nothing tells how many samples."""
    samples: int = 0
    """Samples read, bad ones included."""
    records: int = 0
    """Records read, which of those that the index knows to be lost there is none."""
    with_images: int = 0
    images: int = 0
    turns: int = 0
    """Turns of the assistant."""
    supervised: int = 0
    """Tokens that carry loss; only known with a model."""
    width: Distribution = field(default_factory=Distribution)
    """Of the images, pixels."""
    height: Distribution = field(default_factory=Distribution)
    """Of the images, pixels."""
    length: Distribution = field(default_factory=Distribution)
    """Of the samples: tokens, image tokens included, or characters without a model."""
    full_tokens: Distribution = field(default_factory=Distribution)
    """Of the images that were shrunk, as many as they would take without a budget."""
    shrunk_tokens: Distribution = field(default_factory=Distribution)
    """Of the images that were shrunk."""
    reasons: Counter[str] = field(default_factory=Counter)
    """What would be quarantined, by reason."""
    examples: defaultdict[str, list[BadSample]] = field(default_factory=lambda: defaultdict(list))
    """The first few of each reason."""
    left_out: tuple[str, ...] = ()
    """Files at its path that are not read, a line for each ending."""
    unread: Counter[str] = field(default_factory=Counter)
    """Samples by what of them was not read, such as `column width`."""
    remarks: Counter[str] = field(default_factory=Counter)
    """Samples by what of them was read otherwise than it stands."""

    def add_unread(self, sample: Sample | BadSample) -> None:
        """Notes what of a sample was not read."""
        names = [f"{part.kind} {part.name}" for part in set(sample.unread)]
        self.unread.update(name for name in names if name in self.unread or len(self.unread) < MAX_NAMES)
        if isinstance(sample, Sample):
            self.remarks.update(sample.remarks)

    def notes(self) -> list[str]:
        """What was passed over, read otherwise than it stands or cannot be known, a line each, for people."""
        return [
            *(f"not read: {name}, in {count:,} samples" for name, count in self.unread.most_common()),
            *(f"not read: {files}" for files in self.left_out),
            *(f"{remark}, in {count:,} samples" for remark, count in self.remarks.most_common()),
            *(f"nothing tells how many samples it held: {path}" for path in self.uncertain),
            *(f"holds no sample: {path}" for path in self.empty),
        ]

    @property
    def num_bad(self) -> int:
        """Samples that would be quarantined of those read."""
        return self.reasons.total()

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read."""
        return self.records >= self.total - self.lost

    @property
    def bad_in_all(self) -> float:
        """Samples that would be quarantined of all; where a part was read, as many of the rest as of that."""
        rest = 1.0 if self.is_whole else (self.total - self.lost) / max(1, self.records)
        return self.lost + (self.num_bad - self.lost) * rest

    def add_bad(self, sample: BadSample) -> None:
        """Counts a sample that would be quarantined."""
        self.samples += sample.samples
        self.reasons[sample.reason] += sample.samples
        if len(self.examples[sample.reason]) < (LOST_EXAMPLES if sample.samples > 1 else EXAMPLES):
            self.examples[sample.reason].append(sample)

    def add_good(self, sample: Sample, sizes: list[tuple[int, int]], length: int, supervised: int) -> None:
        """Counts a sample; sizes are width and height of its images."""
        self.samples += 1
        self.with_images += bool(sizes)
        self.images += len(sizes)
        self.turns += sum(message.role == "assistant" for message in sample.messages)
        self.supervised += supervised
        self.length.add(length)
        for width, height in sizes:
            self.width.add(width)
            self.height.add(height)

    def add_shrunk(self, image: Shrunk) -> None:
        """Counts an image that was shrunk, before and after."""
        self.full_tokens.add(image.full_tokens)
        self.shrunk_tokens.add(image.tokens)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {name: value for name, value in vars(self).items() if isinstance(value, int | float | str | list)}
        spread = {name: getattr(self, name).to_dict() for name in _SPREADS}
        examples = {reason: [sample.to_dict() for sample in samples] for reason, samples in self.examples.items()}
        notes = {"left_out": self.left_out, "unread": dict(self.unread), "remarks": dict(self.remarks)}
        return {**plain, **spread, "quarantined": dict(self.reasons), "examples": examples, **notes}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether training would stop, by the rule that training stops by."""

    bad: float
    """Samples of an epoch that would be quarantined."""
    samples: float
    """Samples of an epoch."""
    is_estimate: bool
    """Whether only a part was read."""
    is_above: bool
    """Whether these are more than `data.max_bad_share` allows."""
    is_uncertain: bool
    """Whether a shard was cut and nothing tells how much it held, at which training does not start."""

    @property
    def stops(self) -> bool:
        """Whether training would stop, or not start."""
        return self.is_above or self.is_uncertain


def judge(results: Sequence[SourceAudit], data: DataConfig) -> Verdict:
    """Holds what was found of the sources, in their order, against `data.max_bad_share`."""
    weights = [source.weight for source in data.sources]
    bad = sum(weight * result.bad_in_all for weight, result in zip(weights, results, strict=True))
    samples = sum(weight * result.total for weight, result in zip(weights, results, strict=True))
    return Verdict(
        bad,
        samples,
        is_estimate=not all(result.is_whole for result in results),
        is_above=bad > allowed(samples, data.max_bad_share),
        is_uncertain=data.max_bad_share < 1 and any(result.uncertain for result in results),
    )


def audit(
    index: Index, limits: Limits, encode: Callable[[Sample], Encoded | BadSample] | None, limit: int | None = None
) -> Iterator[tuple[str, SourceAudit]]:
    """Reads every sample once; after each unit yields its source's label and what was found so far.

    Args:
        index: of the sources.
        limits: of images.
        encode: for lengths in tokens; characters are counted without it.
        limit: records read of each source.
    """
    results = _of_index(index)
    for number in range(len(index)):
        unit = index.unit(number)
        source, result, damage = index.sources[unit.source], results[unit.source], index.damages.get(number)
        rest = unit.span.count if limit is None or damage else min(limit - result.records, unit.span.count)
        if rest:
            for sample in read_samples(source, unit.path, unit.span, unit.first, limits, high=rest):
                result.records += damage is None
                result.add_unread(sample)
                _examine(sample, result, limits, encode)
        yield source.label, result


def _of_index(index: Index) -> list[SourceAudit]:
    """What the index alone tells of each source."""
    results = []
    for number, (source, total) in enumerate(zip(index.sources, index.num_per_source(), strict=True)):
        mine = index.columns["source"] == number
        with_samples = set(index.columns["shard"][mine].tolist())
        damages = {unit: damage for unit, damage in index.damages.items() if mine[unit]}
        results.append(
            SourceAudit(
                format=source.format,
                shards=len(source.shards),
                MiB=sum(shard.size for shard in source.shards) / 2**20,
                total=total,
                lost=sum(damage.samples for damage in damages.values()),
                left_out=source.left_out,
                empty=[shard.path for i, shard in enumerate(source.shards) if i not in with_samples],
                uncertain=[index.unit(unit).path for unit, damage in damages.items() if not damage.is_known],
            )
        )
    return results


def _examine(
    sample: Sample | BadSample,
    result: SourceAudit,
    limits: Limits,
    encode: Callable[[Sample], Encoded | BadSample] | None,
) -> None:
    """Counts one sample."""
    if isinstance(sample, BadSample):
        result.add_bad(sample)
        return
    if encode is None:
        try:
            sizes = [image.size for image in decode_all(sample.images, limits)]
        except BadDataError as error:
            result.add_bad(BadSample(sample.id, sample.source, sample.where, error.reason, error.detail))
            return
        result.add_good(sample, sizes, sum(len(message.content) for message in sample.messages), 0)
        return
    row = encode(sample)
    if isinstance(row, BadSample):
        result.add_bad(row)
        return
    originals = row.sizes.tolist() if row.shrunk is None else [row.shrunk.size]
    sizes = [(width, height) for height, width in originals]
    if row.shrunk is not None:
        result.add_shrunk(row.shrunk)
    result.add_good(sample, sizes, len(row.input_ids), row.num_supervised)
