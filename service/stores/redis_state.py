"""The desired state in Redis: one key a model, which only a higher generation replaces."""

import orjson

from service.live.state import BadState, Saved, StateStoreDown, dump, parse
from service.stores.redis_client import RedisClient

PREFIX = "sub3:desired:"
# One step for all replicas: the second of two that write the same generation learns that it came too late.
_WRITE = """
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


class RedisStateStore(RedisClient):
    """Replicas of one service share it; see `service.live.state.Store`."""

    shared = True

    def __init__(self, url: str, password: str | None = None) -> None:
        """`password` where the address holds none. Raises StateStoreDown as RedisClient says."""
        super().__init__(url, StateStoreDown, password=password)

    def read(self, model: str) -> Saved | None:
        """What was saved last; None if nothing was. Raises StateStoreDown, BadState."""
        with self._failures():
            text: bytes | None = self._redis.get(PREFIX + model)
        if text is None:
            return None
        try:
            return parse(orjson.loads(text))
        except ValueError as error:
            raise BadState(f"Redis key {PREFIX}{model} is no desired state: {error}.") from None

    def write(self, model: str, saved: Saved) -> bool:
        """Keep it, unless what is kept has this generation or a higher one: then False. Raises StateStoreDown."""
        with self._failures():
            return bool(self._redis.eval(_WRITE, 1, PREFIX + model, saved.generation, dump(saved)))
