"""The environment of drills with tiny models on CPU, which the nodes and commands that they start inherit."""

import os

ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",  # the runs are short
    "TOKENIZERS_PARALLELISM": "false",
}


def be_quiet() -> None:
    """Sets it."""
    os.environ.update(ENVIRONMENT)
