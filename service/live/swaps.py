"""An administrator's operations on the live models: swap, add, remove, list. Each is stored and remembered."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

from models.format.directory import ModelDirectory
from models.format.schema import ModelConfig, ModelError, UnavailableConfiguration
from service.live.configurations import by_name
from service.live.desired import CanaryConflict, Desired, from_json
from service.live.folder import ModelFolder
from service.live.history import Event, History, Operation, Result, What
from service.live.memory import InsufficientMemory
from service.live.model import UnknownModel
from service.live.registry import Change, LastModel, Move, Policy, Registry, SwapInProgress
from service.live.replication import Replication
from service.live.state import Saved, StateStore
from service.observability.metrics import Metrics

_REFUSALS = (
    UnavailableConfiguration,
    CanaryConflict,
    InsufficientMemory,
    SwapInProgress,
    LastModel,
    ModelError,
    UnknownModel,
)
_log = logging.getLogger("sub3.swaps")


@dataclass(slots=True)
class _Outcome:
    """The result of an operation, if it does not fail."""

    result: Result = "ok"


class Installed(NamedTuple):
    """A model that is served or could be: `active` is "" if it is not served, `config` None if it is bad."""

    name: str
    state: Literal["live", "loading", "unloaded", "bad"]
    active: str
    config: ModelConfig | None
    reason: str | None


class Swaps:
    """The operations. Calls block; any thread may make them."""

    def __init__(
        self, registry: Registry, folder: ModelFolder, store: StateStore, history: History, metrics: Metrics
    ) -> None:
        """Start nothing yet.

        Args:
            registry: has the models that are served where nothing was stored.
            folder: the models that could be served.
            store: where the desired states outlive the process.
            history: gets an event of each operation.
            metrics: counts and times them.
        """
        self._registry, self._folder = registry, folder
        self._history, self._metrics = history, metrics
        self._replication = Replication(registry, folder, store, self._note)

    @property
    def down(self) -> bool:
        """Whether the store failed at the last call."""
        return self._replication.down

    def start(self, configuration: str | None, loaded: Sequence[str] = ()) -> None:
        """Serve the stored state of each model; without a good one, this configuration or the model's default.

        A model that can't be served is logged and left out. Without any model left, its reason is raised.

        Args:
            configuration: a name, which models without it ignore; None for each model's default.
            loaded: names of what is live beside it, which models without them ignore.

        Raises:
            ModelError: the first model's files are faulty.
            UnavailableConfiguration: the first model lacks what its state names.
        """
        states = self._replication.states()
        self._enlist(states)
        failures: list[Exception] = []
        for name in list(self._registry.models):
            try:
                self._start(name, states.get(name), configuration, loaded)
            except Exception as error:
                failures.append(error)
                self._folder.fault(name, str(error))
                self._registry.strike(name)
        if not self._registry.models:
            raise failures[0]
        self._replication.start()

    def close(self) -> None:
        """Stop following the store, and end the streams of events."""
        self._history.close()
        self._replication.close()

    def saved(self, name: str) -> bool:
        """Tell whether the model's desired state would survive a restart now."""
        return self._replication.saved(name)

    def change(
        self,
        name: str,
        who: str,
        what: What,
        evolve: Callable[[ModelDirectory, Desired], Desired],
        policy: Policy = "availability",
    ) -> Change:
        """Take a model to another desired state, and store it; see `Registry.change`.

        Args:
            name: the model's.
            who: the name of the administrator's token.
            what: the operation, for the history.
            evolve: returns the next state from the directory and the present state.
            policy: see `Registry.change`.

        Raises:
            UnknownModel, NotReady: there is no such model, or it has not started.
            SwapInProgress: another change is running, or another replica has swapped at the same moment.
            UnavailableConfiguration, CanaryConflict: there is no such state.
            InsufficientMemory, SelfTestFailed, SwapTookTooLong: the state can't be served.
        """
        self._registry.find(name).active  # noqa: B018 -- there is such a model, and it has started
        with self._recorded(name, who, what) as outcome:
            change = self._registry.change(name, evolve, policy)
            if change.unchanged:
                outcome.result = "unchanged"
            else:
                self._replication.save(name)
        return change

    def add(self, name: str, who: str, configuration: str | None = None) -> Move | None:
        """Serve a model of the folder, in its default configuration or another; None if it is served already.

        Raises:
            UnknownModel, ModelError, UnavailableConfiguration: there is no such directory, or it can't be served.
            SwapInProgress: another thread is adding or removing it.
            InsufficientMemory, SelfTestFailed: it can't be loaded.
        """
        if name not in self._registry.models:
            self._folder.path(name)
        with self._recorded(name, who, "add") as outcome:
            if name in self._registry.models:
                outcome.result = "unchanged"
                if not self._replication.known(name):  # found at start: other replicas may not have it
                    self._replication.save(name)
                return None
            move = self._registry.add(self._folder.open(name), lambda files: _first(files, configuration, only=True))
            self._folder.faults.pop(name, None)
            self._replication.save(name)
            return move

    def remove(self, name: str, who: str) -> Move | None:
        """Stop serving a model; None if it wasn't served, because it is bad.

        Raises:
            UnknownModel: there is no such model.
            LastModel: there is no other one.
            SwapInProgress: a change of it is running.
        """
        if name not in self._folder.faults:
            self._registry.find(name)
        with self._recorded(name, who, "remove"):
            move = self._registry.remove(name) if name in self._registry.models else None
            self._folder.faults.pop(name, None)
            self._replication.save(name)
            return move

    def installed(self) -> list[Installed]:
        """List the models that are served or could be; reads the directories of those that are not."""
        return [self._installed(name) for name in self._replication.names()]

    def _installed(self, name: str) -> Installed:
        model = self._registry.models.get(name)
        if model is not None:
            return Installed(name, "live", self._registry.active_name(name), model.directory.config, None)
        try:
            config = self._folder.open(name, verify=False).config
        except (ModelError, UnknownModel) as error:
            return Installed(name, "bad", "", None, str(error))
        fault = self._folder.faults.get(name)
        if self._registry.is_changing(name):
            return Installed(name, "loading", "", config, None)
        return Installed(name, "unloaded" if fault is None else "bad", "", config, fault)

    @contextmanager
    def _recorded(self, name: str, who: str, what: What) -> Iterator[_Outcome]:
        """Keep others from changing the model during the block, and note how it ended."""
        outcome, operation = _Outcome(), Operation(name, who, what, self._registry.active_name(name))
        try:
            with self._registry.changing(name):
                yield outcome
        except Exception as error:
            result: Result = "refused" if isinstance(error, _REFUSALS) else "failed"
            self._note(operation.end(result, self._registry.active_name(name), str(error)))
            raise
        self._note(operation.end(outcome.result, self._registry.active_name(name)))

    def _note(self, event: Event) -> None:
        self._metrics.swapped(event.result, event.milliseconds)
        self._history.add(event)

    def _enlist(self, states: dict[str, Saved]) -> None:
        """Bring the registry's list to what administrators wanted, whatever was found at start."""
        for name, saved in states.items():
            if saved.desired is None:
                self._folder.faults.pop(name, None)  # bad, but nobody wants it
            elif name not in self._registry.models and name not in self._folder.faults:
                try:
                    self._registry.enlist(self._folder.open(name))
                except (ModelError, UnknownModel) as error:
                    self._folder.fault(name, str(error))
        removed = [name for name, saved in states.items() if saved.desired is None and name in self._registry.models]
        if len(removed) == len(self._registry.models):
            _log.error("Every model here was removed once (%s); they are served nevertheless.", ", ".join(removed))
            return
        for name in removed:
            self._registry.strike(name)

    def _start(self, name: str, saved: Saved | None, configuration: str | None, loaded: Sequence[str]) -> None:
        directory = self._registry.find(name).directory
        if saved is not None and saved.desired is not None:
            try:
                self._registry.start_model(name, from_json(directory, saved.desired))
            except ValueError as error:
                _log.error("The stored desired state of %s is refused, and the default is served: %s", name, error)
            except Exception:
                _log.exception("The stored desired state of %s can't be served; the default is served.", name)
            else:
                active = self._registry.active_name(name)
                self._history.add(
                    Event(
                        id=0,
                        time="",
                        model=name,
                        who="start",
                        what="restore",
                        result="ok",
                        before=active,
                        after=active,
                        milliseconds=0.0,
                    )
                )
                return
        desired = _first(directory, configuration)
        for other in loaded:
            if other in directory.config.configurations and other != desired.active.name:
                desired = desired.load(by_name(directory, other))
        self._registry.start_model(name, desired)


def _first(directory: ModelDirectory, configuration: str | None, *, only: bool = False) -> Desired:
    """Choose the configuration, or the directory's default one where it lacks that (unless `only` that will do)."""
    known = directory.config.configurations
    wanted = configuration is not None and (only or configuration in known)
    return Desired(
        by_name(directory, configuration if wanted and configuration else directory.config.default_configuration)
    )
