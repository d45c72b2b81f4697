"""What the schemas of answers have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NPY = "application/x-npy"
"""Media type of arrays, as `numpy.save` writes them."""


NDJSON = "application/x-ndjson"
"""Media type of lines, each of which is a JSON document."""


PNG = "image/png"
"""Media type of pictures that the server draws."""


Share = Annotated[float, Field(ge=0, le=1)]


class Answer(BaseModel):
    """Base class of all answers, which are immutable."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Stamp(Answer):
    """The model that gave an answer."""

    name: str
    hash: str = Field(description="sha256 of the ONNX graph that was run")
    synthetic: bool = Field(description="trained on generated pictures: for trying things out only")


class Size(Answer):
    """Size of a picture, in pixels."""

    width: int
    height: int


class ProblemDocument(Answer):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    picture: int | None = Field(default=None, description="index of the picture at fault, from 0")
    name: str | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="name of that picture: of the file, or of the member of an archive",
    )

    @property
    def reason(self) -> str:
        """The detail without the index of the picture."""
        return self.detail.removeprefix(f"picture {self.picture}: ")
