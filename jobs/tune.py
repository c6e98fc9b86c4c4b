"""A sweep as a Ray job: `ray job submit --working-dir . -- python jobs/tune.py SWEEP.toml [overrides]`.

Takes the arguments of `cli-ray tune`. Exits non-zero when the sweep fails, with the reason in the last line.
"""

import sys

from cli_ray.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
