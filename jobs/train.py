"""Training as a Ray job: `ray job submit --working-dir . -- python jobs/train.py CONFIG.toml [overrides]`.

Takes the arguments of `cli-ray train`. Exits non-zero when the run fails, with the reason in the last line.
"""

import sys

from cli_ray.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
