"""The JSON objects of the protocol."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serving.schemas import Answer

MAX_COUNT = 2**31 - 1
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Datatype = Literal["BOOL", "BYTES", "FP32", "UINT8"]


class RequestParameters(BaseModel):
    """What is read of the parameters of a request; others are ignored."""

    binary_data_output: bool = Field(
        default=False, description="whether outputs that do not say otherwise are binary"
    )


class InputParameters(BaseModel):
    """What is read of the parameters of an input; others are ignored."""

    binary_data_size: Count | None = Field(
        default=None, description="bytes of the tensor's data, which follows the JSON object"
    )
    shared_memory_region: Any = Field(default=None, description="not supported")


class OutputParameters(BaseModel):
    """What is read of the parameters of an output; others are ignored."""

    binary_data: bool | None = Field(
        default=None, description="whether the output's data follows the JSON object"
    )
    classification: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = Field(
        default=None, description="number of classes to name instead of their probabilities"
    )
    shared_memory_region: Any = Field(default=None, description="not supported")


class RequestInput(BaseModel):
    """One input tensor."""

    name: str
    datatype: str = Field(description="UINT8, FP32 or BYTES")
    shape: list[Count]
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(
        default=None, description="row by row, nested or flat; BYTES in base64"
    )


class RequestOutput(BaseModel):
    """One output that is asked for."""

    name: str
    parameters: OutputParameters = OutputParameters()


class InferenceRequest(BaseModel):
    """What a model is asked."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = Field(
        default=None, description="all outputs of the model if not given"
    )


class AnswerParameters(Answer):
    """Parameters of an output."""

    binary_data_size: Count


class ResponseOutput(Answer):
    """One output tensor."""

    name: str
    datatype: Datatype
    shape: tuple[Count, ...]
    parameters: AnswerParameters | None = None
    data: list[Any] | None = Field(default=None, description="row by row, flat")


class InferenceResponse(Answer):
    """What a model answers."""

    model_name: str
    model_version: str | None = None
    id: str | None = Field(default=None, description="that of the request")
    outputs: tuple[ResponseOutput, ...]


class TensorMetadata(Answer):
    """Name, type and shape of an input or output; -1 is any number."""

    name: str
    datatype: Datatype
    shape: tuple[Annotated[int, Field(ge=-1, le=MAX_COUNT)], ...]


class ModelMetadata(Answer):
    """What a model takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ModelReady(Answer):
    """Whether a model answers."""

    name: str
    ready: bool


class ServerMetadata(Answer):
    """What the server is."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ServerLive(Answer):
    """Whether the server runs."""

    live: bool


class ServerReady(Answer):
    """Whether the server answers requests."""

    ready: bool


class ErrorDocument(Answer):
    """Why a request was refused."""

    error: str
    code: str = Field(description="the code of the refusal, as at other addresses")
