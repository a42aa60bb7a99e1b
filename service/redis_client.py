"""The connection to Redis. Only servers with several replicas need it: its package is an extra, imported here only."""

from typing import Any

TIMEOUT_S = 0.5  # of one answer; a replica in the same network needs a thousandth


def connect(url: str, failure: type[Exception], **options: Any) -> tuple[Any, type[Exception]]:
    """A client that connects at its first call, and the base class of what it raises.

    Args:
        url: redis://, rediss:// or unix://.
        failure: raised with a sentence if the package is missing or the address is none.
        options: more of the client's.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise failure("REDIS_URL is set; install the client: pip install 'sub3[redis]'.") from None
    retry = Retry(NoBackoff(), 1)  # once: a connection that was idle may have been closed
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=retry, **options
        )
    except ValueError:
        raise failure("REDIS_URL is no redis://, rediss:// or unix:// address.") from None
    return client, redis.RedisError
