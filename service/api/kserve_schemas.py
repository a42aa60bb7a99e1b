"""Bodies of the KServe v2 and model repository routes."""

from math import prod
from typing import Annotated, Literal, Self

import orjson
from pydantic import Field, field_validator, model_validator

from service.api.schemas import Body


class KserveServer(Body):
    """KServe's server metadata."""

    name: str
    version: str
    extensions: list[str]


class KserveTensor(Body):
    """KServe's description of a tensor."""

    name: str
    datatype: Literal["BYTES"] = "BYTES"
    shape: list[int] = Field(default_factory=lambda: [-1])


class KserveModel(Body):
    """KServe's model metadata."""

    name: str
    versions: list[str] = Field(description="The live configurations.")
    platform: str
    inputs: list[KserveTensor]
    outputs: list[KserveTensor]


class KserveLive(Body):
    """KServe's answer to a check of liveness."""

    live: bool


class KserveServerReady(Body):
    """KServe's answer to a check of readiness of the whole server."""

    ready: bool


class KserveReady(Body):
    """KServe's answer to a readiness check of a model."""

    name: str
    ready: bool


class RepositoryIndex(Body):
    """A request for the entries of the repository."""

    ready: bool = Field(default=False, description="List only what is READY.")


class RepositoryEntry(Body):
    """A configuration as a version of a model in Triton's repository index."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class LoadParameters(Body):
    """The one parameter of Triton's that is supported; it names a configuration instead of containing one."""

    config: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Name of a configuration, by itself or, as Triton's clients send it, in a JSON document: "
        '`{"config": NAME}` or `{"parameters": {"config": {"string_value": NAME}}}`.',
    )

    @field_validator("config")
    @classmethod
    def _name(cls, config: str | None) -> str | None:
        """Return the name that a JSON document contains; a string that is not a JSON object is a name itself."""
        if config is None or not config.lstrip().startswith("{"):
            return config
        try:
            document = orjson.loads(config)
        except orjson.JSONDecodeError:
            document = None
        match document:
            case {"config": str(name)} | {"parameters": {"config": {"string_value": str(name)}}}:
                if name and document in ({"config": name}, {"parameters": {"config": {"string_value": name}}}):
                    return name
        raise ValueError(
            'send the name of a configuration, or {"config": NAME}, or {"parameters": {"config": {"string_value": '
            "NAME}}}; other settings are not taken"
        )


class UnloadParameters(LoadParameters):
    """Parameters of unloading; `unload_dependents` has no effect, since nothing depends on a configuration."""

    unload_dependents: bool = False


class RepositoryLoad(Body):
    """A request to load a model, or one of its configurations."""

    parameters: LoadParameters = Field(default_factory=LoadParameters)


class RepositoryUnload(Body):
    """A request to unload a model, or one of its configurations."""

    parameters: UnloadParameters = Field(default_factory=UnloadParameters)


class InferTensor(Body):
    """The texts of a request."""

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=8)
    data: Annotated[list[str], Field(fail_fast=True)] = Field(description="The texts, in row-major order, not nested.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if prod(self.shape) != len(self.data):
            raise ValueError(f"the shape is not that of {len(self.data)} texts")
        return self


class InferOutputParameters(Body):
    """Parameters of a requested output; it is sent as JSON whatever they say."""

    binary_data: bool = False


class InferOutput(Body):
    """A requested output."""

    name: Literal["translation"]
    parameters: InferOutputParameters = Field(default_factory=InferOutputParameters)


class InferParameters(Body):
    """The languages, which a model with one pair does not need; outputs are sent as JSON whatever is asked."""

    source: str | None = Field(default=None, max_length=100, description="A code, or `auto`.")
    target: str | None = Field(default=None, max_length=100)
    binary_data_output: bool = False


class InferRequest(Body):
    """KServe's request for inference."""

    id: str | None = Field(default=None, max_length=200)
    inputs: list[InferTensor] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] = Field(default_factory=list, max_length=1)
    parameters: InferParameters = Field(default_factory=InferParameters)


class InferredTensor(Body):
    """The translations, in the shape of the texts."""

    name: Literal["translation"] = "translation"
    datatype: Literal["BYTES"] = "BYTES"
    shape: list[int]
    data: list[str]


class InferReply(Body):
    """KServe's reply of inference."""

    model_name: str
    model_version: str | None = Field(
        default=None, description="The configuration; absent where nothing was translated."
    )
    id: str | None = None
    outputs: list[InferredTensor]
