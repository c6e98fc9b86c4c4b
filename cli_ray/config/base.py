"""The base of every config section."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen config section: unknown keys are errors, the text under a field is its help, and errors show no values,
    which may be secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
