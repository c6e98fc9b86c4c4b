"""The base of a run: the models on the hub or in folders that it started from.

A run that went on with other frozen weights, or was exported with them, would be a model that nobody trained. So the
trainer pins the base at the first start, and every later start and export checks it. Checking needs no transformers.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.text import say
from cli_ray.train.run_folder import RunFolder

BASE = "base.json"
"""Of the run folder."""
PATTERNS = (
    "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json", "*.jinja",
    "*.model", "added_tokens.json", "chat_template.json", "config.json", "merges.txt", "preprocessor_config.json",
    "processor_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
)  # fmt: skip
"""Files in a folder that decide what a model is."""
OWN = ("", "tiny")
"""Names of what no hub and no folder gives."""
_FIELDS = ("checkpoint", "vision_tower", "language_model")
_THREADS = 8


class Origin(BaseModel):
    """Where a model came from at the first start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Folder or hub id."""
    commit: str = ""
    """Of a model on the hub."""
    sha256: str = ""
    """Of the files of a folder."""

    def __str__(self) -> str:
        return f"commit {self.commit}" if self.commit else f"sha256 {self.sha256}"


def pin_base(folder: RunFolder, model: ModelConfig) -> ModelConfig:
    """Writes what the run starts from into its folder; later starts get exactly that. Says so where workers had begun
    without it, for nothing tells whether theirs was the same.

    Returns:
        The model section with the commits of the first start.

    Raises:
        UserError: a folder holds other files than at the first start.
    """
    if folder.read(BASE) is None:
        base = base_of(model)
        if base and any(event["event"] == "begin" for event in folder.events()):
            origins = ", ".join(f"model.{field} = {origin.name!r} ({origin})" for field, origin in base.items())
            say(
                f"{folder.uri} has no {BASE}, so the base that its earlier starts trained on is unknown: from this "
                f"start on it is {origins}"
            )
        folder.write(BASE, json.dumps({field: origin.model_dump() for field, origin in base.items()}, indent=2))
    return check_base(folder, model)


def check_base(folder: RunFolder, model: ModelConfig) -> ModelConfig:
    """The model section with the commits of the run's first start; as it is, with a word, where none were written.

    Raises:
        UserError: a folder holds other files than at the first start.
    """
    text = folder.read(BASE)
    named = [f"model.{field} = {name!r}" for field in _FIELDS if (name := getattr(model, field)) not in OWN]
    if text is None and named:
        say(f"{folder.uri} has no {BASE}: nothing tells whether {', '.join(named)} is still what it was trained on")
    base = _parsed(text)
    pinned = {field: f"{origin.name}@{origin.commit}" for field, origin in base.items() if origin.commit}
    model = model.model_copy(update=pinned)
    for field, then in base.items():
        now = _origin(then.name, model.revision) if then.sha256 else then
        if now.sha256 != then.sha256:
            raise UserError(
                f"model.{field} = {then.name!r} is not what {folder.uri} was started from: its files have {now}, those "
                f"of the first start had {then} ({BASE}); put those back, or give a new run another name"
            )
    return model


def is_on_hub(folder: RunFolder) -> bool:
    """Whether the run started from a model on the hub, which may be out of reach at any later start."""
    return any(origin.commit for origin in _parsed(folder.read(BASE)).values())


def base_of(model: ModelConfig) -> dict[str, Origin]:
    """By field of the model section, the commit of a model on the hub, or the hash of a folder's files.

    Raises:
        UserError: a model that cannot be found.
    """
    from cli_ray.model.build import explained
    from cli_ray.model.checkpoint import checkpoint_values
    from cli_ray.model.original_llava import is_original, tower_of

    names = {field: (getattr(model, field), model.revision) for field in _FIELDS}
    with explained(model):
        if model.checkpoint not in OWN and is_original(values := checkpoint_values(model)):
            names["vision_tower"] = tower_of(model, values)[:2]
        return {field: _origin(*named) for field, named in names.items() if named[0] not in OWN}


def _parsed(text: str | None) -> dict[str, Origin]:
    return {field: Origin.model_validate(values) for field, values in json.loads(text or "{}").items()}


def _origin(name: str, revision: str) -> Origin:
    if not Path(name).is_dir():
        from cli_ray.model.location import commit_of, located

        identity = located(name, revision)["pretrained_model_name_or_path"]
        return Origin(name=identity, commit=commit_of(name, revision))
    files = sorted({path for pattern in PATTERNS for path in Path(name).glob(pattern)})
    with ThreadPoolExecutor(_THREADS) as pool:
        lines = [f"{path.name} {digest}" for path, digest in zip(files, pool.map(_digest, files), strict=True)]
    return Origin(name=name, sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
