"""What all connections hold together, connections and bytes of bodies, and how much of it one address may hold."""

import ipaddress
from collections import Counter
from typing import NamedTuple

from service.settings import Settings

# An IPv6 client has a /64, or more, of addresses of its own.
_IPV6_PREFIX = 64
_OF_ADDRESS = 2  # an address may hold one half of the bytes


class Refusal(NamedTuple):
    """The status and the sentence of an error."""

    status: int
    sentence: str


class Shares:
    """The counts of one server. Trusted proxies have no share: their clients are many."""

    def __init__(self, settings: Settings) -> None:
        """Start with nothing held."""
        self._settings = settings
        self._connections, self._bytes = 0, 0
        self._connections_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()

    def share_of(self, host: str) -> str | None:
        """Return whose share an address has; None for none, as trusted proxies and Unix sockets have."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        if any(address in network for network in self._settings.trusted_networks):
            return None
        return str(ipaddress.ip_network((host, _IPV6_PREFIX), strict=False)) if address.version == 6 else host

    def connect(self, share: str | None) -> Refusal | None:
        """Count a connection, which must `leave`, whether or not it is refused."""
        self._connections += 1
        if share is not None:
            self._connections_of[share] += 1
        most, of_address = self._settings.max_connections, self._settings.max_connections_per_address
        if self._connections > most:
            return Refusal(503, f"The server has its {most} connections; retry in a moment.")
        if share is not None and self._connections_of[share] > of_address:
            return Refusal(429, f"This address has its {of_address} connections; close one and retry.")
        return None

    @property
    def is_flooded(self) -> bool:
        """Whether there are so many connections that not even refusals are sent."""
        return self._connections > 2 * self._settings.max_connections

    def leave(self, share: str | None) -> None:
        """Take a connection off."""
        self._connections -= 1
        if share is not None:
            _take(self._connections_of, share, 1)

    def hold(self, share: str | None, size: int) -> Refusal | None:
        """Count bytes of a body, which must be released, whether or not they are refused."""
        self._bytes += size
        if share is not None:
            self._bytes_of[share] += size
        most = self._settings.max_held_bytes
        if self._bytes > most or (share is not None and self._bytes_of[share] > most // _OF_ADDRESS):
            return Refusal(503, "Too many bytes of unanswered requests are held; retry in a moment.")
        return None

    def release(self, share: str | None, size: int) -> None:
        """Take bytes off."""
        self._bytes -= size
        if share is not None:
            _take(self._bytes_of, share, size)


def _take(counts: Counter[str], share: str, size: int) -> None:
    counts[share] -= size
    if counts[share] <= 0:
        del counts[share]
