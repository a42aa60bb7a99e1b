"""Stores in Redis, which replicas of one service share: API keys, glossaries and the desired state of the models.

The redis package is an extra. It is imported by the first store that is opened.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from service.accounts.glossaries import Change, Head, outdated
from service.accounts.keys import NameTaken, Record
from service.accounts.unavailable import StoreUnavailable
from service.live.state import BadState, Saved, dump, parse
from service.stores.records import read_heads, read_record, read_records, write_record

TIMEOUT_S = 0.5  # of one reply; a replica in the same network needs a thousandth
_KEY = "sub3:key:"
_HEADS, _ENTRIES = "sub3:glossary-heads:", "sub3:glossary-entries:"
_DESIRED = "sub3:desired:"
# One atomic step for all replicas: of two that write the same generation, the second learns that it came too late.
_WRITE_NEWER = """
local kept = redis.call("GET", KEYS[1])
if kept then
  local read, document = pcall(cjson.decode, kept)
  if read and type(document) == "table" and (tonumber(document.generation) or -1) >= tonumber(ARGV[1]) then
    return 0
  end
end
redis.call("SET", KEYS[1], ARGV[2])
return 1
"""


class _Client:
    """A client that connects at its first call, and how it fails."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """Connect to nothing yet.

        Args:
            url: redis://, rediss:// or unix://.
            password: where the address does not hold one.

        Raises:
            StoreUnavailable: the redis package is missing, or the address is not one.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise StoreUnavailable("REDIS_URL is set; install the client: pip install 'sub3[redis]'.") from None
        self._error = redis.RedisError
        retry = Retry(NoBackoff(), 1)  # once: a connection that was idle may have been closed
        try:
            self._redis: Any = redis.Redis.from_url(
                url, password=password, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=retry
            )
        except ValueError:
            raise StoreUnavailable("REDIS_URL must start with redis://, rediss:// or unix://.") from None

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def time(self) -> float:
        """Return the server's time in seconds. Raises StoreUnavailable."""
        with self._failures():
            seconds, microseconds = self._redis.time()
            return float(seconds) + 1e-6 * float(microseconds)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise StoreUnavailable(f"Redis: {error}.") from None


class RedisKeys(_Client):
    """API keys, one Redis key each, changed under WATCH, so that replicas never overwrite each other's counts."""

    def add(self, record: Record) -> None:
        """See KeyStore."""
        with self._failures():
            if not self._redis.set(_KEY + record.name, write_record(record), nx=True):
                raise NameTaken(record.name)

    def all(self) -> list[Record]:
        """See KeyStore."""
        with self._failures():
            names = sorted(self._redis.scan_iter(f"{_KEY}*", count=1000))
            # what was deleted a moment ago, or is not a string, is None
            return read_records(Record, self._redis.mget(names) if names else [])

    def update(self, name: str, change: Callable[[Record], Record]) -> Record | None:
        """See KeyStore."""

        def write(pipe: Any) -> Any:
            (text,) = pipe.mget([_KEY + name])  # GET fails where the key is not a string, as if Redis were down
            if text is None or (record := read_record(Record, text)) is None:
                return None
            record = change(record)
            pipe.multi()
            pipe.set(_KEY + name, write_record(record, text))
            return record

        with self._failures():
            changed: Any = self._redis.transaction(write, _KEY + name, value_from_callable=True)
            return changed if isinstance(changed, Record) else None


class RedisGlossaries(_Client):
    """Glossaries: two hashes for each owner, heads and entries of dictionaries by id, changed in one transaction."""

    def heads(self, owner: str) -> list[Head]:
        """See GlossaryStore."""
        with self._failures():
            return _sorted_heads(self._redis.hvals(_HEADS + owner))

    def entries(self, owner: str, dictionary_id: str) -> dict[str, str] | None:
        """See GlossaryStore."""
        with self._failures():
            text = self._redis.hget(_ENTRIES + owner, dictionary_id)
            return None if text is None else orjson.loads(text)

    def update(self, owner: str, glossary_id: str, change: Callable[[list[Head]], Change]) -> None:
        """See GlossaryStore."""

        def write(pipe: Any) -> None:
            heads = _sorted_heads(pipe.hvals(_HEADS + owner))
            changed = change(heads)
            pipe.multi()
            if changed.head is None:
                pipe.hdel(_HEADS + owner, glossary_id)
            else:
                pipe.hset(_HEADS + owner, glossary_id, write_record(changed.head))
            for gone in outdated(heads, glossary_id, changed):
                pipe.hdel(_ENTRIES + owner, gone)
            for id, entries in changed.entries.items():
                pipe.hset(_ENTRIES + owner, id, orjson.dumps(entries))

        with self._failures():
            self._redis.transaction(write, _HEADS + owner)


def _sorted_heads(texts: Iterable[bytes]) -> list[Head]:
    return sorted(read_heads(texts), key=lambda head: (head.created, head.id))


class RedisState(_Client):
    """The desired state: one Redis key for each model, which only a higher generation replaces; see `StateStore`."""

    shared = True

    def read(self, model: str) -> Saved | None:
        """See StateStore."""
        with self._failures():
            text: bytes | None = self._redis.get(_DESIRED + model)
        if text is None:
            return None
        try:
            return parse(orjson.loads(text))
        except ValueError as error:
            raise BadState(f"Redis key {_DESIRED}{model} is not a desired state: {error}.") from None

    def write(self, model: str, saved: Saved) -> bool:
        """See StateStore."""
        with self._failures():
            return bool(self._redis.eval(_WRITE_NEWER, 1, _DESIRED + model, saved.generation, dump(saved)))
