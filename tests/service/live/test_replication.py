"""A replica that follows what another one stored, as far as it can be served here."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.format.directory import open_model
from service.live.configurations import by_name, by_planes
from service.live.desired import Desired, to_json
from service.live.folder import ModelFolder
from service.live.history import Event
from service.live.memory import InsufficientMemory, own_bytes
from service.live.registry import Registry
from service.live.replication import Replication
from service.live.state import FileStore, Saved
from tests.service.live.settled import settled_rss_bytes


class SharedFile(FileStore):
    """A file that another replica, here the test, writes to as well."""

    shared = True


class Replica:
    """A registry with a started model, the store that it follows, and what it noted."""

    def __init__(self, model: Path, state: Path, **config: Any) -> None:
        directory = open_model(model)
        architecture = replace(directory.config.architecture, **config)
        self.directory = replace(directory, config=replace(directory.config, architecture=architecture))
        self.registry = Registry([self.directory], max_batch_tokens=4096)
        self.registry.start()
        self.store = SharedFile(state)
        self.events: list[Event] = []
        folder = ModelFolder(lambda: {"tiny": model})
        self.replication = Replication(self.registry, folder, self.store, self.events.append)

    def other_stores(self, generation: int, configuration: str) -> None:
        """Store a state as another replica does after a swap."""
        desired = to_json(self.directory, Desired(by_name(self.directory, configuration)))
        self.store.write("tiny", Saved(generation, desired))

    def swap(self, configuration: str) -> None:
        """Swap here, and write it to the store."""
        with self.registry.changing("tiny"):
            self.registry.change("tiny", lambda files, now: now.activate(by_name(files, configuration)))
            self.replication.save("tiny")

    @property
    def results(self) -> list[str]:
        return [event.result for event in self.events]


@pytest.fixture
def replica(tiny_model: Path, tmp_path: Path) -> Iterator[Replica]:
    made = Replica(tiny_model, tmp_path / "state" / "desired.json")
    yield made
    made.registry.close()


def test_a_newer_generation_is_served_once(replica: Replica) -> None:
    replica.replication.follow()
    assert replica.events == []
    replica.other_stores(1, "half")
    replica.replication.follow()
    replica.replication.follow()
    (event,) = replica.events
    assert (event.who, event.what, event.result, event.before, event.after) == (
        "replica",
        "follow",
        "ok",
        "full",
        "half",
    )
    replica.other_stores(1, "narrow")  # not newer
    replica.replication.follow()
    assert replica.registry.active_name("tiny") == "half"


def test_a_generation_that_cannot_be_served_is_tried_once(replica: Replica) -> None:
    bad = {"active": {"config": "huge", "allocation": None}, "loaded": [], "canary": None, "canary_percent": 0.0}
    replica.store.write("tiny", Saved(1, bad))
    for _ in range(3):
        replica.replication.follow()
    (event,) = replica.events
    assert (event.result, event.after) == ("failed", "full")
    assert "huge" in (event.detail or "")
    replica.other_stores(2, "half")  # the next one is tried again
    replica.replication.follow()
    assert replica.results == ["failed", "ok"]
    assert replica.registry.active_name("tiny") == "half"


def test_a_swap_here_is_stored_as_the_next_generation(replica: Replica) -> None:
    replica.other_stores(4, "half")
    replica.replication.follow()
    replica.swap("narrow")
    assert replica.replication.saved("tiny")
    stored = replica.store.read("tiny")
    assert stored is not None
    assert (stored.generation, stored.desired["active"]["config"]) == (5, "narrow")
    replica.replication.follow()
    assert replica.results == ["ok"]


def test_what_the_store_did_not_get_is_written_once_it_answers(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    replica.swap("half")
    assert (replica.replication.down, replica.replication.saved("tiny")) == (True, False)
    replica.replication.follow()
    assert (replica.replication.down, replica.replication.saved("tiny")) == (True, False)
    (tmp_path / "state").unlink()
    replica.replication.follow()
    assert (replica.replication.down, replica.replication.saved("tiny")) == (False, True)
    stored = replica.store.read("tiny")
    assert stored is not None
    assert (stored.generation, stored.desired["active"]["config"]) == (1, "half")
    (tmp_path / "state" / "desired.json").unlink()  # a store that has lost it gets it again
    replica.replication.follow()
    assert replica.store.read("tiny") == stored


def test_of_two_states_of_one_generation_the_stored_one_wins(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    replica.swap("half")
    (tmp_path / "state").unlink()
    replica.other_stores(1, "narrow")
    replica.replication.follow()
    assert replica.registry.active_name("tiny") == "narrow"
    assert replica.replication.saved("tiny")
    assert replica.results == ["ok"]


def test_a_replica_without_room_for_both_frees_the_old_one_first(tiny_model: Path, tmp_path: Path) -> None:
    # with a table of positions of 1 MB for each configuration, and eight of them to free
    replica = Replica(tiny_model, tmp_path / "desired.json", max_positions=65_536)
    registry = replica.registry
    for planes in itertools.product((1, 2, 3, 4), (1, 2)):
        matrices = dict(zip(("embedding", "encoder.*"), planes, strict=True))
        registry.change("tiny", lambda files, now, matrices=matrices: now.load(by_planes(files, matrices)))
    # Four of the tables less than there is: too little for one more, enough once the eight are gone, and what else this
    # process frees or takes meanwhile is less.
    tables = 4 * own_bytes(registry.find("tiny").directory)
    registry.memory_limit_bytes = settled_rss_bytes() - tables
    with pytest.raises(InsufficientMemory):
        registry.change("tiny", lambda files, _: Desired(by_name(files, "half")))
    registry.memory_limit_bytes = settled_rss_bytes() - tables
    replica.other_stores(1, "half")
    replica.replication.follow()
    assert replica.results == ["ok"]
    assert [translator.identity.config for translator in registry.find("tiny").translators()] == ["half"]
    registry.close()
