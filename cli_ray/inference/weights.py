"""Whether the weights in a folder are whole and of a format that is read, told from names and headers alone.

Evaluations ask before a replica starts, and `load` before it reads them.
"""

import json
from pathlib import Path

from cli_ray.errors import UserError

_OTHERS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf")
"""Weights in formats that are not read."""


def check_weights(folder: Path) -> None:
    """Refuses weights that are not whole.

    Args:
        folder: of a model.

    Raises:
        UserError: a file is cut short or is not there.
    """
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read, it may be half a download: {error}") from error
    for index in folder.glob("*.safetensors.index.json"):
        try:
            named = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index} cannot be read, it may be half a download: {error!r}") from error
        if lacking := sorted(str(name) for name in named if not (folder / str(name)).is_file()):
            raise UserError(f"{folder} lacks {len(lacking)} files of weights, such as {lacking[0]}: download it again")


def no_model(folder: Path) -> UserError:
    """What to say of a folder without a config or without weights."""
    others = sorted(path.name for pattern in _OTHERS for path in folder.glob(pattern))
    if others and not any(folder.glob("*.safetensors")):
        return UserError(
            f"{folder} has its weights in {others[0]}, which is not read: pickles run code when they are opened, and "
            "other formats are not Hugging Face's. Take a release with config.json and *.safetensors"
        )
    return UserError(f"{folder} holds no model: it needs config.json and *.safetensors; export the run first")
