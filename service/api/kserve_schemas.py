"""Bodies of the KServe v2 and model repository routes."""

from typing import Literal

from pydantic import Field

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

    config: str | None = Field(default=None, min_length=1, max_length=200, description="Name of a configuration.")


class UnloadParameters(LoadParameters):
    """Parameters of unloading; `unload_dependents` has no effect, since nothing depends on a configuration."""

    unload_dependents: bool = False


class RepositoryLoad(Body):
    """A request to load a model, or one of its configurations."""

    parameters: LoadParameters = Field(default_factory=LoadParameters)


class RepositoryUnload(Body):
    """A request to unload a model, or one of its configurations."""

    parameters: UnloadParameters = Field(default_factory=UnloadParameters)
