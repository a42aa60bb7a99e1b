"""Replication: store the desired state of each model under a generation, and follow what other replicas store."""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from models.format.schema import ModelError
from service.accounts.unavailable import StoreUnavailable
from service.live.desired import from_json, to_json
from service.live.folder import ModelFolder
from service.live.history import Event, Operation
from service.live.memory import InsufficientMemory
from service.live.registry import Registry, SwapInProgress
from service.live.state import BadState, Saved, StateStore

FOLLOW_S = 0.5  # between two reads of a shared store
_log = logging.getLogger("sub3.swaps")


@dataclass(eq=False, slots=True)
class _Generation:
    """The generation of a model's desired state that this replica serves."""

    number: int = 0
    written: bool = True  # whether the store has it
    refused: int = -1  # a generation of the store that can't be served here


class Replication:
    """The desired states of one replica's models in the store. Calls block; any thread may make them."""

    def __init__(
        self, registry: Registry, folder: ModelFolder, store: StateStore, note: Callable[[Event], None]
    ) -> None:
        """Read nothing yet.

        Args:
            registry: the live models.
            folder: the models that could be live.
            store: where the states are; it is followed if it is shared.
            note: gets an event for each state of another replica that is served here, or can't be.
        """
        self._registry, self._folder, self._store, self._note = registry, folder, store, note
        self._generations: dict[str, _Generation] = {}
        self._end = threading.Event()
        self._complaint = ""
        self.down = False  # whether the store failed at the last call
        self._follower = threading.Thread(target=self._keep_following, name="desired-state")

    def start(self) -> None:
        """Follow the store from now on, if other replicas write to it."""
        if self._store.shared:
            self._follower.start()

    def close(self) -> None:
        """Stop following."""
        self._end.set()
        if self._follower.is_alive():
            self._follower.join()

    def saved(self, name: str) -> bool:
        """Tell whether the present desired state of a model would survive a restart."""
        return self._generation(name).written

    def known(self, name: str) -> bool:
        """Tell whether any desired state of a model was ever stored."""
        return self._generation(name).number > 0

    def names(self) -> list[str]:
        """List the models that are served and those that could be."""
        names = set(self._registry.models)
        try:
            names |= set(self._folder.names())
        except ModelError as error:
            self._complain(str(error), "What was opened serves on.")
        return sorted(names)

    def states(self) -> dict[str, Saved]:
        """Read the stored states of all models at start."""
        states: dict[str, Saved] = {}
        for name in self.names():
            try:
                saved = self._store.read(name)
            except StoreUnavailable as error:
                self._fell(error)
            except BadState as error:
                self._complain(str(error), "The default is served.")
            else:
                if saved is not None:
                    states[name] = saved
                    self._generation(name).number = saved.generation
        return states

    def save(self, name: str) -> None:
        """Store what is now served of a model as the next generation; the follower does it if the store is down.

        The caller holds `Registry.changing`.

        Raises:
            SwapInProgress: another replica has stored this generation first; this one now serves that state.
        """
        ours = self._generation(name)
        ours.number += 1
        ours.written = False
        try:
            won = self._store.write(name, self._served(name))
        except StoreUnavailable as error:
            self._fell(error)
            return
        self.down = False
        ours.written = True
        if not won:
            ours.number -= 1
            with contextlib.suppress(StoreUnavailable):  # then the follower does it
                self._catch_up(name, self._store.read(name))
            raise SwapInProgress(f"Another replica swapped {name} at the same moment, and this one follows it; retry.")

    def follow(self) -> None:
        """Compare each model with the store, and serve or store what is newer."""
        for name in self.names():
            ours = self._generation(name)
            try:
                saved = self._store.read(name)
                if not ours.written or (saved.generation if saved else 0) != ours.number:
                    with self._registry.changing(name, wait=True):
                        self._catch_up(name, saved)
                self.down = False
            except StoreUnavailable as error:
                self._fell(error)
            except BadState as error:
                self._complain(str(error), "The live configurations serve on; the next swap replaces it.")
            except Exception:  # the thread must go on: the next state may be good
                _log.exception("Following the shared desired state of %s failed.", name)

    def _keep_following(self) -> None:
        while not self._end.wait(FOLLOW_S):
            self.follow()

    def _catch_up(self, name: str, saved: Saved | None) -> None:
        """Serve the stored state if it is newer, store ours if it isn't."""
        ours = self._generation(name)
        newer = saved is not None and saved.generation > ours.number
        rival = saved is not None and saved.generation == ours.number and not ours.written
        if saved is not None and (newer or rival):
            self._take_over(name, saved)
        elif not ours.written or (saved is None and ours.number > 0):
            ours.written = self._store.write(name, self._served(name))

    def _take_over(self, name: str, saved: Saved) -> None:
        ours = self._generation(name)
        if saved.generation == ours.refused:
            return
        operation = Operation(name, "replica", "follow", self._registry.active_name(name))
        try:
            self._serve(name, saved)
        except Exception as error:
            ours.refused = saved.generation
            _log.error("Another replica's desired state of %s can't be served here: %s", name, error)
            self._note(operation.end("failed", self._registry.active_name(name), str(error)))
            return
        self._folder.faults.pop(name, None)
        ours.number, ours.written = saved.generation, True
        self._note(operation.end("ok", self._registry.active_name(name)))

    def _serve(self, name: str, saved: Saved) -> None:
        """Have a model as another replica has it: in its state, added, or removed."""
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
            except InsufficientMemory:  # the other replica had room for both, or used this policy
                self._registry.change(name, lambda *_: desired, "resource")

    def _served(self, name: str) -> Saved:
        model = self._registry.models.get(name)
        desired = None if model is None else to_json(model.directory, model.wanted)
        return Saved(self._generation(name).number, desired)

    def _generation(self, name: str) -> _Generation:
        return self._generations.setdefault(name, _Generation())

    def _fell(self, error: StoreUnavailable) -> None:
        if not self.down:  # it is asked twice a second
            _log.warning("%s The live configurations serve on; the desired state is stored once it answers.", error)
        self.down = True

    def _complain(self, sentence: str, consequence: str) -> None:
        if sentence != self._complaint:  # it is asked twice a second
            _log.error("%s %s", sentence, consequence)
        self._complaint = sentence
