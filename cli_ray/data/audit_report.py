"""The report of `cli-ray data check`: what each source of a dataset holds, and whether training would stop at it."""

from rich.console import Console
from rich.markup import escape

from cli_ray.data.audit import Distribution, SourceAudit, Verdict
from cli_ray.text import counted

_TITLES = {"messages": "JSON conversations", "llava": "JSON conversations"}
"""Of formats whose names tell what people call their fields: both are read alike."""


def print_report(audits: dict[str, SourceAudit], verdict: Verdict, max_bad_share: float, unit: str) -> None:
    """Prints what each source holds, and the verdict.

    Args:
        audits: by the label of the source.
        verdict: on all of them.
        max_bad_share: that the verdict was made with.
        unit: of the lengths, `tokens` or `characters`.
    """
    console = Console(soft_wrap=True)
    for label, result in audits.items():
        _print_source(console, label, result, unit)
    _print_verdict(console, verdict, max_bad_share)


def _print_source(console: Console, label: str, result: SourceAudit, unit: str) -> None:
    kind = _TITLES.get(result.format, result.format)
    size = f"{counted(result.shards, 'shard')}, {result.MiB:,.1f} MiB"
    console.print(f"\n[bold]{escape(label)}[/bold]: {kind}, {size}")
    good = result.samples - result.num_bad
    read = "samples" if result.is_whole else f"of {result.total:,} samples read"
    console.print(f"  {result.samples:,} {read}: {good:,} good, {result.num_bad:,} would be quarantined")
    supervised = f", {result.supervised:,} supervised tokens" if unit == "tokens" else ""
    console.print(
        f"  {result.with_images:,} with images ({result.images:,}), {good - result.with_images:,} text only, "
        f"{result.turns:,} turns of the assistant{supervised}"
    )
    if result.images:
        console.print(f"  width   {_spread(result.width)} pixels")
        console.print(f"  height  {_spread(result.height)} pixels")
    console.print(f"  length  {_spread(result.length)} {unit}")
    _print_histogram(console, result.length)
    if shrunk := result.shrunk_tokens.counts.total():
        console.print(f"  {shrunk:,} of {result.images:,} images are shrunk, and take fewer tokens:")
        console.print(f"    whole   {_spread(result.full_tokens)}")
        console.print(f"    shrunk  {_spread(result.shrunk_tokens)}")
    for reason, count in result.reasons.most_common():
        console.print(f"  [red]{reason}[/red] {count:,}")
        for sample in result.examples[reason]:
            lost = f": about {sample.samples:,} samples" if sample.samples > 1 else ""
            console.print(f"    {sample.id} ({sample.where}): {sample.detail}{lost}", markup=False, highlight=False)
    for line in result.notes():
        console.print(f"  {line}", markup=False, highlight=False)


def _spread(numbers: Distribution) -> str:
    quantiles = [numbers.quantile(share) for share in (0.05, 0.5, 0.95)]
    low, middle, high = (f"{value:,}" if value is not None else "-" for value in quantiles)
    return f"min {numbers.smallest or 0:,}, 5% {low}, median {middle}, 95% {high}, max {numbers.largest or 0:,}"


def _print_histogram(console: Console, numbers: Distribution) -> None:
    octaves = numbers.octaves()
    most = max((count for _, _, count in octaves), default=0)
    for low, high, count in octaves:
        bar = "█" * round(40 * count / most) or ("▏" if count else "")
        console.print(f"  {low:>9,} - {high - 1:<9,} {bar} {count:,}", highlight=False)


def _print_verdict(console: Console, verdict: Verdict, max_bad_share: float) -> None:
    share = verdict.bad / verdict.samples if verdict.samples else 0.0
    about = "about " if verdict.is_estimate else ""
    console.print(
        f"\n{about}{verdict.bad:,.0f} of {verdict.samples:,.0f} samples ({share:.2%}) would be quarantined, "
        f"{'above' if verdict.is_above else 'within'} data.max_bad_share = {max_bad_share:.2%}"
        + (": training would stop" if verdict.is_above else "")
    )
    if verdict.is_uncertain:
        console.print("training would not start: nothing tells how many samples a shard that cannot be read held")
    if verdict.is_estimate:
        console.print("estimated from the part that was read, the first samples of each source")
