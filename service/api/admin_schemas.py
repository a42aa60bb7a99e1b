"""Bodies of the /admin routes."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from service.api.schemas import Body, ConfigurationInfo, PairInfo, Quality
from service.live.canary import Report
from service.live.configurations import ConfigurationChoice
from service.live.history import Event
from service.translation.cost import ModelIdentity

Planes = Annotated[int, Field(ge=1, le=8)]
Glob = Annotated[str, Field(min_length=1, max_length=200)]
MAX_GLOBS = 1000


class MemoryInfo(Body):
    """Resident bytes of the process, and the most that a swap may bring it to (null: nothing limits it)."""

    process_rss_bytes: int
    limit_bytes: int | None


class InstalledModel(Body):
    """A model directory: what it is, and whether it is served."""

    name: str
    state: Literal["live", "loading", "unloaded", "bad"]
    reason: str | None = Field(description="What is wrong with it; null if nothing is.")
    source_languages: list[str]
    target_languages: list[str]
    active: str | None = Field(description="The configuration that answers; null if the model isn't served.")
    saved: bool = Field(description="Whether what is served of it would survive a restart.")


class InstalledReply(Body):
    """The model directories that there are, and what can be translated now."""

    models: list[InstalledModel]
    pairs: list[PairInfo]
    memory: MemoryInfo


class ModelMove(Body):
    """A model that is served from now on, or no longer, what that took and what can be translated now."""

    name: str
    result: Literal["ok", "unchanged"]
    active: str | None = Field(description="The configuration that answers, or did; null if none did.")
    milliseconds: float
    pairs: list[PairInfo]
    saved: bool = Field(description="Whether this state would survive a restart.")
    rss_bytes_before: int
    rss_bytes_after: int = Field(description="What still answers requests in flight is in it.")


class LayerInfo(Body):
    """One layer's part of a block."""

    layer: int
    planes: list[int]
    bytes: int


class BlockInfo(Body):
    """A block of the model: embedding, encoder.self_attention, encoder.ffn and so on."""

    block: str
    planes: list[int] = Field(description="Plane counts in use; several where frequent words have more.")
    bytes: int = Field(description="Planes, scales, biases and layer norms.")
    layers: list[LayerInfo]


class LiveInfo(Body):
    """A live configuration and why it is live."""

    config: str
    role: Literal["active", "canary", "loaded"]
    bits_per_weight: float
    model_bytes: int


class AdminModelReply(Body):
    """What serves, block by block, what could, and how it came to this."""

    name: str
    active: ModelIdentity
    model_bytes: int
    blocks: list[BlockInfo]
    live: list[LiveInfo]
    canary: Report | None
    memory: MemoryInfo
    saved: bool = Field(description="Whether this state would survive a restart.")
    history: list[Event] = Field(description="The last 256 changes and refusals, oldest first.")
    configurations: list[ConfigurationInfo]


class ConfigRequest(Body):
    """Exactly one of config, planes and memory_budget_bytes; how, and for which share of the requests."""

    config: str | None = Field(default=None, min_length=1, max_length=200, description="Name of a configuration.")
    planes: Annotated[dict[Glob, Planes], Field(min_length=1, max_length=MAX_GLOBS)] | None = Field(
        default=None,
        description="Planes by glob over blocks or matrices, the last match wins; the rest is as in the default one.",
        examples=[{"decoder.*.ffn": 1}],
    )
    memory_budget_bytes: int | None = Field(
        default=None, ge=1, description="Serve the configuration of the best measured BLEU whose bytes fit."
    )
    policy: Literal["availability", "resource"] = Field(
        default="availability",
        description="availability loads beside what serves; resource drops that first, and requests wait meanwhile.",
    )
    canary_percent: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Not a swap yet: give it this share of the requests that pin nothing, until promote or rollback.",
    )

    @field_validator("planes", mode="before")
    @classmethod
    def _few(cls, planes: Any) -> Any:
        if isinstance(planes, dict) and len(planes) > MAX_GLOBS:  # before an error is made for each of them
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
    saved: bool = Field(description="Whether this state would survive a restart.")
    rss_bytes_before: int
    rss_bytes_after: int = Field(description="What still answers requests in flight is in it.")
    before: ModelIdentity
    after: ModelIdentity
    bytes_before: int
    bytes_after: int
    blocks: list[BlockInfo]
    milliseconds: float
    quality: Quality
    warning: str | None = Field(description="A sentence if the configuration translates badly or is unmeasured.")


class ConfigPreview(Body):
    """What a change would make live, and what it would cost and give."""

    config: str
    bits_per_weight: float
    bytes: int
    blocks: list[BlockInfo]
    quality: Quality
    warning: str | None = Field(description="A sentence if the configuration translates badly or is unmeasured.")
