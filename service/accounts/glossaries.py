"""Stored glossaries, each owned by an API key. Independent of HTTP and of the store's backend.

A glossary has a dictionary for each of its language pairs. A dictionary is immutable: changed entries are another one.
So what was read of one stays true, and the store is only asked which dictionaries a glossary has. On a server without
keys nobody owns the glossaries: everyone sees, uses, changes and deletes all of them.
"""

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from service.accounts.unavailable import StoreUnavailable
from service.text.glossary import Glossary, GlossaryRefused, check_entries

MAX_NAME_CHARACTERS = 200
NOBODY = ""  # whose glossaries are on a server without keys; no key has this name
ENTRY_BYTES = 32  # what an entry counts at least: one of two letters takes as much memory as one of two words
MOST_READY = 256  # that are held ready: each takes 1 kB beside its entries
_TRIES = 3  # to read what another process replaces meanwhile
_log = logging.getLogger("sub3.glossaries")
Pair = tuple[str, str]  # a source and a target language


class UnknownGlossary(Exception):
    """There is no glossary of that id, or it belongs to another key."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("Glossary not found; list them to see which there are.")


class UnknownDictionary(Exception):
    """The glossary has no dictionary for the language pair."""

    def __init__(self, source: str, target: str) -> None:
        """Build the sentence that the client reads; DeepL's clients know its beginning."""
        super().__init__(f"No dictionary found for language pair {source} to {target}.")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """The metadata of the entries for one language pair: their number, and what they count of the owner's bytes."""

    id: str
    source: str
    target: str
    entries: int
    bytes: int

    @property
    def pair(self) -> Pair:
        """The source and the target language."""
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class Head:
    """The metadata of a glossary; `created` is a time in ISO 8601, UTC. A language pair has one dictionary at most."""

    id: str
    name: str
    created: str
    dictionaries: tuple[Dictionary, ...]

    def dictionary(self, pair: Pair) -> Dictionary:
        """Return the dictionary of a language pair. Raises UnknownDictionary."""
        for dictionary in self.dictionaries:
            if dictionary.pair == pair:
                return dictionary
        raise UnknownDictionary(*pair)

    def having(self, dictionary: Dictionary) -> "Head":
        """Return the head with a dictionary in the place of the one for its language pair, or behind the others."""
        by_pair = {own.pair: own for own in self.dictionaries} | {dictionary.pair: dictionary}
        return replace(self, dictionaries=tuple(by_pair.values()))


class Entries(NamedTuple):
    """Terms and their translations for a language pair, as a client gives them."""

    source: str
    target: str
    terms: Mapping[str, str]

    @property
    def pair(self) -> Pair:
        """The source and the target language."""
        return self.source, self.target


class Change(NamedTuple):
    """What becomes of a glossary: its head, None to delete it, and the entries of dictionaries that are new, by id."""

    head: Head | None
    entries: Mapping[str, Mapping[str, str]]


def outdated(heads: Iterable[Head], glossary_id: str, changed: Change) -> list[str]:
    """Return the ids of the dictionaries that a glossary had and has no more after a change."""
    has = set() if changed.head is None else {dictionary.id for dictionary in changed.head.dictionaries}
    had = [own.id for head in heads if head.id == glossary_id for own in head.dictionaries]
    return [id for id in had if id not in has]


class GlossaryStore(Protocol):
    """Storage of glossaries, by owner. Each method may raise StoreUnavailable; one thread calls at a time."""

    def heads(self, owner: str) -> list[Head]:
        """Return the heads of the owner's glossaries, oldest first."""

    def entries(self, owner: str, dictionary_id: str) -> dict[str, str] | None:
        """Return the entries of a dictionary; None if there is none of that id."""

    def update(self, owner: str, glossary_id: str, change: Callable[[list[Head]], Change]) -> None:
        """Add, change or delete a glossary in one step, whatever other processes do meanwhile.

        Entries of dictionaries that the new head has no more are deleted.

        Args:
            owner: the name of an API key, or NOBODY.
            glossary_id: of the glossary that is changed.
            change: makes the change from the owner's heads. It may read entries, is called again if another process
                changed the heads meanwhile, and what it raises is passed on.
        """


