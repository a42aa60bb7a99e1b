"""API keys: authentication, rate limits (GCRA) and monthly quotas. Independent of HTTP and of the store's backend.

A key is `NAME.SECRET`. The secret is 256 random bits, so one SHA-256 protects it at rest: slow hashes make guessing
words expensive, and nobody guesses 256 bits. The name is public and finds the record. The digests are then compared in
constant time, so that the time of a refusal tells nothing about the stored one.
"""

import hashlib
import hmac
import logging
import math
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from service.accounts.unavailable import StoreUnavailable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # no dot: it ends the name
_MINUTE_S = 60.0
_DAY_S = 86_400.0
MAX_LIMIT = 1 << 53  # whole numbers of JSON, to every reader of it
_log = logging.getLogger("sub3.keys")


class MissingKey(Exception):
    """The server asks for keys and the request has none."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("This server asks for an API key; send it as Authorization: Bearer KEY or X-Api-Key: KEY.")


class WrongKey(Exception):
    """The key is unknown or revoked."""

    def __init__(self) -> None:
        """Build the sentence that the client reads."""
        super().__init__("The API key is wrong or revoked; ask the server's operator for one.")


class RateExceeded(Exception):
    """The key is over its rate limit; `retry_after_s` is when the next request passes."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        """Build the sentence that the client reads; `limit` is in requests a minute."""
        super().__init__(f"This API key allows {limit:,} requests a minute; retry after {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class QuotaExceeded(Exception):
    """The request would pass the key's monthly quota of characters."""

    def __init__(self, limit: int, left: int) -> None:
        """Build the sentence that the client reads; `limit` and `left` are characters of this month."""
        super().__init__(f"This API key allows {limit:,} characters a month and has {left:,} left.")


class NameTaken(ValueError):
    """A key of that name exists or existed."""

    def __init__(self, name: str) -> None:
        """Build the sentence that the operator reads."""
        super().__init__(f"There is or was a key named {name}; choose another name.")


@dataclass(frozen=True, slots=True)
class Record:
    """A stored key. Both counts are of `month`, "YYYY-MM" in UTC; `paid_until` is a Unix time, see `charge`.

    Raises:
        ValueError: a limit is not from 1 to MAX_LIMIT.
    """

    name: str
    digest: str
    requests_per_minute: int | None = None
    characters_per_month: int | None = None
    revoked: bool = False
    month: str = ""
    requests: int = 0
    characters: int = 0
    paid_until: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits."""
        for limit in (self.requests_per_minute, self.characters_per_month):
            if limit is not None and not 1 <= limit <= MAX_LIMIT:
                raise ValueError(f"A limit of a key is a whole number from 1 to {MAX_LIMIT:,}.")


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The charge of an accepted request, and the usage of its key this month; all empty on an open server."""

    name: str | None = None
    charged: int = 0
    requests: int = 0
    characters: int = 0
    characters_per_month: int | None = None


class KeyStore(Protocol):
    """Storage of records. Each method may raise StoreUnavailable; one thread calls at a time."""

    def add(self, record: Record) -> None:
        """Store a new record. Raises NameTaken if there is one of its name."""

    def all(self) -> list[Record]:
        """Return every record, sorted by name."""

    def update(self, name: str, change: Callable[[Record], Record]) -> Record | None:
        """Replace a record by `change(record)` in one transaction; return None if there is none of that name.

        An exception of `change` passes through, and nothing is written.
        """


