"""The base class of all records that are stored."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
