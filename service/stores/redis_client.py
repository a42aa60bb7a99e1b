"""The connection to Redis. Only servers with several replicas need it: its package is an extra, imported here only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TIMEOUT_S = 0.5  # of one answer; a replica in the same network needs a thousandth


class RedisClient:
    """What the stores in Redis have in common: a client that connects at its first call, and how it fails."""

    def __init__(self, url: str, down: type[Exception], **options: Any) -> None:
        """Connects to nothing yet.

        Args:
            url: redis://, rediss:// or unix://.
            down: raised with a sentence when Redis fails, and at once if the package is missing or the address is none.
            options: more of the client's.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise down("REDIS_URL is set; install the client: pip install 'sub3[redis]'.") from None
        self._down, self._error = down, redis.RedisError
        retry = Retry(NoBackoff(), 1)  # once: a connection that was idle may have been closed
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=retry, **options
            )
        except ValueError:
            raise down("REDIS_URL is no redis://, rediss:// or unix:// address.") from None

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise self._down(f"Redis: {error}.") from None
