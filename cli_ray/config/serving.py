"""The config of a server: which model, on what of the cluster, and what a request may ask of it.

Read by `cli-ray serve`, and by Ray Serve from the `args` of `jobs/serve.yaml`.
"""

from pathlib import PurePosixPath
from typing import Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section
from cli_ray.config.evaluation import ReplicaConfig


class LimitsConfig(Section):
    """What a request may cost. One that asks for more is refused before it reaches the model."""

    queue: int = Field(default=128, ge=1)
    """Replies that are asked for at once, those being generated included; requests beyond get status 429."""
    body_MiB: float = Field(default=32.0, gt=0)
    """A request's body."""
    upload_s: float = Field(default=30.0, gt=0)
    """Seconds in which a body must arrive."""
    reply_s: float = Field(default=600.0, gt=0)
    """Seconds from a request to the end of its reply, the wait for a replica included."""
    text_characters: int = Field(default=200_000, ge=1)
    """Of all messages of a request; the model's context is held against their tokens later."""
    messages: int = Field(default=256, ge=1)
    """Messages of a request."""
    images: int = Field(default=8, ge=0)
    """Images of a request."""
    image_MiB: float = Field(default=16.0, gt=0)
    """An encoded image."""
    image_pixels: int = Field(default=50_000_000, ge=1)
    """Width x height of an image as a square of its longer side; refused before it is decoded."""
    new_tokens: int = Field(default=2048, ge=1)
    """Tokens of a reply; `max_tokens` of a request above it is refused."""
    choices: int = Field(default=8, ge=1)
    """Replies to a request (`n`)."""

    @property
    def body_bytes(self) -> int:
        """Bytes of a body at most."""
        return int(self.body_MiB * 2**20)

    @property
    def image_bytes(self) -> int:
        """Bytes of an encoded image at most."""
        return int(self.image_MiB * 2**20)


class ServeConfig(Section):
    """Serves a model with an OpenAI-compatible API on Ray Serve. The key that requests must bring is read from the
    environment variable CLI_RAY_API_KEY alone."""

    model: str
    """Exported folder that all nodes see, or hub id."""
    name: str = ""
    """What requests call the model; the last part of `model` when empty."""
    replica: ReplicaConfig = ReplicaConfig()
    min_replicas: int = Field(default=1, ge=1)
    """Replicas that are always there."""
    max_replicas: int = Field(default=1, ge=1)
    """Replicas at most; they come while more requests wait than fill a batch, and go when they are idle."""
    wait_ms: float = Field(default=10.0, ge=0)
    """Milliseconds that the first request of a batch waits for others."""
    image_urls: bool = False
    """Fetch images of http and https addresses, public ones alone; otherwise images come as data URLs only."""
    limits: LimitsConfig = LimitsConfig()

    @property
    def served_name(self) -> str:
        """What requests call the model."""
        return self.name or PurePosixPath(self.model).name

    @model_validator(mode="after")
    def _replicas_are_one_span(self) -> Self:
        if self.replica.count:
            raise ValueError("replica.count is of evaluations: set min_replicas and max_replicas")
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas = {self.max_replicas} is below min_replicas = {self.min_replicas}")
        return self
