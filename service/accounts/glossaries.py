"""Glossaries that are stored, each with the key that made it. Knows no HTTP and no database.

A glossary never changes: another one has another id. So what has been read once is kept, and only whether it is still
there is asked. On a server that asks for no keys all glossaries belong to nobody: everyone sees, uses and deletes them.
"""

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from service.accounts.keys import StoreDown
from service.text.glossary import Glossary, GlossaryRefused

MAX_NAME_CHARACTERS = 200
NOBODY = ""  # whose glossaries are on a server without keys; no key has this name
_KEPT = 8
_log = logging.getLogger("sub3.glossaries")


class UnknownGlossary(Exception):
    """There is no glossary of that id, or it is another key's."""

    def __init__(self) -> None:
        """The sentence that the client reads."""
        super().__init__("Glossary not found; list them to see which there are.")


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a glossary besides its entries; `created` is a time in ISO 8601, UTC."""

    id: str
    name: str
    source: str
    target: str
    created: str
    entries: int


class Store(Protocol):
    """Where glossaries are kept, by owner. Each method raises StoreDown when it can't; one thread calls at a time."""

    def add(self, owner: str, head: Head, entries: Mapping[str, str], most: int) -> bool:
        """Keep a new one; False, and nothing is kept, if the owner has `most` already."""

    def heads(self, owner: str) -> list[Head]:
        """Of all that the owner has, oldest first."""

    def entries(self, owner: str, glossary_id: str) -> dict[str, str] | None:
        """None if there is none."""

    def remove(self, owner: str, glossary_id: str) -> bool:
        """Whether there was one."""


class Glossaries:
    """The glossaries of one server; thread-safe. Methods block for as long as the store does."""

    def __init__(
        self, open_store: Callable[[], Store], pairs: Callable[[], Collection[tuple[str, str]]], most: int
    ) -> None:
        """`open_store` is called when one is first needed; `pairs`: that a model translates; `most`: of an owner."""
        self._open_store, self._pairs, self._most = open_store, pairs, most
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Glossary] = OrderedDict()  # by id, the one used last at the end

    def create(self, owner: str, name: str, source: str, target: str, entries: Mapping[str, str]) -> Head:
        """Keep a new one.

        Raises:
            GlossaryRefused: the pair isn't served, the owner has too many, or as a Glossary says.
            StoreDown: it can't be kept.
        """
        self.check_pair(source, target)
        if not name.strip() or len(name) > MAX_NAME_CHARACTERS:
            raise GlossaryRefused(f"A glossary's name has from 1 to {MAX_NAME_CHARACTERS} characters.")
        if not entries:
            raise GlossaryRefused("A glossary needs at least one entry.")
        Glossary(entries, source, target)
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        head = Head(str(uuid.uuid4()), name, source, target, created, len(entries))
        with self._opened() as store:
            if not store.add(owner, head, entries, self._most):
                raise GlossaryRefused(f"There are {self._most} glossaries already; delete one first.")
        return head

    def check_pair(self, source: str, target: str) -> None:
        """Raises GlossaryRefused if no model translates a pair itself."""
        if (source, target) not in self._pairs():
            raise GlossaryRefused(f"No model translates from {source} to {target} itself, and a glossary needs one.")

    def heads(self, owner: str) -> list[Head]:
        """All of an owner, oldest first. Raises StoreDown."""
        with self._opened() as store:
            return store.heads(owner)

    def head(self, owner: str, glossary_id: str) -> Head:
        """Raises UnknownGlossary, StoreDown."""
        for head in self.heads(owner):
            if head.id == glossary_id:
                return head
        raise UnknownGlossary

    def entries(self, owner: str, glossary_id: str) -> dict[str, str]:
        """Raises UnknownGlossary, StoreDown."""
        with self._opened() as store:
            entries = store.entries(owner, glossary_id)
        if entries is None:
            raise UnknownGlossary
        return entries

    def remove(self, owner: str, glossary_id: str) -> None:
        """Raises UnknownGlossary, StoreDown."""
        with self._opened() as store:
            if not store.remove(owner, glossary_id):
                raise UnknownGlossary

    def find(self, owner: str, wanted: str) -> Glossary:
        """The glossary of an id, or else the youngest of a name, to translate with.

        Raises:
            GlossaryRefused: there is none.
            StoreDown: nobody can tell.
        """
        found = [head for head in self.heads(owner) if wanted in (head.id, head.name)]
        if not found:
            raise GlossaryRefused("There is no glossary of that id or name.")
        head = max(found, key=lambda head: (head.id == wanted, head.created))
        with self._lock:
            if (glossary := self._known.get(head.id)) is not None:
                self._known.move_to_end(head.id)
                return glossary
        try:
            glossary = Glossary(self.entries(owner, head.id), head.source, head.target)
        except UnknownGlossary:  # deleted a moment ago
            raise GlossaryRefused("There is no glossary of that id or name.") from None
        with self._lock:
            self._known[head.id] = glossary
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return glossary

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        """The store, for one thread; why it fails is for the log."""
        with self._lock:
            try:
                if self._store is None:
                    self._store = self._open_store()
                yield self._store
            except StoreDown as error:
                _log.error("The store of glossaries is down: %s", error)
                raise StoreDown("The glossaries can't be reached at the moment; retry later.") from None
