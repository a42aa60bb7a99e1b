"""`make kills`: kill -9 at random instants while state, keys, glossaries and models are written, and what is then read.

A writer, in a process of its own, writes numbers one after the other and tells of each that is stored. It is killed;
whoever opens the store next must find the last number that was told, or the next one, and all of it. Every second kill
of what is in Redis is that of Redis. The next writer begins with what was found, and what the dead one left behind.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from models.format.directory import open_model
from models.format.schema import SENTENCEPIECE_FILES
from models.format.write import write_config, write_model
from service.accounts.glossaries import Change, Dictionary, GlossaryStore, Head
from service.accounts.keys import KeyStore, Record
from service.live.state import FileStore, Saved, StateStore
from service.stores.redis import RedisGlossaries, RedisKeys, RedisState
from service.stores.sqlite import SqliteGlossaries, SqliteKeys
from tests.bench.bench import machine
from tests.load.figures import RESULTS
from tests.service.redis_server import RedisServer
from tests.service.tiny_model import write_tiny_model

KILLS = 500
WRITES = 12  # so many would be made, on average, until a writer is killed
TERMS = 200
OWNER, NAME = "owner", "name"


class Torn(Exception):
    """What was read is neither the old nor the new; one sentence."""


class Opened(NamedTuple):
    """A store: how a number is written, and which one is in it."""

    write: Callable[[int], None]
    read: Callable[[], int]


def same(numbers: set[int]) -> int:
    """Return the one number that all parts hold. Raises Torn."""
    if len(numbers) != 1:
        raise Torn(f"its parts are of the writes {sorted(numbers)}")
    return numbers.pop()


def state(store: StateStore) -> Opened:
    """Open the desired state."""

    def read() -> int:
        saved = store.read(NAME)
        return 0 if saved is None else same({saved.generation, *saved.desired})

    return Opened(lambda number: _ignore(store.write(NAME, Saved(number, [number] * TERMS))), read)


def keys(store: KeyStore) -> Opened:
    """Open API keys, one of which is charged."""

    def write(number: int) -> None:
        if not store.update(NAME, lambda record: replace(record, requests=number, characters=number)):
            store.add(Record(NAME, "digest", requests=number, characters=number))

    return Opened(
        write, lambda: same({count for key in store.all() for count in (key.requests, key.characters)} or {0})
    )


def glossaries(store: GlossaryStore) -> Opened:
    """Open glossaries, one of which gets another dictionary each time."""

    def write(number: int) -> None:
        dictionary = Dictionary(str(number), "en", "de", TERMS, number)
        head = Head(NAME, str(number), "2026-01-01T00:00:00Z", (dictionary,))
        entries = {str(number): {f"term {term}": str(number) for term in range(TERMS)}}
        store.update(OWNER, NAME, lambda heads: Change(head, entries))

    def read() -> int:
        heads = store.heads(OWNER)
        if not heads:
            return 0
        (head,) = heads
        (dictionary,) = head.dictionaries
        entries = store.entries(OWNER, dictionary.id)
        if entries is None or len(entries) != TERMS:
            raise Torn("a dictionary lacks entries")
        if store.entries(OWNER, str(dictionary.bytes - 1)) is not None:
            raise Torn("the dictionary before is still there")
        return same({int(head.name), dictionary.bytes, *map(int, entries.values())})

    return Opened(write, read)


def model(path: Path) -> Opened:
    """Open a model directory that is replaced as a whole."""

    def read() -> int:
        if not path.exists():
            return 0
        return same({int(open_model(path).config.name[1:]), int((path / "README.md").read_text())})

    tiny = open_model(path.with_name("tiny"))
    files = {name: (tiny.path / name).read_bytes() for name in SENTENCEPIECE_FILES}

    def write(number: int) -> None:
        config = replace(tiny.config, name=f"n{number}")
        readme = {"README.md": str(number).encode()}
        write_model(path, config, tiny.main.tensors, tiny.vocabulary, files | readme, overwrite=True)

    return Opened(write, read)


def configuration(path: Path) -> Opened:
    """Open the configuration of a model directory, which is replaced alone."""
    if not path.exists():
        shutil.copytree(path.with_name("tiny"), path)
        write_config(path, replace(open_model(path).config, name="n0"))
    config = open_model(path).config
    return Opened(
        lambda number: write_config(path, replace(config, name=f"n{number}")),
        lambda: int(open_model(path).config.name[1:]),
    )


def _ignore(_: object) -> None:
    pass


def opened(kind: str, work: Path, redis: RedisServer | None) -> Opened:
    """Open a store anew, as another process does."""
    url = "" if redis is None else redis.url
    return {
        "state": lambda: state(FileStore(work / "desired.json")),
        "keys": lambda: keys(SqliteKeys(work / "keys.sqlite3")),
        "glossaries": lambda: glossaries(SqliteGlossaries(work / "glossaries.sqlite3")),
        "model": lambda: model(work / "model"),
        "configuration of a model": lambda: configuration(work / "configured"),
        "state in Redis": lambda: state(RedisState(url)),
        "keys in Redis": lambda: keys(RedisKeys(url)),
        "glossaries in Redis": lambda: glossaries(RedisGlossaries(url)),
    }[kind]()


FILES = ("state", "keys", "glossaries", "model", "configuration of a model")
IN_REDIS = ("state in Redis", "keys in Redis", "glossaries in Redis")


@dataclass
class Figures:
    """What became of the kills of one kind of store."""

    kills: int = 0
    within_a_write: int = 0
    of_redis: int = 0
    old: int = 0  # the write that was cut is not there
    new: int = 0  # it is
    writes: int = 0


def written(kind: str, work: Path, redis: RedisServer | None, *, after_s: float, redis_dies: bool) -> tuple[int, bool]:
    """Have a process write until it or its Redis is killed; return the number that it told last, and if it wrote on.

    Args:
        kind: of the store.
        work: where the stores are.
        redis: a running one, or None.
        after_s: seconds until the kill.
        redis_dies: kill Redis, which ends the writer with it, and start it again.
    """
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            store = opened(kind, work, redis)
            number = store.read()
            while True:
                os.write(telling, b"%d wants\n" % (number + 1))
                store.write(number + 1)
                number += 1
                os.write(telling, b"%d has\n" % number)
        except BaseException:
            if not redis_dies:
                traceback.print_exc()
            os._exit(1)
    os.close(telling)
    with os.fdopen(told) as lines:
        first = lines.readline()
        time.sleep(after_s)
        if redis_dies:
            assert redis is not None
            redis.stop()
            redis.start()
        else:
            os.kill(child, signal.SIGKILL)
        said = [line.split() for line in (first, *lines)]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != (1 if redis_dies else -signal.SIGKILL):
        raise Torn(f"the writer ended with {status}")
    number, word = said[-1]
    return int(number) - (word == "wants"), word == "wants"


def campaign(kind: str, kills: int, work: Path, redis: RedisServer | None, chance: random.Random) -> Figures:
    """Kill so many writers of one store. Raises Torn."""
    store = opened(kind, work, redis)
    began = time.monotonic()
    first = store.read()
    for number in range(first + 1, first + 6):
        store.write(number)
    write_s = (time.monotonic() - began) / 5
    figures, number = Figures(), first + 5
    del store
    while figures.kills < kills:
        redis_dies = redis is not None and figures.kills % 2 == 1
        had, writes_on = written(
            kind, work, redis, after_s=chance.uniform(0, 2 * WRITES * write_s), redis_dies=redis_dies
        )
        found = opened(kind, work, redis).read()
        if found not in (had, had + writes_on):
            raise Torn(f"{had} was stored, {found} is found")
        figures.kills += 1
        figures.within_a_write += writes_on
        figures.of_redis += redis_dies
        figures.old += writes_on and found == had
        figures.new += writes_on and found > had
        figures.writes += found - number
        number = found
    return figures


@contextmanager
def redis_of(work: Path) -> Iterator[RedisServer | None]:
    """Run a Redis that has every write on disk before it answers; None where there is no such program."""
    if shutil.which("redis-server") is None:
        yield None
        return
    server = RedisServer(work)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def main() -> int:
    """Return 1 if a store was neither the old nor the new."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=24)
    parser.add_argument("--output", type=Path, default=RESULTS / "kills.json")
    arguments = parser.parse_args()
    chance, stores, torn = random.Random(arguments.seed), {}, []
    with tempfile.TemporaryDirectory(prefix="sub3-kills-") as name, redis_of(Path(name)) as redis:
        write_tiny_model(Path(name) / "tiny")
        kinds = FILES + (IN_REDIS if redis else ())
        for place, kind in enumerate(kinds):
            kills = arguments.kills // len(kinds) + (place < arguments.kills % len(kinds))
            try:
                stores[kind] = asdict(campaign(kind, kills, Path(name), redis if kind in IN_REDIS else None, chance))
            except Exception as error:
                torn.append(f"{kind}: {error!r}")
            print(kind, stores.get(kind, torn[-1:]), flush=True)
    report = {
        "passed": not torn,
        "command": "make kills",
        "machine": machine(),
        "kills": sum(figures["kills"] for figures in stores.values()),
        "torn": torn,
        "stores": stores,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
