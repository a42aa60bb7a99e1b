"""What an administrator wants of a model: which configurations are live, which one answers, who tries to replace it."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from models.format.directory import ModelDirectory
from models.format.schema import Segment, UnavailableConfiguration
from models.format.typed_json import decode_json
from service.live.configurations import Choice, by_name, custom


class CanaryConflict(ValueError):
    """What was asked needs a canary and there is none, or needs none and there is one."""


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole of it: `active` answers what pins nothing, `loaded` are live beside it, `canary` takes a share.

    A value, never changed in place: a swap goes from one to the next, a restart goes back to the last one.
    """

    active: Choice
    loaded: tuple[Choice, ...] = ()
    canary: Choice | None = None
    canary_percent: float = 0.0

    @property
    def choices(self) -> dict[str, Choice]:
        """Everything that is to be live, by name, the active one first."""
        wanted = [self.active, *self.loaded, *([self.canary] if self.canary else [])]
        return {choice.name: choice for choice in wanted}

    def activate(self, choice: Choice) -> "Desired":
        """Another one answers; the one before goes unless it is loaded.

        Raises:
            CanaryConflict: a canary runs.
        """
        if self.canary is not None:
            raise CanaryConflict(f"A canary of {self.canary.name} runs; promote it or roll it back first.")
        return replace(self, active=choice)

    def load(self, choice: Choice) -> "Desired":
        """One more is live beside the active one."""
        return replace(self, loaded=(*(other for other in self.loaded if other != choice), choice))

    def unload(self, name: str) -> "Desired":
        """One is no longer live.

        Raises:
            UnavailableConfiguration: it isn't loaded.
            CanaryConflict: it is the active one or the canary, which can't be taken away.
        """
        if name in (self.active.name, self.canary.name if self.canary else None):
            raise CanaryConflict(f"{name} answers requests; make another one active, or roll the canary back, first.")
        if name not in self.choices:
            raise UnavailableConfiguration(f"{name} is not loaded; loaded are {', '.join(self.choices)}.")
        return replace(self, loaded=tuple(choice for choice in self.loaded if choice.name != name))

    def unload_all(self) -> "Desired":
        """Nothing is loaded beside the active one and the canary."""
        return replace(self, loaded=())

    def try_out(self, choice: Choice, percent: float) -> "Desired":
        """A canary takes `percent` (0 to 100) of the requests that pin nothing.

        Raises:
            CanaryConflict: another canary runs, or it is the active one already.
        """
        if self.canary not in (None, choice):
            raise CanaryConflict(f"A canary of {self.canary.name} runs; promote it or roll it back first.")
        if choice == self.active:
            raise CanaryConflict(f"{choice.name} is the active configuration already; it can't be its own canary.")
        return replace(self, canary=choice, canary_percent=percent)

    def promote(self) -> "Desired":
        """The canary becomes the active one.

        Raises:
            CanaryConflict: there is none.
        """
        return replace(self.roll_back(), active=self._canary())

    def roll_back(self) -> "Desired":
        """The canary ends.

        Raises:
            CanaryConflict: there is none.
        """
        self._canary()
        return replace(self, canary=None, canary_percent=0.0)

    def _canary(self) -> Choice:
        if self.canary is None:
            raise CanaryConflict("There is no canary; start one with canary_percent.")
        return self.canary


@dataclass(frozen=True)
class _Written:
    """A choice as JSON: its name, or, if it is a custom one, its planes row by row."""

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
    """What `from_json` reads, for a JSON writer."""
    return asdict(
        _Document(
            active=_write(directory, desired.active),
            loaded=tuple(_write(directory, choice) for choice in desired.loaded),
            canary=_write(directory, desired.canary) if desired.canary else None,
            canary_percent=desired.canary_percent,
        )
    )


def from_json(directory: ModelDirectory, value: Any) -> Desired:
    """What a JSON reader made of `to_json`'s, checked against the directory that is to serve it.

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
    return custom(directory, written.allocation or {})
