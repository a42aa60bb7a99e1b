"""Bodies of the /admin routes."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from models.format.schema import MAX_PLANES
from service.api.schemas import INTEGRAL, Body, ConfigurationInfo, PairInfo, Quality
from service.live.canary import Report
from service.live.configurations import ConfigurationChoice
from service.live.history import Event
from service.translation.cost import ModelIdentity

Planes = Annotated[int, Field(ge=1, le=MAX_PLANES), INTEGRAL]
Glob = Annotated[str, Field(min_length=1, max_length=200)]
MAX_GLOBS = 1000


class MemoryInfo(Body):
    """Resident bytes of the process, and the limit that a swap must respect (null: none)."""

    process_rss_bytes: int
    limit_bytes: int | None


class InstalledModel(Body):
    """A model directory and whether it is served."""

    name: str
    state: Literal["live", "loading", "unloaded", "bad"]
    reason: str | None = Field(description="What is wrong with the directory; null if nothing is.")
    source_languages: list[str]
    target_languages: list[str]
    active: str | None = Field(description="The active configuration; null if the model is not served.")
    saved: bool = Field(description="Whether a restart would restore what is served of it.")


class InstalledReply(Body):
    """The model directories and the language pairs that are served."""

    models: list[InstalledModel]
    pairs: list[PairInfo]
    memory: MemoryInfo


class ModelMove(Body):
    """A model that was loaded or unloaded, the time it took, and the language pairs that are served now."""

    name: str
    result: Literal["ok", "unchanged"]
    active: str | None = Field(
        description="The active configuration, or the last one of an unloaded model; null if there was none."
    )
    milliseconds: float
    pairs: list[PairInfo]
    saved: bool = Field(description="Whether a restart would restore this state.")
    rss_bytes_before: int
    rss_bytes_after: int = Field(description="Includes what still answers requests in flight.")


class LayerInfo(Body):
    """The part of a block that belongs to one layer."""

    layer: int
    planes: list[int]
    bytes: int


class BlockInfo(Body):
    """A block of the model: embedding, encoder.self_attention, encoder.ffn and so on."""

    block: str
    planes: list[int] = Field(description="Plane counts in use; several if frequent pieces have more planes.")
    bytes: int = Field(description="Planes, scales, biases and layer norms.")
    layers: list[LayerInfo]


class LiveInfo(Body):
    """A live configuration and its role."""

    config: str
    role: Literal["active", "canary", "loaded"]
    bits_per_weight: float
    model_bytes: int


class AdminModelReply(Body):
    """A model's live configurations, block by block, those it could serve, and its history."""

    name: str
    active: ModelIdentity
    model_bytes: int
    blocks: list[BlockInfo]
    live: list[LiveInfo]
    canary: Report | None
    memory: MemoryInfo
    saved: bool = Field(description="Whether a restart would restore this state.")
    history: list[Event] = Field(description="The last 256 changes and refusals, oldest first.")
    configurations: list[ConfigurationInfo]


_CHOICES = ("config", "planes", "memory_budget_bytes")
_GIVEN: dict[str, Any] = {"not": {"type": "null"}}
# `oneOf` would say the same, but generators of clients make three types of it, without the other fields.
_NOT_ONE: list[Any] = [
    {"properties": {name: {"type": "null"} for name in _CHOICES}},
    *({"required": list(two), "properties": dict.fromkeys(two, _GIVEN)} for two in itertools.combinations(_CHOICES, 2)),
]


class ConfigRequest(Body):
    """A configuration, given by exactly one of config, planes and memory_budget_bytes, and how to switch to it."""

    model_config = ConfigDict(json_schema_extra={"not": {"anyOf": _NOT_ONE}})

    config: str | None = Field(default=None, min_length=1, max_length=200, description="Name of a configuration.")
    planes: Annotated[dict[Glob, Planes], Field(min_length=1, max_length=MAX_GLOBS)] | None = Field(
        default=None,
        description="Planes by glob over blocks or matrices; the last match wins, the rest is as by default.",
        examples=[{"decoder.*.ffn": 1}],
    )
    memory_budget_bytes: Annotated[int, Field(ge=1), INTEGRAL] | None = Field(
        default=None, description="Selects the configuration with the best measured BLEU whose bytes fit."
    )
    policy: Literal["availability", "resource"] = Field(
        default="availability",
        description="availability loads beside the active configuration; resource unloads it first, and requests wait.",
    )
    canary_percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Starts a canary with this percentage of the requests that pin nothing.",
    )

    @field_validator("planes", mode="before")
    @classmethod
    def _few(cls, planes: Any) -> Any:
        if isinstance(planes, dict) and len(planes) > MAX_GLOBS:  # one error, not one for each of them
            raise ValueError(f"give up to {MAX_GLOBS:,} globs")
        return planes

    @model_validator(mode="after")
    def _one(self) -> "ConfigRequest":
        if sum(choice is not None for choice in (self.config, self.planes, self.memory_budget_bytes)) != 1:
            raise ValueError("give exactly one of config, planes and memory_budget_bytes")
        return self

    @property
    def choice(self) -> ConfigurationChoice:
        """How the configuration is chosen."""
        return ConfigurationChoice(self.config, self.planes, self.memory_budget_bytes)


class ConfigReply(Body):
    """A finished change: the active configuration before and after, what is live, and the memory of the process."""

    result: Literal["ok", "unchanged"]
    live: list[LiveInfo]
    saved: bool = Field(description="Whether a restart would restore this state.")
    rss_bytes_before: int
    rss_bytes_after: int = Field(description="Includes what still answers requests in flight.")
    before: ModelIdentity
    after: ModelIdentity
    bytes_before: int
    bytes_after: int
    blocks: list[BlockInfo]
    milliseconds: float
    quality: Quality
    warning: str | None = Field(description="A sentence if the configuration translates badly or is not measured.")


class ConfigPreview(Body):
    """The configuration that a change would load, its cost and its quality."""

    config: str
    bits_per_weight: float
    bytes: int
    blocks: list[BlockInfo]
    quality: Quality
    warning: str | None = Field(description="A sentence if the configuration translates badly or is not measured.")
