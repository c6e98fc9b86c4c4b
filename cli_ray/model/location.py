"""Where a model lies, and the config that is there: a folder, or an id on the hub with its revision.

Whoever reads a checkpoint or a part of one asks here.
"""

from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from cli_ray.errors import UserError


def located(name: str, revision: str) -> dict[str, str]:
    """The arguments of `from_pretrained` that name a model.

    Args:
        name: folder or hub id; `id@revision` names a state of its own.
        revision: of the hub, where the name has none.
    """
    if Path(name).is_dir():
        return {"pretrained_model_name_or_path": name, "revision": revision}
    identity, _, own = name.partition("@")
    return {"pretrained_model_name_or_path": identity, "revision": own or revision}


def config_values(name: str, revision: str) -> dict[str, Any]:
    """The content of a model's config.json.

    Raises:
        OSError: there is no such model, or it has no config.json.
    """
    values: dict[str, Any] = PreTrainedConfig.get_config_dict(**located(name, revision))[0]
    if not values:
        raise OSError(f"{name} has no config.json")
    return values


def commit_of(name: str, revision: str) -> str:
    """The commit of a model on the hub.

    Raises:
        OSError: there is no such model, or it has no config.json.
    """
    where = located(name, revision)
    path = cached_file(where["pretrained_model_name_or_path"], "config.json", revision=where["revision"])
    commit = extract_commit_hash(path, None)
    if commit is None:
        raise OSError(f"{name} has no commit")
    return str(commit)


def read_config(name: str, revision: str, field: str) -> Any:
    """The config of a model that transformers knows.

    Args:
        field: that names the model, for the message.

    Raises:
        OSError: there is no such model, or it has no config.json.
        UserError: it is of a type that transformers does not know.
    """
    kind = config_values(name, revision).get("model_type")
    if kind not in CONFIG_MAPPING:
        raise UserError(
            f"{field} = {name!r}: its config.json has model_type = {kind!r}, which transformers "
            f"{transformers.__version__} does not know"
        )
    return AutoConfig.from_pretrained(**located(name, revision))
