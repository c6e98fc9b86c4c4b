"""Local paths from the root, for workers and replicas have another working directory."""

from pathlib import Path

from cli_ray.config.data import SourceConfig
from cli_ray.config.run import RunConfig


def absolute(path: str) -> str:
    """The path from the root, `~` being the home folder; a URI, or nothing, stays as it is."""
    return path if not path or "://" in path else str(Path(path).expanduser().absolute())


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The config with its local paths made absolute."""

    def source(one: SourceConfig) -> SourceConfig:
        folders = {"image_folder": absolute(one.image_folder), "image_roots": tuple(map(absolute, one.image_roots))}
        return one.model_copy(update={"path": absolute(one.path), "name": one.label, **folders})

    model = config.model
    parts = {name: getattr(model, name) for name in ("checkpoint", "vision_tower", "language_model")}
    local = {name: absolute(path) for name, path in parts.items() if path and Path(path).is_dir()}
    return config.model_copy(
        update={
            "runs_dir": absolute(config.runs_dir),
            "model": model.model_copy(update=local),
            "data": config.data.model_copy(update={"sources": tuple(map(source, config.data.sources))}),
            "validation": config.validation.model_copy(
                update={"sources": tuple(map(source, config.validation.sources))}
            ),
        }
    )
