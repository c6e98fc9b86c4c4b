"""The base of every config section, and the types of its values that could hold a secret.

Called by all modules that define a section. A config is stored beside its results, so that it must hold no secret.
"""

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def _number(value: object) -> object:
    if isinstance(value, str | bool):
        raise PydanticCustomError("number", "must be a number, without quotes")
    return value


def _switch(value: object) -> object:
    if not isinstance(value, bool):
        raise PydanticCustomError("switch", "must be true or false, without quotes")
    return value


_GUARDS = {"int": _number, "float": _number, "bool": _switch}


def _guarded(schema: Any) -> Any:
    """The schema with a guard before each number and each switch, for pydantic would accept text that reads as one."""
    if isinstance(schema, list | tuple):
        return type(schema)(_guarded(item) for item in schema)
    if not isinstance(schema, dict):
        return schema
    if (guard := _GUARDS.get(schema.get("type", ""))) is not None:
        return core_schema.no_info_before_validator_function(guard, schema)
    if schema.get("type") == "function-before" and schema["function"].get("function") in _GUARDS.values():
        return schema  # guarded already, as a part of a nested section
    return {key: value if key == "default" else _guarded(value) for key, value in schema.items()}


class Section(BaseModel):
    """A frozen config section.

    Unknown keys are errors, the text under a field is its help, and errors show no values, which may be secrets. Text
    that reads as a number or a switch is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    lists_fields: ClassVar[str] = "`cli-ray train --help`"
    """What lists the fields, for the message about an unknown one."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = _guarded(handler(source))
        return schema


_LOGIN = re.compile(r"://(?:\[[^\]]*\]|[^/?#:@\[]*):(?!\d+(?:[/?#]|$))[^@]*@")
"""`user:password@`; a password may hold slashes, and digits alone after the colon are a port."""
_SECRET_OPTION = re.compile(
    r"[?&][^=&]*(?:secret|token|passw|signature|(?:access|account|api)_?key|\bsig\b|\bkey\b)[^=&]*=", re.IGNORECASE
)


def _without_secrets(uri: str) -> str:
    """Refuses URIs of folders and files with a password or key. Messages hold no part of the URI."""
    if "://" in uri and (_LOGIN.search(uri) or _SECRET_OPTION.search(uri)):
        raise ValueError(
            "holds a password or key, which would be stored with the results: take it out and put it into the "
            "environment variables that the store reads, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return uri


def _without_key(url: str) -> str:
    """Refuses addresses of endpoints with a login or a query, where a key may stand. Messages hold no part of it."""
    if re.search(r"[@?#]", url):
        raise ValueError(
            "holds a login or a query, which would be stored with the results: give the bare address and put the "
            "key into the environment variable CLI_RAY_MODEL_API_KEY, that of a judge into CLI_RAY_JUDGE_API_KEY"
        )
    return url


Uri = Annotated[str, AfterValidator(_without_secrets)]
"""A path or pyarrow URI without credentials; a user name alone (`hdfs://user@host`) and other options may stay."""
EndpointUrl = Annotated[str, AfterValidator(_without_key)]
"""Address of an endpoint, without login, query and fragment."""
