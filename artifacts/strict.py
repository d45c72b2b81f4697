"""What every record that is stored has in common."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and closed: a key nobody knows is an error, not a comment."""

    model_config = ConfigDict(extra="forbid", frozen=True)
