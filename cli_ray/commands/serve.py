"""`cli-ray serve --model DIR_OR_RUN`: serves a model with an OpenAI-compatible API until it is stopped."""

from pydantic import Field

from cli_ray.config.load import arguments
from cli_ray.config.serving import ServeConfig


class ServeArguments(ServeConfig):
    """Serves a model with an OpenAI-compatible API on Ray Serve, on the running cluster or on this machine, until
    Ctrl-C. The key that requests must bring is read from the environment variable CLI_RAY_API_KEY alone."""

    model: str
    """Exported folder, run folder (its newest checkpoint is exported first) or hub id."""
    host: str = "127.0.0.1"
    """Address to listen at, on the head of the cluster; 0.0.0.0 for all of the machine, which needs a key."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port to listen at."""


def main(words: list[str]) -> None:
    """Serves a model."""
    settings = arguments(ServeArguments, words, "cli-ray serve")

    from cli_ray.serve.server import keep_serving
    from cli_ray.train.checkpoint.exported import exported_model

    model = exported_model(settings.model)
    name = settings.name or ServeConfig(model=settings.model).served_name
    config = ServeConfig(**settings.model_dump(exclude={"host", "port"}) | {"model": model, "name": name})
    keep_serving(config, settings.host, settings.port)
