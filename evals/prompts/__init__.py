"""Texts of prompts in the official wording, so that scores compare: data, not ours. Benchmarks take them from here.

Sentences behind the questions of several benchmarks, and what judges are asked, a file each:
`mm_vet.txt`: few-shot prompt of MM-Vet (github.com/yuweihao/MM-Vet, Apache-2.0).
`llava_wild.txt`: review instruction of LLaVA-Bench (github.com/haotian-liu/LLaVA, Apache-2.0).
`mathvista.txt`: extraction examples of MathVista (github.com/lupantech/MathVista), as in lmms-eval 0.7.3 (Apache-2.0).
`mathverse.txt`: grading prompt of lmms-eval 0.7.3 (github.com/EvolvingLMMs-Lab/lmms-eval, MIT).
"""

from functools import cache
from importlib.resources import files

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."


@cache
def template(name: str) -> str:
    """The text of a judge's prompt, without the line break at the end of its file."""
    return (files(__name__) / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")