class Glossaries:
    """The glossaries of one server; thread-safe. Methods block for as long as the store does."""

    def __init__(
        self,
        open_store: Callable[[], GlossaryStore],
        pairs: Callable[[], Collection[Pair]],
        most: int,
        most_bytes: int,
    ) -> None:
        """Open no store yet.

        Args:
            open_store: called when a store is first needed.
            pairs: returns the language pairs that a model translates directly.
            most: glossaries that an owner may have.
            most_bytes: of all entries of an owner; and of all that are held ready in memory, of MOST_READY glossaries
                at most.
        """
        self._open_store, self._pairs, self._most, self._most_bytes = open_store, pairs, most, most_bytes
        self._store: GlossaryStore | None = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # one at a time is made ready: the larger ones take a tenfold of their bytes
        self._known = _Known(most_bytes)

    def create(self, owner: str, name: str, given: Sequence[Entries]) -> Head:
        """Store a new glossary.

        Args:
            owner: the name of an API key, or NOBODY.
            name: of 1 to MAX_NAME_CHARACTERS characters; several may have the same.
            given: a dictionary for each language pair.

        Raises:
            GlossaryRefused: no model translates a pair, a pair comes twice, the owner has too many glossaries or too
                large ones, or an entry is malformed.
            StoreUnavailable: the store cannot be written.
        """
        _check_name(name)
        self._check(given)
        head = Head(str(uuid.uuid4()), name, datetime.now(UTC).isoformat(timespec="microseconds"), ())
        new = [(_described(entries), entries) for entries in given]
        for dictionary, _ in new:
            head = head.having(dictionary)

        def add(heads: list[Head]) -> Change:
            if len(heads) >= self._most:
                raise GlossaryRefused(f"There are {self._most} glossaries already; delete one first.")
            self._check_bytes(heads, head)
            return Change(head, {dictionary.id: entries.terms for dictionary, entries in new})

        self._store_change(owner, head.id, add)
        return head

    def update(self, owner: str, glossary_id: str, name: str | None, given: Sequence[Entries] = ()) -> Head:
        """Rename a glossary, and add entries to its dictionaries; a term that it has gets the new translation.

        Args:
            owner: the name of an API key, or NOBODY.
            glossary_id: of the glossary.
            name: the new one; None leaves it.
            given: entries by language pair; the glossary need not have a dictionary for it yet.

        Raises:
            UnknownGlossary: there is no such glossary.
            GlossaryRefused: as for `create`.
            StoreUnavailable: the store cannot be written.
        """
        if name is not None:
            _check_name(name)
        return self._write(owner, glossary_id, name, given, merges=True)

    def replace(self, owner: str, glossary_id: str, given: Entries) -> Dictionary:
        """Replace the dictionary of a language pair, or add one.

        Raises:
            UnknownGlossary: there is no such glossary.
            GlossaryRefused: as for `create`.
            StoreUnavailable: the store cannot be written.
        """
        head = self._write(owner, glossary_id, None, [given], merges=False)
        return head.dictionary(given.pair)

    def remove_dictionary(self, owner: str, glossary_id: str, pair: Pair) -> None:
        """Delete the dictionary of a language pair. Raises UnknownGlossary, UnknownDictionary, StoreUnavailable."""

        def without(heads: list[Head]) -> Change:
            head = _of_id(heads, glossary_id)
            gone = head.dictionary(pair)
            return Change(replace(head, dictionaries=tuple(own for own in head.dictionaries if own != gone)), {})

        self._store_change(owner, glossary_id, without)

    def remove(self, owner: str, glossary_id: str) -> None:
        """Delete a glossary. Raises UnknownGlossary, StoreUnavailable."""

        def nothing(heads: list[Head]) -> Change:
            _of_id(heads, glossary_id)
            return Change(None, {})

        self._store_change(owner, glossary_id, nothing)

    @property
    def most_entries(self) -> int:
        """The most entries that the bytes of an owner's glossaries have room for."""
        return self._most_bytes // ENTRY_BYTES

    def pairs(self) -> Collection[Pair]:
        """Return the language pairs that a model translates directly."""
        return self._pairs()

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
        return _of_id(self.heads(owner), glossary_id)

    def entries(self, owner: str, glossary_id: str, pair: Pair) -> dict[str, str]:
        """Return the entries for a language pair. Raises UnknownGlossary, UnknownDictionary, StoreUnavailable."""
        for _ in range(_TRIES):
            dictionary = self.head(owner, glossary_id).dictionary(pair)
            with self._opened() as store:
                if (entries := store.entries(owner, dictionary.id)) is not None:
                    return entries
        raise UnknownGlossary

    def find(self, owner: str, wanted: Iterable[str], source: str | None, target: str) -> Glossary:
        """Return what glossaries say for a language pair, to translate with. The first that has a term decides.

        Args:
            owner: the name of an API key, or NOBODY.
            wanted: the id of each glossary, or else the name: the newest of that name.
            source: a code; None for the one language from which the glossaries have entries to the target.
            target: a code.

        Raises:
            UnknownGlossary: there is no such glossary.
            GlossaryRefused: it is for other languages, or for several sources.
            StoreUnavailable: the store cannot be read.
        """
        names = list(dict.fromkeys(wanted))
        for _ in range(_TRIES):
            heads = self.heads(owner)
            dictionaries = [_fitting(_wanted(heads, name), source, target) for name in names]
            if len({dictionary.source for dictionary in dictionaries}) > 1:
                raise GlossaryRefused("The glossaries are for several source languages; name the source.")
            if (glossary := self._ready(owner, dictionaries)) is not None:
                return glossary
        raise UnknownGlossary

    def _ready(self, owner: str, dictionaries: Sequence[Dictionary]) -> Glossary | None:
        """Return the glossary of dictionaries for one language pair; None if one of them is not there any more."""
        ids = tuple(dictionary.id for dictionary in dictionaries)
        with self._lock:
            if (glossary := self._known.get(ids)) is not None:
                return glossary
        with self._reading:
            with self._lock:
                if (glossary := self._known.get(ids)) is not None:
                    return glossary
            terms: dict[str, str] = {}
            for dictionary in reversed(dictionaries):
                with self._opened() as store:
                    found = store.entries(owner, dictionary.id)
                if found is None:
                    return None
                terms |= found
            glossary = Glossary(terms, dictionaries[0].source, dictionaries[0].target)
            with self._lock:
                self._known.add(ids, glossary, sum(dictionary.bytes for dictionary in dictionaries))
            return glossary

    def _write(self, owner: str, glossary_id: str, name: str | None, given: Sequence[Entries], *, merges: bool) -> Head:
        """Give a glossary a name and dictionaries.

        Args:
            owner: the name of an API key, or NOBODY.
            glossary_id: of the glossary.
            name: the new one; None leaves it.
            given: entries by language pair.
            merges: whether entries that it has for a pair stay beside the new ones.

        Raises:
            UnknownGlossary: there is no such glossary.
            GlossaryRefused: as for `create`.
            StoreUnavailable: the store cannot be written.
        """
        self._check(given)
        written: list[Head] = []

        def change(heads: list[Head]) -> Change:
            head = _of_id(heads, glossary_id)
            new: dict[str, Mapping[str, str]] = {}
            if name is not None:
                head = replace(head, name=name)
            for entries in given:
                own = [each for each in head.dictionaries if each.pair == entries.pair]
                if own and merges:
                    assert self._store is not None
                    entries = entries._replace(terms={**(self._store.entries(owner, own[0].id) or {}), **entries.terms})
                dictionary = _described(entries)
                head, new[dictionary.id] = head.having(dictionary), entries.terms
            if new:
                self._check_bytes(heads, head)
            written.append(head)
            return Change(head, new)

        self._store_change(owner, glossary_id, change)
        return written[-1]

    def _check(self, given: Sequence[Entries]) -> None:
        for entries in given:
            self.check_pair(entries.source, entries.target)
            if not entries.terms:
                raise GlossaryRefused("A glossary needs at least one entry for each of its language pairs.")
            check_entries(entries.terms)
        if len({entries.pair for entries in given}) != len(given):
            raise GlossaryRefused("A language pair comes twice; send its entries in one dictionary.")

    def _check_bytes(self, heads: Iterable[Head], changed: Head) -> None:
        others = [head for head in heads if head.id != changed.id]
        size = sum(dictionary.bytes for head in [*others, changed] for dictionary in head.dictionaries)
        if size > self._most_bytes:
            raise GlossaryRefused(
                f"All glossaries together would have {size:,} bytes, where an entry counts at least {ENTRY_BYTES}; the "
                f"limit is {self._most_bytes:,}."
            )

    def _store_change(self, owner: str, glossary_id: str, change: Callable[[list[Head]], Change]) -> None:
        """Have the store change a glossary, and forget what is ready of dictionaries that are gone."""
        gone: list[str] = []

        def noted(heads: list[Head]) -> Change:
            changed = change(heads)
            gone[:] = outdated(heads, glossary_id, changed)
            return changed

        with self._opened() as store:
            store.update(owner, glossary_id, noted)
            self._known.forget(gone)

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


