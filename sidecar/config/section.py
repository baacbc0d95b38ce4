"""What every mapping of the configuration has in common."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from sidecar.config.fragments import Fragment


class Section(BaseModel):
    """A mapping with known fields and no others; `section:` with nothing under it has its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    combinations: ClassVar[tuple[Fragment, ...]] = ()
    """What JSON Schema can say of fields that go together or exclude each other; the checks say all of it."""

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        return {} if value is None else value
