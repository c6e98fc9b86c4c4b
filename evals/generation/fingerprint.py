"""What a model is, in 32 hex digits: records of one model are never taken for those of another.

An evaluation begins with it: it downloads a model of the hub, and names the commit that replicas load.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cli_ray.cluster import copy_note
from cli_ray.errors import UserError
from cli_ray.evals.records import digest
from cli_ray.inference.weights import no_model

PATTERNS = (
    "*.safetensors", "*.safetensors.index.json", "*.jinja", "*.model", "added_tokens.json", "chat_template.json",
    "config.json", "generation_config.json", "merges.txt", "preprocessor_config.json", "processor_config.json",
    "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
)  # fmt: skip
"""Files that decide what a model answers."""
MORE_PATTERNS = ("additional_chat_templates/*.jinja", "tekken.json", "video_preprocessor_config.json", "vocab.txt")
"""Others of models of other families than ours."""
_PIECE_BYTES = 256 * 2**20
_READ_BYTES = 4 * 2**20
_THREADS = 8


def config_of(model: str) -> dict[str, Any]:
    """The content of a model's config.json, before the rest of one on the hub is downloaded.

    Args:
        model: folder or hub id.

    Raises:
        UserError: there is no such folder and no such model on the hub, it has no config that can be read, or is no
            model that is evaluated.
    """
    # Imports torch, which judging does without.
    from cli_ray.inference.foreign import check_kind

    if Path(model).is_dir():
        path = Path(model) / "config.json"
        if not path.is_file():
            raise no_model(Path(model))
    else:
        path = _of_hub(model, ["config.json"]) / "config.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} cannot be read, it may be half a download: {error}") from error
    check_kind(model, values)
    return values


def patterns_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the files that decide what a model answers.

    Args:
        config: the content of its config.json.
    """
    from cli_ray.inference.foreign import is_foreign

    return PATTERNS + MORE_PATTERNS if is_foreign(config.get("model_type")) else PATTERNS


def processor_config_of(model: str) -> dict[str, Any] | None:
    """The content of a model's processor_config.json; None if it has none.

    Args:
        model: folder or hub id.

    Raises:
        UserError: there is no such folder and no such model on the hub.
    """
    folder = Path(model) if Path(model).is_dir() else _of_hub(model, ["processor_config.json"])
    path = folder / "processor_config.json"
    return json.loads(path.read_text()) if path.is_file() else None


def resolve(model: str, patterns: Sequence[str] = PATTERNS) -> tuple[Path, str]:
    """Where a model lies on this machine, and which state of it; one on the hub is downloaded first, or found cached.

    Args:
        model: folder or hub id.
        patterns: files of one on the hub.

    Returns:
        The folder, and the commit of a hub model, which loads the same files on other machines; "" for a folder.

    Raises:
        UserError: there is no such folder and no such model on the hub.
    """
    if Path(model).is_dir():
        return Path(model), ""
    folder = _of_hub(model, patterns)
    return folder, folder.name


def fingerprint(model: str, patterns: Sequence[str] = PATTERNS) -> str:
    """Hash of the weights, configs, tokenizer and chat template of a model. Only names and contents count.

    Args:
        model: folder or hub id.
        patterns: files that count.

    Raises:
        UserError: there is no such model, or it has no weights or no config.
    """
    folder, _ = resolve(model, patterns)
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if "config.json" not in {path.name for path in files} or ".safetensors" not in {path.suffix for path in files}:
        raise no_model(folder)
    pieces = [(path, start) for path in files for start in range(0, max(1, path.stat().st_size), _PIECE_BYTES)]
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(lambda piece: _hash(*piece), pieces))
    names = [path.relative_to(folder).as_posix() for path, _ in pieces]
    return digest(*(part for pair in zip(names, hashes, strict=True) for part in pair))


def _of_hub(model: str, patterns: Sequence[str]) -> Path:
    """The folder of those files of a hub model that match."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=list(patterns)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        note = copy_note(model)
        raise UserError(
            f"model = {model!r} is neither a folder nor a model that the hub gives: {error}{note}"
        ) from error


def _hash(path: Path, start: int) -> bytes:
    """Of one piece of a file, in flat memory."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        file.seek(start)
        left = _PIECE_BYTES
        while left and (data := file.read(min(left, _READ_BYTES))):
            state.update(data)
            left -= len(data)
    return state.digest()
