"""Training, export and evaluation as a Ray job: `ray job submit --working-dir . -- python jobs/pipeline.py CONFIG ...`.

Takes the arguments of `cli-ray pipeline`. Exits non-zero when a stage fails, with the reason in the last line.
"""

import sys

from cli_ray.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["pipeline", *sys.argv[1:]]))
