"""Who changes the live models, and what comes of it: the registry does it, the store keeps it, the history shows it."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from models.format import ModelDirectory, UnavailableConfiguration
from service.desired import CanaryConflict, Desired, from_json, to_json
from service.history import History, Result, What
from service.memory import InsufficientMemory
from service.metrics import Metrics, milliseconds_since
from service.registry import Change, Model, Policy, Registry, SwapInProgress
from service.state_store import BadState, Saved, StateStoreDown, Store

FOLLOW_S = 0.5  # between looks at a shared store
_log = logging.getLogger("sub3.swaps")


@dataclass(eq=False, slots=True)
class _Kept:
    """What is known of a model's state in the store. `changing` is held from a change to its write."""

    generation: int = 0
    written: bool = True  # whether the store has this generation
    refused: int = -1  # a generation of the store that can't be served here
    changing: threading.Lock = field(default_factory=threading.Lock)


class Swaps:
    """Blocking calls, from any thread."""

    def __init__(self, registry: Registry, store: Store, history: History, metrics: Metrics) -> None:
        """Over one app's parts."""
        self._registry, self._store, self._history, self._metrics = registry, store, history, metrics
        self._kept = {name: _Kept() for name in registry.models}
        self._end = threading.Event()
        self._complaint = ""
        self.down = False  # whether the store failed when it was last asked
        self._follower = threading.Thread(target=self._follow, name="desired-state")

    def start(self, configuration: str | None) -> None:
        """Make live what was wanted last; where that is unknown or can't be served, the setting's or the default."""
        wanted = {name: desired for name in self._kept if (desired := self._restored(name)) is not None}
        try:
            self._registry.start(configuration, wanted)
        except Exception:
            if not wanted:
                raise
            _log.exception("The kept desired state can't be served; the default is.")
            self._registry.close()
            self._registry.start(configuration)
        for name, desired in wanted.items():
            active = self._registry.find(name).active.facts.config
            if active == desired.active.name:
                self._history.add(name, "start", "restore", "ok", (active, active), 0.0)
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
        return self._kept[name].written

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
        model = self._registry.find(name)
        kept = self._kept[name]
        started = time.perf_counter()
        before = model.active.facts.config
        try:
            if not kept.changing.acquire(blocking=False):
                raise SwapInProgress(f"Another swap of {name} is running; retry when it has ended.")
            try:
                change = self._registry.change(name, evolve, policy)
                if not change.unchanged:
                    self._keep(name, kept, change.after)
            finally:
                kept.changing.release()
        except Exception as error:
            refused = isinstance(error, UnavailableConfiguration | CanaryConflict | InsufficientMemory | SwapInProgress)
            self._note(name, who, what, "refused" if refused else "failed", before, started, str(error))
            raise
        self._note(name, who, what, "unchanged" if change.unchanged else "ok", before, started)
        return change

    def _note(
        self, name: str, who: str, what: What, result: Result, before: str, started: float, detail: str | None = None
    ) -> None:
        milliseconds = milliseconds_since(started)
        self._metrics.swapped(result, milliseconds)
        after = self._registry.find(name).active.facts.config
        self._history.add(name, who, what, result, (before, after), milliseconds, detail)

    def _keep(self, name: str, kept: _Kept, desired: Desired) -> None:
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

    def _saved(self, name: str, kept: _Kept, desired: Desired) -> Saved:
        return Saved(kept.generation, to_json(self._registry.find(name).directory, desired))

    def _restored(self, name: str) -> Desired | None:
        try:
            saved = self._store.read(name)
            if saved is None:
                return None
            self._kept[name].generation = saved.generation
            return from_json(self._registry.find(name).directory, saved.desired)
        except StateStoreDown as error:
            self._fell(error)
        except BadState as error:
            _log.error("%s The default is served.", error)
        except ValueError as error:
            _log.error("The kept desired state of %s is refused, and the default is served: %s", name, error)
        return None

    def _follow(self) -> None:
        while not self._end.wait(FOLLOW_S):
            for name, kept in self._kept.items():
                try:
                    saved = self._store.read(name)
                    if not kept.written or saved is None or saved.generation != kept.generation:
                        with kept.changing:
                            self._catch_up(name, kept, saved)
                    self.down = False
                except StateStoreDown as error:
                    self._fell(error)
                except BadState as error:
                    self._complain(str(error))
                except Exception:  # the thread must go on: the next state may be good
                    _log.exception("Following the shared desired state of %s failed.", name)

    def _catch_up(self, name: str, kept: _Kept, saved: Saved | None) -> None:
        """Take what the store has if it is newer, give it ours if it isn't."""
        model = self._registry.find(name)
        newer = saved is not None and saved.generation > kept.generation
        rival = saved is not None and saved.generation == kept.generation and not kept.written
        if saved is not None and (newer or rival):
            self._take_over(name, model, kept, saved)
        elif not kept.written or (saved is None and kept.generation > 0):
            kept.written = self._store.write(name, self._saved(name, kept, model.wanted))

    def _take_over(self, name: str, model: Model, kept: _Kept, saved: Saved) -> None:
        if saved.generation == kept.refused:
            return
        started, before = time.perf_counter(), model.active.facts.config
        try:
            desired = from_json(model.directory, saved.desired)
            try:
                self._registry.change(name, lambda *_: desired)
            except InsufficientMemory:  # the other replica had room for both, or asked for this policy
                self._registry.change(name, lambda *_: desired, "resource")
        except Exception as error:
            kept.refused = saved.generation
            _log.error("Another replica's desired state of %s can't be served here: %s", name, error)
            self._note(name, "replica", "follow", "failed", before, started, str(error))
            return
        kept.generation, kept.written = saved.generation, True
        self._note(name, "replica", "follow", "ok", before, started)

    def _fell(self, error: StateStoreDown) -> None:
        if not self.down:  # it is asked twice a second
            _log.warning("%s The live configurations serve on; the desired state is kept once it answers.", error)
        self.down = True

    def _complain(self, sentence: str) -> None:
        if sentence != self._complaint:
            _log.error("%s The live configurations serve on; the next swap replaces it.", sentence)
        self._complaint = sentence
