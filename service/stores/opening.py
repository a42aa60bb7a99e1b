"""The stores that the settings name: Redis where replicas share them, else a file of this server.

The backends are imported here as they are needed: an open server without glossaries loads neither SQLite nor Redis.
"""

from service.accounts.glossaries import GlossaryStore
from service.accounts.keys import KeyStore
from service.live.state import FileStore, NoStore, StateStore
from service.settings import Settings


def open_keys(settings: Settings) -> KeyStore:
    """Open the store of API keys.

    Raises:
        StoreUnavailable: the file cannot be opened, or the address is not one. A Redis that is down is asked again.
    """
    if settings.redis_url is not None:
        from service.stores.redis import RedisKeys

        return RedisKeys(settings.redis_url.get_secret_value(), settings.redis_password)
    from service.stores.sqlite import SqliteKeys

    return SqliteKeys(settings.keys_file)


def open_glossaries(settings: Settings) -> GlossaryStore:
    """Open the store of glossaries.

    Raises:
        StoreUnavailable: the file cannot be opened, or the address is not one. A Redis that is down is asked again.
    """
    if settings.redis_url is not None:
        from service.stores.redis import RedisGlossaries

        return RedisGlossaries(settings.redis_url.get_secret_value(), settings.redis_password)
    from service.stores.sqlite import SqliteGlossaries

    return SqliteGlossaries(settings.glossaries_file)


def open_state(settings: Settings) -> StateStore:
    """Open the store of the desired state; without Redis and without a file nothing is stored.

    Raises:
        StoreUnavailable: the address is not one. A file or a Redis that cannot be read is asked again.
    """
    if settings.redis_url is not None:
        from service.stores.redis import RedisState

        return RedisState(settings.redis_url.get_secret_value(), settings.redis_password)
    return NoStore() if settings.state_file is None else FileStore(settings.state_file)
