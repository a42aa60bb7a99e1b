"""The desired state of a model: which configurations are live, which one is active, which one is the canary."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from models.format.directory import ModelDirectory
from models.format.schema import Segment, UnavailableConfiguration
from models.format.typed_json import decode_json
from service.live.configurations import Choice, by_allocation, by_name


class CanaryConflict(ValueError):
    """The operation needs a canary that does not run, or a running canary is in its way."""


@dataclass(frozen=True, slots=True)
class Desired:
    """An immutable state: `active` answers requests without a pin, `canary` takes a share of them.

    `loaded` are live beside them, for requests that pin one. A swap goes from one state to the next, a restart back to
    the last one.
    """

    active: Choice
    loaded: tuple[Choice, ...] = ()
    canary: Choice | None = None
    canary_percent: float = 0.0

    @property
    def choices(self) -> dict[str, Choice]:
        """All configurations that are to be live, by name, the active one first."""
        wanted = [self.active, *self.loaded, *([self.canary] if self.canary else [])]
        return {choice.name: choice for choice in wanted}

    def activate(self, choice: Choice) -> "Desired":
        """Make another one active; the one before goes unless it is loaded.

        Raises:
            CanaryConflict: a canary runs.
        """
        if self.canary is not None:
            raise CanaryConflict(f"A canary of {self.canary.name} runs; promote it or roll it back first.")
        return replace(self, active=choice)

    def load(self, choice: Choice) -> "Desired":
        """Have one more live beside the active one."""
        return replace(self, loaded=(*(other for other in self.loaded if other != choice), choice))

    def unload(self, name: str) -> "Desired":
        """Have one live no longer.

        Raises:
            UnavailableConfiguration: it isn't loaded.
            CanaryConflict: it is the active one or the canary.
        """
        if name in (self.active.name, self.canary.name if self.canary else None):
            raise CanaryConflict(f"{name} answers requests; make another one active, or roll the canary back, first.")
        if name not in self.choices:
            raise UnavailableConfiguration(f"{name} is not loaded; loaded are {', '.join(self.choices)}.")
        return replace(self, loaded=tuple(choice for choice in self.loaded if choice.name != name))

    def try_out(self, choice: Choice, percent: float) -> "Desired":
        """Start a canary with `percent` (above 0, at most 100) of the requests without a pin, or change its share.

        Raises:
            CanaryConflict: another canary runs, or it is the active one already.
        """
        if self.canary not in (None, choice):
            raise CanaryConflict(f"A canary of {self.canary.name} runs; promote it or roll it back first.")
        if choice == self.active:
            raise CanaryConflict(f"{choice.name} is the active configuration already; it can't be its own canary.")
        return replace(self, canary=choice, canary_percent=percent)

    def promote(self) -> "Desired":
        """Make the canary the active one.

        Raises:
            CanaryConflict: no canary is running.
        """
        return replace(self.roll_back(), active=self._canary())

    def roll_back(self) -> "Desired":
        """End the canary.

        Raises:
            CanaryConflict: no canary is running.
        """
        self._canary()
        return replace(self, canary=None, canary_percent=0.0)

    def _canary(self) -> Choice:
        if self.canary is None:
            raise CanaryConflict("There is no canary; start one with canary_percent.")
        return self.canary


@dataclass(frozen=True)
class _Written:
    """A choice as JSON: its name, or the planes row by row of a custom one."""

    config: str | None
    allocation: dict[str, tuple[Segment, ...]] | None


@dataclass(frozen=True)
class _Document:
    """A desired state as JSON."""

    active: _Written
    loaded: tuple[_Written, ...]
    canary: _Written | None
    canary_percent: float


def to_json(directory: ModelDirectory, desired: Desired) -> dict[str, Any]:
    """Convert to what `from_json` reads, for a JSON encoder."""
    return asdict(
        _Document(
            active=_write(directory, desired.active),
            loaded=tuple(_write(directory, choice) for choice in desired.loaded),
            canary=_write(directory, desired.canary) if desired.canary else None,
            canary_percent=desired.canary_percent,
        )
    )


def from_json(directory: ModelDirectory, value: Any) -> Desired:
    """Convert from what a JSON decoder returned, checked against the directory that is to serve it.

    Raises:
        ValueError: it is malformed, or the directory can't serve it; the sentence says why.
    """
    document: _Document = decode_json(_Document, value, "the document")
    desired = Desired(_read(directory, document.active), tuple(_read(directory, entry) for entry in document.loaded))
    if document.canary is None:
        return desired
    if not 0 < document.canary_percent <= 100:
        raise ValueError(f"canary_percent must be above 0 and at most 100, not {document.canary_percent}")
    return desired.try_out(_read(directory, document.canary), document.canary_percent)


def _write(directory: ModelDirectory, choice: Choice) -> _Written:
    named = choice.name in directory.config.configurations
    return _Written(choice.name if named else None, None if named else dict(choice.allocation))


def _read(directory: ModelDirectory, written: _Written) -> Choice:
    if written.config is not None:
        return by_name(directory, written.config)
    return by_allocation(directory, written.allocation or {})