class _Known:
    """Glossaries that are ready to translate with, by the ids of their dictionaries.

    They are bounded by the bytes of their entries and by their number: one of a single entry takes 1 kB, so that the
    bytes alone would let a client that makes, uses and deletes glossaries fill the memory.
    """

    def __init__(self, most_bytes: int) -> None:
        """Start with none; `most_bytes` are those of their entries."""
        self._most_bytes, self._bytes = most_bytes, 0
        self._glossaries: OrderedDict[tuple[str, ...], tuple[Glossary, int]] = (
            OrderedDict()
        )  # least recently used first

    def __len__(self) -> int:
        """Return how many are ready."""
        return len(self._glossaries)

    def get(self, ids: tuple[str, ...]) -> Glossary | None:
        """Return a glossary, if it is there."""
        if ids not in self._glossaries:
            return None
        self._glossaries.move_to_end(ids)
        return self._glossaries[ids][0]

    def add(self, ids: tuple[str, ...], glossary: Glossary, size: int) -> None:
        """Keep a glossary of some bytes, and as many of the others, the last used first, as there is room for."""
        self._drop(ids)
        self._glossaries[ids] = glossary, size
        self._bytes += size
        while len(self._glossaries) > MOST_READY or (self._bytes > self._most_bytes and len(self._glossaries) > 1):
            self._drop(next(iter(self._glossaries)))

    def forget(self, dictionary_ids: Collection[str]) -> None:
        """Drop the glossaries that have one of these dictionaries."""
        for ids in [ids for ids in self._glossaries if not set(ids).isdisjoint(dictionary_ids)]:
            self._drop(ids)

    def _drop(self, ids: tuple[str, ...]) -> None:
        _, size = self._glossaries.pop(ids, (None, 0))
        self._bytes -= size


