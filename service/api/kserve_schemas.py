"""Bodies of the KServe v2 and model repository routes."""

from typing import Annotated, Literal

import orjson
from pydantic import ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from service.api.schemas import INTEGRAL, Body, Texts, started


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


class InferTensorParameters(Body):
    """Parameters of an input."""

    binary_data_size: int | None = Field(
        default=None, ge=0, description="Bytes of the input behind the head of JSON, in place of `data`."
    )


class InferTensor(Body):
    """The texts of a request. The schema is that of a request of JSON alone: what is binary has none."""

    model_config = ConfigDict(json_schema_extra={"required": ["name", "datatype", "shape", "data"]})

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[Annotated[int, Field(ge=0), INTEGRAL]] = Field(
        min_length=1, max_length=8, description="The reply repeats it if it has as many texts."
    )
    data: Texts | SkipJsonSchema[None] = Field(
        default=None, description="The texts, in row-major order, not nested; or binary, behind the head."
    )
    parameters: SkipJsonSchema[InferTensorParameters] = Field(default_factory=InferTensorParameters)


class InferOutputParameters(Body):
    """Parameters of a requested output."""

    binary_data: bool | None = Field(default=None, description="Whether it is sent behind a head of JSON.")


class InferOutput(Body):
    """A requested output."""

    name: Literal["translation"]
    parameters: InferOutputParameters = Field(default_factory=InferOutputParameters)


class InferParameters(Body):
    """The languages, which a model with one pair does not need, and the form of the output."""

    source: Annotated[str, Field(max_length=100, json_schema_extra=started(enum="sources"))] | None = Field(
        default=None, description="A code, or `auto`."
    )
    target: Annotated[str, Field(max_length=100, json_schema_extra=started(enum="targets"))] | None = None
    binary_data_output: bool = Field(default=False, description="What an output's `binary_data` is by default.")


class InferRequest(Body):
    """KServe's request for inference. KServe's SDK repeats the model of the address in it."""

    model_name: SkipJsonSchema[str | None] = None
    id: str | None = Field(default=None, max_length=200)
    inputs: list[InferTensor] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] = Field(default_factory=list, max_length=1)
    parameters: InferParameters = Field(default_factory=InferParameters)


class InferredParameters(Body):
    """Parameters of an output that is sent behind the head of JSON."""

    binary_data_size: int


class InferredTensor(Body):
    """The translations, in the shape of the texts."""

    name: Literal["translation"] = "translation"
    datatype: Literal["BYTES"] = "BYTES"
    shape: list[int]
    data: list[str] | None = Field(default=None, description="Absent if it is sent behind the head of JSON.")
    parameters: InferredParameters | None = None


class InferReply(Body):
    """KServe's reply of inference."""

    model_name: str
    model_version: str | None = Field(
        default=None, description="The configuration; absent where nothing was translated."
    )
    id: str | None = None
    outputs: list[InferredTensor]
