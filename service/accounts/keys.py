"""API keys: who may translate, how often, and how much. Knows no HTTP and no database.

A key is `NAME.SECRET`. The secret is 256 random bits, so one SHA-256 protects it at rest: slow hashes are there to make
guessing words expensive, and nobody guesses 256 bits. The name, which is no secret, finds the record; the digests are
then compared in constant time, so that how long a refusal takes says nothing about the stored one.
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

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # no dot: it ends the name
_MINUTE_S = 60.0
_log = logging.getLogger("sub3.keys")


class MissingKey(Exception):
    """The server asks for keys and the request has none."""

    def __init__(self) -> None:
        """The sentence that the client reads."""
        super().__init__("This server asks for an API key; send it as Authorization: Bearer KEY or X-Api-Key: KEY.")


class WrongKey(Exception):
    """The key is unknown or revoked."""

    def __init__(self) -> None:
        """The sentence that the client reads."""
        super().__init__("The API key is wrong or revoked; ask the server's operator for one.")


class RateExceeded(Exception):
    """The key's requests came too fast; carries the seconds after which the next one passes."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        """`limit`: requests a minute."""
        super().__init__(f"This API key allows {limit:,} requests a minute; retry after {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class QuotaExceeded(Exception):
    """The request would pass the key's characters of this month."""

    def __init__(self, limit: int, left: int) -> None:
        """`limit`, `left`: characters, of this month."""
        super().__init__(f"This API key allows {limit:,} characters a month and has {left:,} left.")


class StoreDown(Exception):
    """The key's record can't be read, and no earlier copy of it is known."""


class NameTaken(ValueError):
    """A key of that name exists or existed."""


@dataclass(frozen=True, slots=True)
class Record:
    """A key at rest. The two counts are of `month`, "YYYY-MM" in UTC; `paid_until` is a Unix time, see `charge`."""

    name: str
    digest: str
    requests_per_minute: int | None = None
    characters_per_month: int | None = None
    revoked: bool = False
    month: str = ""
    requests: int = 0
    characters: int = 0
    paid_until: float = 0.0


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What an accepted request used and what its key has used this month; on an open server all is empty."""

    name: str | None = None
    charged: int = 0
    requests: int = 0
    characters: int = 0
    characters_per_month: int | None = None


class Store(Protocol):
    """Where records are kept. Each method raises StoreDown when it can't; one thread calls at a time."""

    def add(self, record: Record) -> None:
        """Keep a new record; NameTaken if there is one of its name."""

    def all(self) -> list[Record]:
        """Every record."""

    def update(self, name: str, change: Callable[[Record], Record]) -> Record | None:
        """Replace a record by what `change` makes of it, as one transaction; None if there is none of that name.

        What `change` raises passes through, and nothing is written.
        """


class Keys:
    """The keys of one server; thread-safe. Methods block for as long as the store does: call them off the event loop.

    When the store fails, the last known records go on deciding here, what they count is added to the store's records as
    soon as it answers again, and `down` and the log say so. A key revoked meanwhile is refused from then on.
    """

    def __init__(self, store: Store | None, clock: Callable[[], float] = time.time, ask_again_s: float = 1.0) -> None:
        """`store`: None is an open server. `clock`: Unix time in seconds. `ask_again_s`: pause while it is down."""
        self._store, self._clock, self._ask_again_s = store, clock, ask_again_s
        self._lock = threading.Lock()
        self._known: dict[str, Record] = {}
        self._unsaved: dict[str, tuple[int, int]] = {}  # requests and characters counted while the store was down
        self.down = False
        if store is not None:
            try:
                self._known = {record.name: record for record in store.all()}
            except StoreDown as error:
                self._fell(error)

    @property
    def required(self) -> bool:
        """Whether a request needs a key."""
        return self._store is not None

    def authorise(self, key: str | None, characters: int) -> KeyUse:
        """Let a request of so many characters pass, and count it.

        Raises:
            MissingKey, WrongKey, RateExceeded, QuotaExceeded: it may not pass; nothing is counted.
            StoreDown: nobody can tell.
        """
        return self._use(key, characters, lambda record: charge(record, characters, self._clock()))

    def usage(self, key: str | None) -> KeyUse:
        """What a key has used this month, without counting anything.

        Raises:
            MissingKey, WrongKey, StoreDown: as `authorise`.
        """
        return self._use(key, 0, lambda record: _this_month(record, self._clock()))

    def refund(self, use: KeyUse) -> None:
        """Take a request back that the server then failed to answer; the pace of requests is not given back."""
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
            if not hmac.compare_digest(record.digest, digest) or record.revoked:
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
        """Change a record in the store, or the last known one while the store is down. The lock is held."""
        assert self._store is not None
        unsaved = self._unsaved.get(name, (0, 0))
        record: Record | None
        if not self.down:
            try:
                record = self._store.update(
                    name, lambda record: change(_counted(_this_month(record, self._clock()), *unsaved))
                )
            except StoreDown as error:
                self._fell(error)
            else:
                self._unsaved.pop(name, None)
                if record is None:
                    self._known.pop(name, None)
                else:
                    self._known[name] = record
                return record
        if name not in self._known:
            raise StoreDown("The API key can't be checked at the moment; retry later.")
        record = self._known[name] = change(self._known[name])
        self._unsaved[name] = (unsaved[0] + requests, unsaved[1] + characters)
        return record

    def _fell(self, error: StoreDown) -> None:
        self.down = True
        _log.error("The store of API keys is down, the last known state decides: %s", error)
        # a thread asks, so that no request waits for what doesn't answer
        threading.Thread(target=self._ask_until_it_answers, name="api-keys", daemon=True).start()

    def _ask_until_it_answers(self) -> None:
        assert self._store is not None
        while True:
            time.sleep(self._ask_again_s)
            try:
                records = self._store.all()
            except StoreDown:
                continue
            with self._lock:
                self._known = {r.name: _counted(r, *self._unsaved.get(r.name, (0, 0))) for r in records}
                self.down = False
            _log.warning("The store of API keys answers again.")
            return


def new_key(name: str, requests_per_minute: int | None, characters_per_month: int | None) -> tuple[str, Record]:
    """A key, to be shown once, and its record, to be kept.

    Raises:
        ValueError: the name can't be one.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("A key's name is up to 64 letters, digits, - and _, and begins with a letter or digit.")
    secret = secrets.token_urlsafe(32)
    return f"{name}.{secret}", Record(name, _digest(secret), requests_per_minute, characters_per_month)


def charge(record: Record, characters: int, now: float) -> Record:
    """The record after one more request; `now` is a Unix time.

    The pace is a token bucket that holds a minute's requests, written as one number: each request pays for 60/limit
    seconds, `paid_until` is how far all of them have paid, and it may run ahead of the clock by a minute.

    Raises:
        RateExceeded, QuotaExceeded: one more would be too many.
    """
    record = _this_month(record, now)
    quota, pace = record.characters_per_month, record.requests_per_minute
    if quota is not None and record.characters + characters > quota:
        raise QuotaExceeded(quota, max(0, quota - record.characters))
    paid_until = record.paid_until
    if pace is not None:
        if paid_until > now + 2 * _MINUTE_S:
            paid_until = now  # the clock was set back: that mustn't shut the key out
        paid_until = max(paid_until, now) + _MINUTE_S / pace
        wait_s = paid_until - now - _MINUTE_S
        if wait_s > 1e-3:  # float64 knows today's Unix time to a quarter of a microsecond
            raise RateExceeded(pace, max(1, math.ceil(wait_s)))
    return replace(_counted(record, 1, characters), paid_until=paid_until)


def _this_month(record: Record, now: float) -> Record:
    month = time.strftime("%Y-%m", time.gmtime(now))
    return record if record.month == month else replace(record, month=month, requests=0, characters=0)


def _counted(record: Record, requests: int, characters: int) -> Record:
    return replace(
        record, requests=max(0, record.requests + requests), characters=max(0, record.characters + characters)
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
