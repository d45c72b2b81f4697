"""What the schemas of answers have in common."""

from typing import Annotated, Any, Self

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


class Entry(Answer):
    """One picture of a request that is answered picture by picture (`errors=each`)."""

    index: int | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only with `errors=each` or as a line: index of the picture in the request, "
        "from 0",
    )
    name: str | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only with `errors=each` or as a line, and if the request names its pictures: "
        "that of the file, or the path in an archive",
    )

    def at(self, index: int, name: str | None) -> Self:
        """Return the same entry for the picture with that index (from 0) and that name."""
        return self.model_copy(update={"index": index, "name": name})


class RefusedPicture(Entry):
    """A picture that is not answered, among others that may be."""

    problem: ProblemDocument

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """Return the entry of the picture that a refusal with this content names.

        Without a picture, it is the last line of an answer that could not be completed.
        """
        problem = ProblemDocument.model_validate(content)
        return cls(index=problem.picture, name=problem.name, problem=problem)

    def at(self, index: int, name: str | None) -> Self:
        """See `Entry.at`."""
        detail = f"picture {index}: {self.problem.reason}"
        problem = {"picture": index, "name": name, "detail": detail}
        at = super().at(index, name)
        return at.model_copy(update={"problem": self.problem.model_copy(update=problem)})
