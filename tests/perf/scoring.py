"""What scoring costs: time and memory of `import cli_ray.evals`, and replies scored per second.

    python -m tests.perf.scoring [--imports 9] [--rounds 60]

Imports are timed in new processes, in turns, beside a bare interpreter; medians count. Of lmms-eval 0.7.3 only what
scores VQAv2 and MME is imported, by the oracle of the parity tests, with stubs for its heavy dependencies: a lower
bound of what its package takes. Scores are those of the parity tests: the same made-up replies to the same documents,
by ours with all that makes a sample of it, and by upstream's function for one item.
"""

import argparse
import copy
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cli_ray.evals.benchmark import Reply
from cli_ray.evals.score import score_one
from cli_ray.evals.suite import benchmark
from tests.evals import cases_choice, cases_short, cases_yes_no
from tests.evals.parity import Document, Parity
from tests.evals.replies import made_up

IMPORTS = {
    "bare python": "pass",
    "numpy": "import numpy",
    "evals": "import cli_ray.evals",
    "lmms_eval, two tasks by the oracle": (
        "from tests.evals import oracle; oracle.load('tasks.vqav2.utils'); oracle.load('tasks.mme.utils')"
    ),
    "lmms_eval.tasks": "import lmms_eval.tasks",
}
MEASURE = r"""
import json, re, sys, time
before = time.perf_counter(), time.process_time()
{statement}
seconds = time.perf_counter() - before[0], time.process_time() - before[1]
memory = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
heavy = sorted({{name.partition(".")[0] for name in sys.modules}} & {{"torch", "ray", "numpy", "pandas", "pyarrow"}})
print(json.dumps([*seconds, memory, heavy]))
"""
NAMES = ("vqav2-val", "textvqa-val", "docvqa-val", "chartqa", "pope", "mme", "mmmu-val", "realworldqa")


@dataclass(frozen=True)
class Import:
    """An import in a new process."""

    seconds: float
    cpu_seconds: float
    memory: float
    """Highest RSS, MiB."""
    heavy: list[str]
    """Heavy packages that it brings in."""


def imported(statement: str) -> Import | str:
    """What an import takes, or the last line of its error."""
    command = [sys.executable, "-c", MEASURE.format(statement=statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return Import(*json.loads(done.stdout.splitlines()[-1]))


def tell_imports(times: int) -> None:
    """Prints a table."""
    found = [(name, imported(statement)) for _ in range(times) for name, statement in IMPORTS.items()]
    print("import                             |     s | CPU s | max RSS, MiB | brings in")
    for name in IMPORTS:
        runs = [one for of, one in found if of == name]
        good = [one for one in runs if isinstance(one, Import)]
        if not good:
            print(f"{name:34} | {runs[0]}")
            continue
        seconds, cpu = median(one.seconds for one in good), median(one.cpu_seconds for one in good)
        memory = median(one.memory for one in good)
        print(f"{name:34} | {seconds:5.3f} | {cpu:5.3f} | {memory:12.1f} | {', '.join(good[0].heavy)}")


def per_second(work: Sequence[tuple[Document, str]], score: Callable[[Document, str], Any], times: int = 5) -> float:
    """The best rate of a few passes over all replies."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        for doc, reply in work:
            score(doc, reply)
        took.append(time.perf_counter() - began)
    return len(work) / min(took)


def tell_scores(parity: Parity, rounds: int) -> None:
    """Prints how fast a benchmark is scored by both."""
    draw = random.Random(parity.name)
    docs = [doc for _ in range(rounds) for doc in parity.docs(draw)]
    work = [(doc, made_up(draw, parity.words(doc)).strip()) for doc in docs]
    one = benchmark(parity.name)
    ours = per_second(work, lambda doc, reply: score_one(one, doc, "", Reply(reply), None, "lmms-eval/0.7.3"))
    theirs = ""
    if parity.theirs:
        # Some of upstream's functions write to the document.
        theirs = f"{per_second(copy.deepcopy(work), parity.theirs):14,.0f}"
    print(f"{parity.name:12} | {len(work):7,} | {ours:12,.0f} | {theirs}")


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imports", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    tell_imports(arguments.imports)
    print("\nbenchmark    | replies | ours, 1/s    | lmms-eval, 1/s")
    for parity in (*cases_short.PARITIES, *cases_yes_no.PARITIES, *cases_choice.PARITIES):
        if parity.name in NAMES:
            tell_scores(parity, arguments.rounds)


if __name__ == "__main__":
    main()
