"""Who changes the live models, and what comes of it: the registry does it, the store keeps it, the history shows it."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from models.format.directory import ModelDirectory
from models.format.schema import ModelConfig, ModelError, UnavailableConfiguration
from service.live.configurations import by_name
from service.live.desired import CanaryConflict, Desired, from_json, to_json
from service.live.folder import ModelFolder
from service.live.history import History, Result, What
from service.live.memory import InsufficientMemory
from service.live.registry import Change, LastModel, Move, Policy, Registry, SwapInProgress, UnknownModel
from service.live.state import BadState, Saved, StateStoreDown, Store
from service.observability.metrics import Metrics, milliseconds_since

FOLLOW_S = 0.5  # between looks at a shared store
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


@dataclass(eq=False, slots=True)
class _Kept:
    """What is known of a model's state in the store. `changing` is held from a change to its write."""

    generation: int = 0
    written: bool = True  # whether the store has this generation
    refused: int = -1  # a generation of the store that can't be served here
    changing: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _Record:
    """A change that is being made, and how it has ended if it doesn't fail."""

    kept: _Kept
    result: Result = "ok"


class Installed(NamedTuple):
    """A model that is served or could be: `active` is "" if it is not, `config` None if it is bad."""

    name: str
    state: Literal["live", "loading", "unloaded", "bad"]
    active: str
    config: ModelConfig | None
    reason: str | None


