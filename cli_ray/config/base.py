"""The base of every config section."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
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
    """The schema with a guard before each number and each switch, which pydantic would read from text too."""
    if isinstance(schema, list | tuple):
        return type(schema)(_guarded(one) for one in schema)
    if not isinstance(schema, dict):
        return schema
    if (guard := _GUARDS.get(schema.get("type", ""))) is not None:
        return core_schema.no_info_before_validator_function(guard, schema)
    if schema.get("type") == "function-before" and schema["function"].get("function") in _GUARDS.values():
        return schema  # of a section in this one
    return {key: value if key == "default" else _guarded(value) for key, value in schema.items()}


class Section(BaseModel):
    """A frozen config section: unknown keys are errors, the text under a field is its help, and errors show no values,
    which may be secrets. A number or a switch is one, not text that reads as one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = _guarded(handler(source))
        return schema
