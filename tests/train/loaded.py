"""Loads what the ranks of tests need; the process that they are forked from imports this module."""

import torch

import tests.train.scenario  # noqa: F401
from cli_ray.train.deepspeed_private import import_deepspeed

import_deepspeed(torch.device("cpu"))
