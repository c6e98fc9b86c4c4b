"""The benchmarks, a file each, with the splits that share its columns and rules.

A new one is a file here and a line in `evals/suite.py`. What it may say is in `evals/benchmark.py`; `gqa.py` is among
the shortest. A few items in `evals/miniature/items` let it be tried without its data.
"""
