"""`python -m cli_ray VERB ...`: the command line without its script, for jobs and for processes that start it."""

import sys

from cli_ray.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
