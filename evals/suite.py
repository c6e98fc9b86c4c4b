"""The benchmarks by name, and suites of them. Everybody looks benchmarks up here.

A new benchmark is a file in `evals/benchmarks` and a line in `_LISTED`.
"""

from collections.abc import Sequence
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
    """A benchmark by name, with the prompts of a kit.

    Raises:
        UserError: there is none; names the nearest. Or it has no such prompts.
    """
    if name not in BENCHMARKS:
        near = get_close_matches(name, BENCHMARKS, n=3, cutoff=0.4)
        raise UserError(
            f"there is no benchmark {name!r}"
            + (f"; did you mean {' or '.join(near)}?" if near else "")
            + " `cli-ray eval --list` lists them"
        )
    _require_prompts([name], prompts)
    return VLMEVALKIT[name] if prompts == "vlmevalkit" else BENCHMARKS[name]


def prompts_of(name: str) -> tuple[Prompts, ...]:
    """The kits whose prompts a benchmark has."""
    return ("lmms-eval", "vlmevalkit") if name in VLMEVALKIT else ("lmms-eval",)


def chosen(suite: str, names: Sequence[str] = (), prompts: Prompts = "lmms-eval") -> list[Benchmark]:
    """The named benchmarks, or those of the suite when none is named; each once, with the prompts of a kit.

    Raises:
        UserError: there is no such benchmark or suite, or some have no such prompts.
    """
    if not names and suite not in SUITES:
        raise UserError(f"there is no suite {suite!r}, only {', '.join(SUITES)}")
    found = [benchmark(name).name for name in dict.fromkeys(names or SUITES[suite])]
    _require_prompts(found, prompts)
    return [benchmark(name, prompts) for name in found]


def _require_prompts(names: Sequence[str], prompts: Prompts) -> None:
    lacking = [name for name in names if prompts not in prompts_of(name)]
    if lacking:
        raise UserError(
            f"there are no prompts {prompts!r} for {', '.join(lacking)}: take --suite vlmevalkit, or with --benchmarks "
            f"some of {', '.join(VLMEVALKIT)}"
        )