class Keys:
    """The keys of one server; thread-safe. Methods block for as long as the store does: call them off the event loop.

    While the store is unavailable, the cached records decide. What they count meanwhile is added to the store's records
    when it answers again. `down` and the log tell the operator. A key revoked meanwhile is refused from then on.
    """

    def __init__(
        self, store: KeyStore | None, clock: Callable[[], float] = time.time, ask_again_s: float = 1.0
    ) -> None:
        """Read every record of the store.

        Args:
            store: None makes an open server, which asks for no keys.
            clock: the Unix time in seconds.
            ask_again_s: pause between two attempts while the store is unavailable, in seconds.
        """
        self._store, self._clock, self._ask_again_s = store, clock, ask_again_s
        self._lock = threading.Lock()
        self._known: dict[str, Record] = {}
        self._unsaved: dict[str, tuple[int, int]] = {}  # requests, characters: counted while it was down
        self.down = False
        if store is not None:
            try:
                self._known = {record.name: record for record in store.all()}
            except StoreUnavailable as error:
                self._fell(error)

    @property
    def required(self) -> bool:
        """Whether a request needs a key."""
        return self._store is not None

    def authorise(self, key: str | None, characters: int) -> KeyUse:
        """Check the key and its limits for a request of so many characters, and count it.

        Raises:
            MissingKey, WrongKey, RateExceeded, QuotaExceeded: the request may not pass; nothing is counted.
            StoreUnavailable: the store is down and the key is not cached.
        """
        return self._use(key, characters, lambda record: charge(record, characters, self._clock()))

    def usage(self, key: str | None) -> KeyUse:
        """Return what a key has used this month, without counting anything.

        Raises:
            MissingKey, WrongKey: there is no such key.
            StoreUnavailable: the store is down and the key is not cached.
        """
        return self._use(key, 0, lambda record: _this_month(record, self._clock()))

    def refund(self, use: KeyUse) -> None:
        """Take back the charge of a request that the server failed to answer; its place in the rate stays taken."""
        if use.name is None:
            return

        def back(record: Record) -> Record:
            return _counted(_this_month(record, self._clock()), -1, -use.charged)

        with self._lock:
            self._update(use.name, back, -1, -use.charged)

    def _use(self, key: str | None, characters: int, change: Callable[[Record], Record]) -> KeyUse:
        if self._store is None:
            return KeyUse()
        if not key:
            raise MissingKey
        name, _, secret = key.partition(".")
        digest = _digest(secret)

        def checked(record: Record) -> Record:
            stored = record.digest.encode(errors="surrogatepass")  # of text beyond ASCII none is compared
            if not hmac.compare_digest(stored, digest.encode()) or record.revoked:
                raise WrongKey
            return change(record)

        if not _NAME.fullmatch(name):
            raise WrongKey
        with self._lock:
            record = self._update(name, checked, 1 if characters else 0, characters)
        if record is None:
            raise WrongKey
        return KeyUse(name, characters, record.requests, record.characters, record.characters_per_month)

    def _update(self, name: str, change: Callable[[Record], Record], requests: int, characters: int) -> Record | None:
        """Change a record in the store, or the cached one while the store is down. The lock is held."""
        assert self._store is not None
        unsaved = self._unsaved.get(name, (0, 0))
        record: Record | None
        if not self.down:
            try:
                record = self._store.update(
                    name, lambda record: change(_counted(_this_month(record, self._clock()), *unsaved))
                )
            except StoreUnavailable as error:
                self._fell(error)
            else:
                self._unsaved.pop(name, None)
                if record is None:
                    self._known.pop(name, None)
                else:
                    self._known[name] = record
                return record
        if name not in self._known:
            raise StoreUnavailable("The API key can't be checked at the moment; retry later.")
        record = self._known[name] = change(self._known[name])
        self._unsaved[name] = (unsaved[0] + requests, unsaved[1] + characters)
        return record

    def _fell(self, error: StoreUnavailable) -> None:
        self.down = True
        _log.error("The store of API keys is down, the last known state decides: %s", error)
        # a thread of its own, so that no request waits for a store that doesn't answer
        threading.Thread(target=self._ask_until_it_answers, name="api-keys", daemon=True).start()

    def _ask_until_it_answers(self) -> None:
        assert self._store is not None
        while True:
            time.sleep(self._ask_again_s)
            try:
                records = self._store.all()
            except StoreUnavailable:
                continue
            with self._lock:
                self._known = {r.name: _counted(r, *self._unsaved.get(r.name, (0, 0))) for r in records}
                self.down = False
            _log.warning("The store of API keys answers again.")
            return


def new_key(name: str, requests_per_minute: int | None, characters_per_month: int | None) -> tuple[str, Record]:
    """Make a key, to be shown once, and its record, to be stored.

    Args:
        name: up to 64 letters, digits, - and _.
        requests_per_minute: None is unlimited.
        characters_per_month: of source text; None is unlimited.

    Raises:
        ValueError: the name or a limit is not valid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("A key's name is up to 64 letters, digits, - and _, and begins with a letter or digit.")
    secret = secrets.token_urlsafe(32)
    return f"{name}.{secret}", Record(name, _digest(secret), requests_per_minute, characters_per_month)


def charge(record: Record, characters: int, now: float) -> Record:
    """Return the record after one more request; `now` is a Unix time.

    The rate is limited by GCRA, the generic cell rate algorithm, with bursts of one minute: `paid_until` is the
    theoretical arrival time (TAT). Each request moves it on by 60/limit seconds, and it may be ahead of the clock by a
    minute. That is a token bucket of a minute's requests, stored as one number.

    Raises:
        RateExceeded, QuotaExceeded: the request would pass a limit.
    """
    record = _this_month(record, now)
    quota, limit = record.characters_per_month, record.requests_per_minute
    if quota is not None and record.characters + characters > quota:
        raise QuotaExceeded(quota, max(0, quota - record.characters))
    paid_until = record.paid_until
    if limit is not None:
        if paid_until > now + 2 * _MINUTE_S:
            paid_until = now  # the clock was set back: that mustn't shut the key out
        paid_until = max(paid_until, now) + _MINUTE_S / limit
        wait_s = paid_until - now - _MINUTE_S
        if wait_s > 1e-3:  # float64 resolves today's Unix time to a quarter of a microsecond
            raise RateExceeded(limit, max(1, math.ceil(wait_s)))
    return replace(_counted(record, 1, characters), paid_until=paid_until)


def _this_month(record: Record, now: float) -> Record:
    """Begin the record's month if it is over.

    Another replica's clock may be ahead, by up to a day: a month that it has begun goes on, for else each of the two
    would give the key a new quota at every request. What is further ahead was written by a clock that was wrong.
    """
    month = _month(now)
    if month <= record.month <= _month(now + _DAY_S):
        return record
    return replace(record, month=month, requests=0, characters=0)


def _month(now: float) -> str:
    return time.strftime("%Y-%m", time.gmtime(now))


def _counted(record: Record, requests: int, characters: int) -> Record:
    return replace(
        record, requests=max(0, record.requests + requests), characters=max(0, record.characters + characters)
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
