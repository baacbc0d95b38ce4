"""What every mapping of the configuration has in common."""

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A mapping with known fields and no others; `section:` with nothing under it has its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        return {} if value is None else value
