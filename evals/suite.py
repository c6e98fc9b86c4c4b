"""The benchmarks by name, and suites of them. Everybody looks benchmarks up here.

A new benchmark is a file in `evals/benchmarks` and a line in `_LISTED`. Those that users bring come from `evals/own`.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pkgutil import resolve_name

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Prompts
from cli_ray.evals.vlmevalkit import VLMEVALKIT

_LISTED = (
    "ai2d:AI2D",
    "chartqa:CHARTQA",
    "docvqa:DOCVQA_VAL",
    "docvqa:INFOVQA_VAL",
    "textvqa:TEXTVQA_VAL",
    "ocrbench:OCRBENCH",
    "mme:MME",
    "mmbench:EN_DEV",
    "mmstar:MMSTAR",
    "mmmu:MMMU_VAL",
    "mathvista:MATHVISTA",
    "mmvet:MMVET",
    "scienceqa:SCIENCEQA_IMG",
    "seed:SEED_IMAGE",
    "gqa:GQA",
    "pope:POPE",
    "realworldqa:REALWORLDQA",
    "llava_wild:LLAVA_WILD",
    "vqav2:VQAV2_VAL",
    "vizwiz:VIZWIZ_VAL",
    "mmbench:CN_DEV",
    "mathverse:MATHVERSE",
    "hallusionbench:HALLUSIONBENCH",
    "cv_bench:CV_BENCH",
    "mmvp:MMVP",
    "blink:BLINK",
    "vstar:VSTAR",
    "docvqa:DOCVQA_TEST",
    "docvqa:INFOVQA_TEST",
    "textvqa:TEXTVQA_TEST",
    "mmbench:EN_TEST",
    "mmmu:MMMU_TEST",
    "vqav2:VQAV2_TEST",
    "vizwiz:VIZWIZ_TEST",
    "mmbench:CN_TEST",
    "synthetic:SYNTHETIC",
)
"""File and name of each in the order of tables: `paper18`, the others, splits whose answers are hidden, and drawn
pictures."""

_LOADED: list[Benchmark] = [resolve_name(f"cli_ray.evals.benchmarks.{place}") for place in _LISTED]
BENCHMARKS = {benchmark.name: benchmark for benchmark in _LOADED}

LLAVA15 = (
    "vqav2-val", "gqa", "vizwiz-val", "scienceqa-img", "textvqa-val", "pope", "mme", "mmbench-en-dev",
    "mmbench-cn-dev", "seed-image", "llava-wild", "mm-vet",
)  # fmt: skip
SUITES: dict[str, tuple[str, ...]] = {
    "paper18": tuple(BENCHMARKS)[:18],
    "llava15": LLAVA15,
    "vlmevalkit": tuple(name for name, one in VLMEVALKIT.items() if one.submission is None),
    "all": tuple(one.name for one in _LOADED if one.submission is None and one.source.ids),
}


def benchmark(name: str, prompts: Prompts = "lmms-eval") -> Benchmark:
    """A benchmark by name, ours with the prompts of a kit, or that of an installed package.

    Raises:
        UserError: there is none; names the nearest. Or it has no such prompts.
    """
    known = BENCHMARKS if name in BENCHMARKS else BENCHMARKS | plugged_in()
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.4)
        raise UserError(
            f"there is no benchmark {name!r}"
            + (f"; did you mean {' or '.join(near)}?" if near else "")
            + " `cli-ray eval --list` lists them"
        )
    _require_prompts([known[name]], prompts)
    return VLMEVALKIT[name] if prompts == "vlmevalkit" else known[name]


def prompts_of(benchmark: Benchmark) -> tuple[Prompts, ...]:
    """Whose prompts a benchmark can have."""
    return ("lmms-eval", "vlmevalkit") if benchmark.name in VLMEVALKIT else (benchmark.prompts,)


def plugged_in() -> dict[str, Benchmark]:
    """The benchmarks of installed packages.

    Raises:
        UserError: a package fails, or its benchmark has the name of one of ours.
    """
    from cli_ray.evals.own.python import plug_ins  # which scores alone do without

    return _not_ours(plug_ins())


def brought(files: Sequence[str]) -> dict[str, Benchmark]:
    """The benchmarks that TOML and Python files define, by name.

    Raises:
        UserError: a file defines none, or a name is given twice.
    """
    if not files:
        return {}
    from cli_ray.evals.own.files import benchmarks_of

    return _not_ours(one for file in dict.fromkeys(files) for one in benchmarks_of(file))


def chosen(
    suite: str, names: Sequence[str] = (), *, files: Sequence[str] = (), prompts: Prompts = "lmms-eval"
) -> list[Benchmark]:
    """The named benchmarks and those of files, or those of the suite when neither is given; each once.

    Args:
        suite: of which all are taken where nothing is named.
        names: of benchmarks.
        files: that define own benchmarks.
        prompts: whose prompts ours have.

    Raises:
        UserError: there is no such benchmark or suite, a file defines none, or some have no such prompts.
    """
    own = brought(files)
    if not names and not files:
        if suite not in SUITES:
            raise UserError(f"there is no suite {suite!r}, only {', '.join(SUITES)}")
        names = SUITES[suite]
    found = {name: own.get(name) or benchmark(name) for name in names} | own
    _require_prompts([*found.values()], prompts)
    return [VLMEVALKIT[name] if prompts == "vlmevalkit" else one for name, one in found.items()]


def _require_prompts(benchmarks: Sequence[Benchmark], prompts: Prompts) -> None:
    lacking = [one.name for one in benchmarks if prompts != "lmms-eval" and prompts not in prompts_of(one)]
    if lacking:
        raise UserError(
            f"there are no prompts {prompts!r} for {', '.join(lacking)}: take --suite vlmevalkit, or with --benchmarks "
            f"some of {', '.join(VLMEVALKIT)}"
        )


def _not_ours(found: Iterable[Benchmark]) -> dict[str, Benchmark]:
    own: dict[str, Benchmark] = {}
    for one in found:
        place = one.origin.place if one.origin else one.name
        if one.name in BENCHMARKS:
            raise UserError(f"{place}: name = {one.name!r} is that of a benchmark that comes along: take another")
        if one.name in own:
            raise UserError(f"{place}: name = {one.name!r} is defined twice: take another")
        own[one.name] = one
    return own
