"""The arguments of the demo, apart from it so that `cli-ray demo` reads them before torch is loaded."""

from pathlib import Path

from pydantic import Field

from cli_ray.config.base import Section


class DemoArguments(Section):
    """Trains plain LLaVA and CLI of the same small size on drawn pictures, with two Ray Train workers and DeepSpeed
    ZeRO-2, asks both about pictures that neither has seen, and prints losses, scores and the paired difference."""

    output: Path = Path("runs/demo")
    """Folder for shards, runs and models. What is complete there is not done again."""
    steps: int = Field(default=300, ge=1)
    """Optimiser steps of each of the two trainings, of 64 samples."""
    train_samples: int = Field(default=9600, ge=64)
    """Pictures to train on, two questions each; half in tar and half in Parquet shards."""
    held_out_samples: int = Field(default=600, ge=3)
    """Pictures to ask about, two questions each, none of them in the training set."""
    seed: int = Field(default=0, ge=0)
    """Seed of pictures, weights and the order of the stream."""