def _described(entries: Entries) -> Dictionary:
    size = sum(max(ENTRY_BYTES, len(f"{term}{translation}".encode())) for term, translation in entries.terms.items())
    return Dictionary(str(uuid.uuid4()), entries.source, entries.target, len(entries.terms), size)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS:
        raise GlossaryRefused(f"A glossary's name has from 1 to {MAX_NAME_CHARACTERS} characters.")


def _of_id(heads: Iterable[Head], glossary_id: str) -> Head:
    for head in heads:
        if head.id == glossary_id:
            return head
    raise UnknownGlossary


def _wanted(heads: Iterable[Head], wanted: str) -> Head:
    found = [head for head in heads if wanted in (head.id, head.name)]
    if not found:
        raise UnknownGlossary
    return max(found, key=lambda head: (head.id == wanted, head.created))


def _fitting(head: Head, source: str | None, target: str) -> Dictionary:
    found = [own for own in head.dictionaries if own.target == target and source in (own.source, None)]
    if not found:
        has = ", ".join(f"{own.source} to {own.target}" for own in head.dictionaries) or "nothing"
        raise GlossaryRefused(f"No dictionary found for language pair; the glossary is for {has}.")
    if len(found) > 1:
        raise GlossaryRefused("The glossary is for several source languages; name the source.")
    return found[0]