class Swaps:
    """Blocking calls, from any thread."""

    def __init__(
        self, registry: Registry, folder: ModelFolder, store: Store, history: History, metrics: Metrics
    ) -> None:
        """Over one app's parts; `registry` has what is to be served where nothing was kept."""
        self._registry, self._folder, self._store = registry, folder, store
        self._history, self._metrics = history, metrics
        self._kept: dict[str, _Kept] = {}
        self._end = threading.Event()
        self._complaint = ""
        self.down = False  # whether the store failed when it was last asked
        self._follower = threading.Thread(target=self._follow, name="desired-state")

    def start(self, configuration: str | None) -> None:
        """Make live what was wanted last; where that is unknown or can't be served, the setting's or the default.

        Raises:
            Exception: why the first model can't be served, if none can; beside others it is a fault of the folder's.
        """
        states = self._states()
        self._enlist(states)
        failures: list[Exception] = []
        for name in list(self._registry.models):
            try:
                self._start(name, states.get(name), configuration)
            except Exception as error:
                failures.append(error)
                self._folder.fault(name, str(error))
                self._registry.strike(name)
        if not self._registry.models:
            raise failures[0]
        if self._store.shared:
            self._follower.start()

    def close(self) -> None:
        """Stop following the store, and end the streams of events."""
        self._end.set()
        self._history.close()
        if self._follower.is_alive():
            self._follower.join()

    def saved(self, name: str) -> bool:
        """Whether the model's desired state would survive a restart now."""
        return self._of(name).written

    def change(
        self,
        name: str,
        who: str,
        what: What,
        evolve: Callable[[ModelDirectory, Desired], Desired],
        policy: Policy = "availability",
    ) -> Change:
        """As `Registry.change`, kept and remembered.

        Raises:
            SwapInProgress: also when another replica has swapped at the same moment; this one then follows it.
        """
        self._registry.find(name).active  # noqa: B018 -- there is such a model, and it has started
        with self._recorded(name, who, what) as record:
            change = self._registry.change(name, evolve, policy)
            if change.unchanged:
                record.result = "unchanged"
            else:
                self._keep(name, record.kept, change.after)
        return change

    def add(self, name: str, who: str, configuration: str | None = None) -> Move | None:
        """Serve a model of the folder, in its default configuration or another; None if it is served already.

        Raises:
            UnknownModel, ModelError, UnavailableConfiguration: there is no such directory, or it can't be served.
            Exception: as `Registry.add` and `change` say.
        """
        if name not in self._registry.models:
            self._folder.path(name)
        with self._recorded(name, who, "add") as record:
            if name in self._registry.models:
                record.result = "unchanged"
                if record.kept.generation == 0:  # found at start: other replicas may not have it
                    self._keep(name, record.kept, self._registry.find(name).wanted)
                return None
            move = self._registry.add(self._folder.open(name), lambda files: _first(files, configuration, only=True))
            self._folder.faults.pop(name, None)
            self._keep(name, record.kept, self._registry.find(name).wanted)
            return move

    def remove(self, name: str, who: str) -> Move | None:
        """Serve a model no longer; None if it wasn't served, because it is bad.

        Raises:
            Exception: as `Registry.remove` and `change` say.
        """
        if name not in self._folder.faults:
            self._registry.find(name)
        with self._recorded(name, who, "remove") as record:
            move = self._registry.remove(name) if name in self._registry.models else None
            self._folder.faults.pop(name, None)
            self._keep(name, record.kept, None)
            return move

    def installed(self) -> list[Installed]:
        """Every model that is served or could be; reads the directories of those that are not."""
        return [self._installed(name) for name in self._names()]

    def _installed(self, name: str) -> Installed:
        model = self._registry.models.get(name)
        if model is not None:
            return Installed(name, "live", self._active(name), model.directory.config, None)
        try:
            config = self._folder.open(name, verify=False).config
        except (ModelError, UnknownModel) as error:
            return Installed(name, "bad", "", None, str(error))
        fault = self._folder.faults.get(name)
        if self._of(name).changing.locked():
            return Installed(name, "loading", "", config, None)
        return Installed(name, "unloaded" if fault is None else "bad", "", config, fault)

    @contextmanager
    def _recorded(self, name: str, who: str, what: What) -> Iterator[_Record]:
        """Keep others from changing the model while the block does, and note how it ended."""
        record = _Record(self._of(name))
        started, before = time.perf_counter(), self._active(name)
        try:
            if not record.kept.changing.acquire(blocking=False):
                raise SwapInProgress(f"Another swap of {name} is running; retry when it has ended.")
            try:
                yield record
            finally:
                record.kept.changing.release()
        except Exception as error:
            result: Result = "refused" if isinstance(error, _REFUSALS) else "failed"
            self._note(name, who, what, result, before, started, str(error))
            raise
        self._note(name, who, what, record.result, before, started)

    def _note(
        self, name: str, who: str, what: What, result: Result, before: str, started: float, detail: str | None = None
    ) -> None:
        milliseconds = milliseconds_since(started)
        self._metrics.swapped(result, milliseconds)
        self._history.add(name, who, what, result, (before, self._active(name)), milliseconds, detail)

    def _active(self, name: str) -> str:
        """The configuration that answers; "" if the model isn't served."""
        model = self._registry.models.get(name)
        return "" if model is None or model.answers is None else model.answers.facts.config

    def _of(self, name: str) -> _Kept:
        return self._kept.setdefault(name, _Kept())

    def _keep(self, name: str, kept: _Kept, desired: Desired | None) -> None:
        """One generation more, written now if the store answers, by the follower once it does if not."""
        kept.generation += 1
        kept.written = False
        try:
            won = self._store.write(name, self._saved(name, kept, desired))
        except StateStoreDown as error:
            self._fell(error)
            return
        self.down = False
        kept.written = True
        if not won:
            kept.generation -= 1
            with contextlib.suppress(StateStoreDown):  # then the follower does it
                self._catch_up(name, kept, self._store.read(name))
            raise SwapInProgress(f"Another replica swapped {name} at the same moment, and this one follows it; retry.")

    def _saved(self, name: str, kept: _Kept, desired: Desired | None) -> Saved:
        return Saved(
            kept.generation, None if desired is None else to_json(self._registry.find(name).directory, desired)
        )

    def _states(self) -> dict[str, Saved]:
        """What the store has of the models that there are."""
        states: dict[str, Saved] = {}
        for name in self._names():
            try:
                saved = self._store.read(name)
            except StateStoreDown as error:
                self._fell(error)
            except BadState as error:
                self._complain(str(error), "The default is served.")
            else:
                if saved is not None:
                    states[name] = saved
                    self._of(name).generation = saved.generation
        return states

    def _enlist(self, states: dict[str, Saved]) -> None:
        """Have in the registry what administrators wanted to be served, whatever was found at start."""
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

    def _start(self, name: str, saved: Saved | None, configuration: str | None) -> None:
        directory = self._registry.find(name).directory
        if saved is not None and saved.desired is not None:
            try:
                self._registry.start_model(name, from_json(directory, saved.desired))
            except ValueError as error:
                _log.error("The kept desired state of %s is refused, and the default is served: %s", name, error)
            except Exception:
                _log.exception("The kept desired state of %s can't be served; the default is.", name)
            else:
                active = self._active(name)
                self._history.add(name, "start", "restore", "ok", (active, active), 0.0)
                return
        self._registry.start_model(name, _first(directory, configuration))

    def _names(self) -> list[str]:
        """The models that are served and those that could be."""
        names = set(self._registry.models)
        try:
            names |= set(self._folder.names())
        except ModelError as error:
            self._complain(str(error), "What was opened serves on.")
        return sorted(names)

    def _follow(self) -> None:
        while not self._end.wait(FOLLOW_S):
            for name in self._names():
                kept = self._of(name)
                try:
                    saved = self._store.read(name)
                    if not kept.written or (saved.generation if saved else 0) != kept.generation:
                        with kept.changing:
                            self._catch_up(name, kept, saved)
                    self.down = False
                except StateStoreDown as error:
                    self._fell(error)
                except BadState as error:
                    self._complain(str(error), "The live configurations serve on; the next swap replaces it.")
                except Exception:  # the thread must go on: the next state may be good
                    _log.exception("Following the shared desired state of %s failed.", name)

    def _catch_up(self, name: str, kept: _Kept, saved: Saved | None) -> None:
        """Take what the store has if it is newer, give it ours if it isn't."""
        newer = saved is not None and saved.generation > kept.generation
        rival = saved is not None and saved.generation == kept.generation and not kept.written
        if saved is not None and (newer or rival):
            self._take_over(name, kept, saved)
        elif not kept.written or (saved is None and kept.generation > 0):
            model = self._registry.models.get(name)
            kept.written = self._store.write(name, self._saved(name, kept, model.wanted if model else None))

    def _take_over(self, name: str, kept: _Kept, saved: Saved) -> None:
        if saved.generation == kept.refused:
            return
        started, before = time.perf_counter(), self._active(name)
        try:
            self._serve(name, saved)
        except Exception as error:
            kept.refused = saved.generation
            _log.error("Another replica's desired state of %s can't be served here: %s", name, error)
            self._note(name, "replica", "follow", "failed", before, started, str(error))
            return
        self._folder.faults.pop(name, None)
        kept.generation, kept.written = saved.generation, True
        self._note(name, "replica", "follow", "ok", before, started)

    def _serve(self, name: str, saved: Saved) -> None:
        """Have a model as another replica has it: as it wants it, added, or removed."""
        model = self._registry.models.get(name)
        if saved.desired is None:
            if model is not None:
                self._registry.remove(name)
        elif model is None:
            self._registry.add(self._folder.open(name), lambda files: from_json(files, saved.desired))
        else:
            desired = from_json(model.directory, saved.desired)
            try:
                self._registry.change(name, lambda *_: desired)
            except InsufficientMemory:  # the other replica had room for both, or asked for this policy
                self._registry.change(name, lambda *_: desired, "resource")

    def _fell(self, error: StateStoreDown) -> None:
        if not self.down:  # it is asked twice a second
            _log.warning("%s The live configurations serve on; the desired state is kept once it answers.", error)
        self.down = True

    def _complain(self, sentence: str, consequence: str) -> None:
        if sentence != self._complaint:
            _log.error("%s %s", sentence, consequence)
        self._complaint = sentence


def _first(directory: ModelDirectory, configuration: str | None, *, only: bool = False) -> Desired:
    """A configuration, or the directory's default one where it hasn't that (unless it is to be `only` that)."""
    known = directory.config.configurations
    wanted = configuration is not None and (only or configuration in known)
    return Desired(
        by_name(directory, configuration if wanted and configuration else directory.config.default_configuration)
    )
