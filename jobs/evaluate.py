"""Evaluation as a Ray job: `ray job submit --working-dir . -- python jobs/evaluate.py --model DIR_OR_RUN ...`.

Takes the arguments of `cli-ray eval`. Exits non-zero when it fails, with the reason in the last line.
"""

import sys

from cli_ray.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
