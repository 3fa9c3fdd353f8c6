"""What every result and record has in common, on screen, in JSON and on disk."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Immutable, no unknown fields, NaN and infinities written as null."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="null", populate_by_name=True
    )

    def to_json(self) -> str:
        """The record as indented JSON text, ending in a newline."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"
