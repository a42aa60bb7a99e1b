"""Stored glossaries, each owned by an API key. Independent of HTTP and of the store's backend.

A glossary is immutable: a changed one has a new id. So a parsed glossary is cached, and the store is only asked whether
it still exists. On a server without keys nobody owns the glossaries: everyone sees, uses and deletes all of them.
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

from service.accounts.unavailable import StoreUnavailable
from service.text.glossary import Glossary, GlossaryRefused

MAX_NAME_CHARACTERS = 200
NOBODY = ""  # whose glossaries are on a server without keys; no key has this name
_CACHED = 8
_log = logging.getLogger("sub3.glossaries")


class UnknownGlossary(Exception):
    """There is no glossary of that id, or it belongs to another key."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("Glossary not found; list them to see which there are.")


@dataclass(frozen=True, slots=True)
class Head:
    """The metadata of a glossary; `created` is a time in ISO 8601, UTC, `entries` their number."""

    id: str
    name: str
    source: str
    target: str
    created: str
    entries: int


class GlossaryStore(Protocol):
    """Storage of glossaries, by owner. Each method may raise StoreUnavailable; one thread calls at a time."""

    def add(self, owner: str, head: Head, entries: Mapping[str, str], most: int) -> bool:
        """Store a new glossary, unless the owner has `most` already.

        Args:
            owner: the name of an API key, or NOBODY.
            head: with an id that is new.
            entries: terms and their translations.
            most: glossaries that an owner may have.

        Returns:
            Whether it was stored.
        """

    def heads(self, owner: str) -> list[Head]:
        """Return the heads of the owner's glossaries, oldest first."""

    def entries(self, owner: str, glossary_id: str) -> dict[str, str] | None:
        """Return the entries; None if there is no such glossary."""

    def remove(self, owner: str, glossary_id: str) -> bool:
        """Delete a glossary; return whether there was one."""


class Glossaries:
    """The glossaries of one server; thread-safe. Methods block for as long as the store does."""

    def __init__(
        self, open_store: Callable[[], GlossaryStore], pairs: Callable[[], Collection[tuple[str, str]]], most: int
    ) -> None:
        """Open no store yet.

        Args:
            open_store: called when a store is first needed.
            pairs: returns the language pairs that a model translates directly.
            most: glossaries that an owner may have.
        """
        self._open_store, self._pairs, self._most = open_store, pairs, most
        self._store: GlossaryStore | None = None
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Glossary] = OrderedDict()  # by id, least recently used first

    def create(self, owner: str, name: str, source: str, target: str, entries: Mapping[str, str]) -> Head:
        """Store a new glossary.

        Args:
            owner: the name of an API key, or NOBODY.
            name: of 1 to MAX_NAME_CHARACTERS characters; several may have the same.
            source: language of the terms.
            target: language of their translations.
            entries: terms and their translations, at least one.

        Raises:
            GlossaryRefused: no model translates the pair, the owner has too many, or an entry is malformed.
            StoreUnavailable: the store cannot be written.
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
        """Raise GlossaryRefused unless a model translates the pair directly."""
        if (source, target) not in self._pairs():
            raise GlossaryRefused(f"No model translates from {source} to {target} itself, and a glossary needs one.")

    def heads(self, owner: str) -> list[Head]:
        """List the glossaries of an owner, oldest first. Raises StoreUnavailable."""
        with self._opened() as store:
            return store.heads(owner)

    def head(self, owner: str, glossary_id: str) -> Head:
        """Return the metadata of a glossary. Raises UnknownGlossary, StoreUnavailable."""
        for head in self.heads(owner):
            if head.id == glossary_id:
                return head
        raise UnknownGlossary

    def entries(self, owner: str, glossary_id: str) -> dict[str, str]:
        """Return the entries of a glossary. Raises UnknownGlossary, StoreUnavailable."""
        with self._opened() as store:
            entries = store.entries(owner, glossary_id)
        if entries is None:
            raise UnknownGlossary
        return entries

    def remove(self, owner: str, glossary_id: str) -> None:
        """Delete a glossary. Raises UnknownGlossary, StoreUnavailable."""
        with self._opened() as store:
            if not store.remove(owner, glossary_id):
                raise UnknownGlossary

    def find(self, owner: str, wanted: str) -> Glossary:
        """Return the glossary of an id, or else the newest of a name, to translate with.

        Raises:
            UnknownGlossary: there is no such glossary.
            StoreUnavailable: the store cannot be read.
        """
        found = [head for head in self.heads(owner) if wanted in (head.id, head.name)]
        if not found:
            raise UnknownGlossary
        head = max(found, key=lambda head: (head.id == wanted, head.created))
        with self._lock:
            if (glossary := self._known.get(head.id)) is not None:
                self._known.move_to_end(head.id)
                return glossary
        glossary = Glossary(self.entries(owner, head.id), head.source, head.target)
        with self._lock:
            self._known[head.id] = glossary
            while len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return glossary

    @contextmanager
    def _opened(self) -> Iterator[GlossaryStore]:
        """Lend the store to one thread; the log gets the reason why it fails."""
        with self._lock:
            try:
                if self._store is None:
                    self._store = self._open_store()
                yield self._store
            except StoreUnavailable as error:
                _log.error("The store of glossaries is down: %s", error)
                raise StoreUnavailable("The glossaries can't be reached at the moment; retry later.") from None
