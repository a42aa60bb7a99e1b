"""Stored glossaries: both stores by the same tests, the native routes, DeepL's by its own client."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepl
import httpx
import hypothesis
import pytest
from deepl.api_data import MultilingualGlossaryDictionaryEntries
from hypothesis import strategies as st
from pydantic import SecretStr

from service.accounts.glossaries import (
    MOST_READY,
    NOBODY,
    Entries,
    Glossaries,
    Head,
    UnknownDictionary,
    UnknownGlossary,
    _Known,
)
from service.accounts.keys import new_key
from service.accounts.unavailable import StoreUnavailable
from service.api.deepl_glossaries import TSV
from service.settings import Settings
from service.stores.redis import RedisGlossaries
from service.stores.sqlite import SqliteGlossaries
from service.stores.sqlite import SqliteKeys as KeyStore
from service.text.glossary import Glossary, GlossaryRefused
from tests.service.npm_clients import run_npm_clients
from tests.service.redis_server import RedisServer
from tests.service.running import Server, assert_refused, serve, texts_of, translate
from tests.service.tiny_model import write_tiny_model

ENTRIES = {"tree": "Baum", "the river": "die Elbe", "Sun": "Sun"}
TREE = "A big tree sees the river."
DICTIONARY = {"source_lang": "EN", "target_lang": "DE", "entries": "tree\tBaum", "entries_format": "tsv"}


@dataclass
class Shelf:
    """A store as a test sees it: open it as often as wanted, break it."""

    open: Callable[[], SqliteGlossaries | RedisGlossaries]
    fail: Callable[[], object]


@pytest.fixture(params=["sqlite", "redis"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    opened: list[SqliteGlossaries | RedisGlossaries] = []

    def keep(store: SqliteGlossaries | RedisGlossaries) -> SqliteGlossaries | RedisGlossaries:
        opened.append(store)
        return store

    if request.param == "sqlite":
        path = tmp_path / "glossaries.sqlite3"

        def fail() -> None:
            with sqlite3.connect(path) as database:
                database.execute("DROP TABLE heads")

        yield Shelf(lambda: keep(SqliteGlossaries(path)), fail)
    else:
        server = RedisServer(tmp_path)
        server.start()
        stopped: list[None] = []
        yield Shelf(lambda: keep(RedisGlossaries(server.url)), lambda: stopped.append(server.stop()))
        if not stopped:
            server.stop()
    for store in opened:
        store.close()


def glossaries_over(shelf: Shelf, most: int = 3, most_bytes: int = 10_000) -> Glossaries:
    return Glossaries(shelf.open, lambda: [("en", "de"), ("de", "en")], most, most_bytes)


def en_de(entries: Mapping[str, str] = ENTRIES) -> list[Entries]:
    return [Entries("en", "de", entries)]


def by_id(glossaries: Glossaries) -> list[Callable[[str, str], object]]:
    """List what is asked or done of one glossary, given its owner and id."""
    return [
        glossaries.head,
        glossaries.remove,
        lambda owner, id: glossaries.entries(owner, id, ("en", "de")),
        lambda owner, id: glossaries.update(owner, id, "mine"),
        lambda owner, id: glossaries.replace(owner, id, en_de()[0]),
        lambda owner, id: glossaries.remove_dictionary(owner, id, ("en", "de")),
    ]


def spelt(glossaries: Glossaries, *wanted: str, text: str = "tree") -> tuple[str, ...]:
    """Return how a term is translated."""
    return glossaries.find("acme", wanted, "en", "de").find(text, ())[0].spellings


def test_what_is_kept_is_found_again_by_every_replica(shelf: Shelf) -> None:
    one, other = glossaries_over(shelf), glossaries_over(shelf)
    assert one.heads("acme") == []
    head = one.create("acme", "house style", en_de())
    assert (head.name, [(own.source, own.target, own.entries) for own in head.dictionaries]) == (
        "house style",
        [("en", "de", 3)],
    )
    second = other.create("acme", "other", en_de({"a": "b"}))
    for glossaries in (one, other, glossaries_over(shelf)):
        assert glossaries.heads("acme") == [head, second]
        assert glossaries.head("acme", head.id) == head
        assert glossaries.entries("acme", head.id, ("en", "de")) == ENTRIES
        assert glossaries.find("acme", [head.id], "en", "de").covers("en", "de")
    other.remove("acme", head.id)
    for call in by_id(one):
        with pytest.raises(UnknownGlossary):
            call("acme", head.id)
    with pytest.raises(UnknownGlossary):
        one.find("acme", [head.id], "en", "de")  # though it has read it before
    assert one.heads("acme") == [second]


def test_a_glossary_is_its_owners(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf)
    head = glossaries.create("acme", "ours", en_de())
    for stranger in ("bolt", NOBODY, "acm"):
        assert glossaries.heads(stranger) == []
        for call in by_id(glossaries):
            with pytest.raises(UnknownGlossary):
                call(stranger, head.id)
        for wanted in (head.id, "ours"):
            with pytest.raises(UnknownGlossary):
                glossaries.find(stranger, [wanted], "en", "de")
    assert glossaries.heads("acme") == [head]


def test_the_youngest_of_a_name_answers_to_it_and_an_id_before_a_name(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf)
    first = glossaries.create("acme", "style", en_de({"tree": "Baum"}))
    glossaries.create("acme", "style", en_de({"tree": "Linde"}))
    glossaries.create("acme", first.id, en_de({"tree": "Eiche"}))

    assert spelt(glossaries, "style") == ("Linde",)
    assert spelt(glossaries, first.id) == ("Baum",)
    # of several glossaries, the first that has the term
    assert spelt(glossaries, "style", first.id) == ("Linde",)
    assert spelt(glossaries, first.id, "style", first.id) == ("Baum",)


def test_an_owner_has_so_many_and_no_more(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf, most=2)
    for _ in range(2):
        head = glossaries.create("acme", "a", en_de())
    with pytest.raises(GlossaryRefused, match="delete one"):
        glossaries_over(shelf, most=2).create("acme", "a", en_de())
    glossaries.create("bolt", "a", en_de())
    glossaries.remove("acme", head.id)
    glossaries.create("acme", "a", en_de())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"given": [Entries("en", "fr", ENTRIES)]}, "No model translates from en to fr"),
        ({"name": " "}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"given": en_de({})}, "at least one"),
        ({"given": en_de({"": "a"})}, "empty"),
        ({"given": en_de() + en_de()}, "comes twice"),
        ({"given": en_de({f"t{number}": "b" * 98 for number in range(100)})}, "would have 10,090 bytes"),
        ({"given": en_de({f"t{number}": "b" for number in range(313)})}, "would have 10,016 bytes"),
    ],
)
def test_what_is_refused_is_not_kept(shelf: Shelf, changes: dict[str, Any], words: str) -> None:
    glossaries = glossaries_over(shelf)
    with pytest.raises(GlossaryRefused, match=words):
        glossaries.create(**{"owner": "a", "name": "a", "given": en_de(), **changes})
    assert glossaries.heads("a") == []


def test_dictionaries_are_merged_replaced_and_deleted_for_every_replica(shelf: Shelf) -> None:
    one, other = glossaries_over(shelf), glossaries_over(shelf)
    head = one.create("acme", "style", [])
    assert head.dictionaries == ()
    steps: list[tuple[Callable[[], object], dict[tuple[str, str], dict[str, str]]]] = [
        (lambda: one.update("acme", head.id, None, en_de({"tree": "Baum"})), {("en", "de"): {"tree": "Baum"}}),
        (
            lambda: other.update("acme", head.id, None, [*en_de({"a": "b"}), Entries("de", "en", {"Baum": "tree"})]),
            {("en", "de"): {"tree": "Baum", "a": "b"}, ("de", "en"): {"Baum": "tree"}},
        ),
        (
            lambda: one.update("acme", head.id, None, en_de({"tree": "Linde"})),
            {("en", "de"): {"tree": "Linde", "a": "b"}, ("de", "en"): {"Baum": "tree"}},
        ),
        (
            lambda: other.replace("acme", head.id, en_de({"tree": "Eiche"})[0]),
            {("en", "de"): {"tree": "Eiche"}, ("de", "en"): {"Baum": "tree"}},
        ),
        (lambda: one.remove_dictionary("acme", head.id, ("de", "en")), {("en", "de"): {"tree": "Eiche"}}),
    ]
    for step, expected in steps:
        step()
        for glossaries in (one, other):
            found = glossaries.head("acme", head.id)
            assert (found.name, found.created) == ("style", head.created)
            assert {own.pair: glossaries.entries("acme", head.id, own.pair) for own in found.dictionaries} == expected
            assert [own.entries for own in found.dictionaries] == list(map(len, expected.values()))
            assert spelt(glossaries, "style")[0] == expected["en", "de"]["tree"]  # not what it was before
    assert one.update("acme", head.id, "other").name == "other"
    assert other.head("acme", head.id).name == "other"
    for call in (one.entries, one.remove_dictionary):
        with pytest.raises(UnknownDictionary, match="No dictionary found for language pair"):
            call("acme", head.id, ("de", "en"))
    with pytest.raises(GlossaryRefused, match="No dictionary found for language pair"):
        one.find("acme", ["other"], "de", "en")


def test_a_change_that_is_refused_changes_nothing(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf, most_bytes=200)
    head = glossaries.create("acme", "style", en_de())
    for given in (en_de({"": "a"}), en_de(dict.fromkeys("abcd", "e")), [Entries("en", "fr", ENTRIES)], en_de({})):
        with pytest.raises(GlossaryRefused):
            glossaries.update("acme", head.id, "other", given)
    large = dict.fromkeys("abcdefg", "e")
    with pytest.raises(GlossaryRefused, match="would have 224 bytes"):
        glossaries.replace("acme", head.id, Entries("en", "de", large))
    with pytest.raises(GlossaryRefused, match="limit is 200"):
        glossaries.create("acme", "another", en_de(dict.fromkeys("abcd", "e")))
    assert glossaries.heads("acme") == [head]
    assert glossaries.entries("acme", head.id, ("en", "de")) == ENTRIES
    glossaries.create("bolt", "their own bytes", en_de())
    glossaries.replace("acme", head.id, Entries("en", "de", dict.fromkeys("abcdef", "e")))  # in the place of the others


def test_what_replicas_merge_at_once_is_all_there(shelf: Shelf) -> None:
    head = glossaries_over(shelf).create("acme", "style", en_de({"first": "a"}))
    replicas = [glossaries_over(shelf) for _ in range(3)]

    def merge(number: int) -> None:
        for step in range(8):
            replicas[number].update("acme", head.id, None, en_de({f"term {number} {step}": "b"}))

    threads = [threading.Thread(target=merge, args=(number,)) for number in range(len(replicas))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    merged = {f"term {number} {step}": "b" for number in range(3) for step in range(8)}
    assert replicas[0].entries("acme", head.id, ("en", "de")) == {"first": "a", **merged}
    assert len(left_behind(shelf)) == 1


def left_behind(shelf: Shelf) -> list[Any]:
    """List the ids of the dictionaries whose entries are in the store, whether or not a head has them."""
    store = shelf.open()
    if isinstance(store, SqliteGlossaries):
        return store._database.execute("SELECT id FROM dictionaries").fetchall()
    found: list[Any] = store._redis.hkeys("sub3:glossary-entries:acme")
    return found


def test_entries_of_what_is_gone_are_deleted(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf)
    head = glossaries.create("acme", "style", [*en_de(), Entries("de", "en", {"a": "b"})])
    glossaries.replace("acme", head.id, en_de({"c": "d"})[0])
    glossaries.update("acme", head.id, None, en_de({"e": "f"}))
    assert len(left_behind(shelf)) == 2
    glossaries.remove_dictionary("acme", head.id, ("en", "de"))
    assert len(left_behind(shelf)) == 1
    glossaries.remove("acme", head.id)
    assert left_behind(shelf) == []


def test_a_glossary_of_version_0_1_is_one_of_one_dictionary(shelf: Shelf, tmp_path: Path) -> None:
    old = {"id": "7f", "name": "old", "source": "en", "target": "de", "created": "2026-11-27T10:00:00", "entries": 3}
    with sqlite3.connect(tmp_path / "glossaries.sqlite3") as database:
        database.execute(
            "CREATE TABLE glossaries (number INTEGER PRIMARY KEY, owner TEXT, id TEXT, head TEXT, entries TEXT)"
        )
        database.execute(
            "INSERT INTO glossaries VALUES (1, 'acme', '7f', ?, ?)", (json.dumps(old), json.dumps(ENTRIES))
        )
    store = shelf.open()
    if isinstance(store, RedisGlossaries):
        store._redis.hset("sub3:glossary-heads:acme", "7f", json.dumps(old))
        store._redis.hset("sub3:glossary-entries:acme", "7f", json.dumps(ENTRIES))
    glossaries = glossaries_over(shelf)
    (head,) = glossaries.heads("acme")
    assert (head.id, head.name, head.created) == ("7f", "old", old["created"])
    assert glossaries.entries("acme", "7f", ("en", "de")) == ENTRIES
    glossaries.update("acme", "7f", "renamed", en_de({"a": "b"}))
    assert glossaries_over(shelf).entries("acme", "7f", ("en", "de")) == {**ENTRIES, "a": "b"}
    assert len(left_behind(shelf)) == 1


def test_a_head_without_its_entries_is_refused(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf)
    head = glossaries.create("acme", "style", en_de())
    store = shelf.open()
    if isinstance(store, SqliteGlossaries):
        store._database.execute("DELETE FROM dictionaries")
    else:
        store._redis.delete("sub3:glossary-entries:acme")
    with pytest.raises(UnknownGlossary):
        glossaries.entries("acme", head.id, ("en", "de"))
    with pytest.raises(UnknownGlossary):
        glossaries.find("acme", ["style"], "en", "de")


def test_as_many_are_held_ready_as_the_limit_has_bytes(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf, most=5, most_bytes=300)
    heads = [glossaries.create("acme", name, en_de({name: "b", "c": "d"})) for name in ("tree", "sun", "sea", "sky")]

    def found(head: Head) -> object:
        return glossaries.find("acme", [head.id], "en", "de")

    first = [found(head) for head in heads]
    assert [found(head) is known for head, known in zip(heads, first, strict=True)] == [True] * 4  # 64 bytes each
    glossaries.find("acme", [heads[1].id, heads[2].id], "en", "de")  # 128: those of two go
    assert [found(head) is known for head, known in zip(reversed(heads), reversed(first), strict=True)][:2] == [
        True
    ] * 2
    assert found(heads[0]) is not first[0]


def test_what_is_gone_is_not_held_ready(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf, most=5)
    kept = glossaries.create("acme", "kept", en_de())
    ready = glossaries.find("acme", [kept.id], "en", "de")
    gone = [glossaries.create("acme", "gone", en_de()) for _ in range(4)]
    for head in gone:
        glossaries.find("acme", [head.id], "en", "de")
        glossaries.find("acme", [kept.id, head.id], "en", "de")
    assert len(glossaries._known) == 9
    glossaries.remove("acme", gone[0].id)
    glossaries.remove_dictionary("acme", gone[1].id, ("en", "de"))
    glossaries.replace("acme", gone[2].id, en_de({"a": "b"})[0])
    glossaries.update("acme", gone[3].id, None, en_de({"a": "b"}))
    assert len(glossaries._known) == 1
    assert glossaries.find("acme", [kept.id], "en", "de") is ready


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5_000), st.booleans()), max_size=80)
)
def test_what_is_held_ready_is_bounded_in_bytes_and_number(steps: list[tuple[int, int, int, bool]]) -> None:
    """Whatever is made, used and deleted: glossaries of one entry are as few as large ones are."""
    known, sizes = _Known(10_000), dict[tuple[str, ...], int]()
    for one, other, size, is_gone in steps:
        if is_gone:
            known.forget({str(one)})
            sizes = {ids: size for ids, size in sizes.items() if str(one) not in ids}
        else:
            ids = (str(one), str(other))
            known.add(ids, Glossary({"a": "b"}, "en", "de"), size)
            sizes[ids] = size
        held = {ids for ids in sizes if ids in known._glossaries}
        assert len(known) == len(held)
        assert known._bytes == sum(sizes[ids] for ids in held)
        assert known._bytes <= 10_000
    for number in range(2 * MOST_READY):
        known.add((f"small {number}",), Glossary({"a": "b"}, "en", "de"), 1)
    assert len(known) == MOST_READY


def test_a_store_that_fails_is_told_without_its_reason(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    glossaries = glossaries_over(shelf)
    glossaries.create("acme", "a", en_de())
    shelf.fail()
    with pytest.raises(StoreUnavailable, match=r"^The glossaries can't be reached at the moment; retry later\.$"):
        glossaries.heads("acme")
    assert "down" in caplog.text


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def both_ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server over each store, with a model for each direction."""
    folder = tmp_path_factory.mktemp("both-ways")
    write_tiny_model(folder / "en-de")
    write_tiny_model(folder / "de-en", sources=("de",), targets=("en",), seed=8)
    settings = Settings(
        models_directory=folder,
        threads=1,
        glossaries_file=folder / "glossaries.sqlite3",
        max_glossary_bytes=2_000_000,
        state_file=None,
    )
    if request.param == "sqlite":
        with serve(settings) as running:
            yield running
        return
    redis = RedisServer(folder)
    redis.start()
    try:
        with serve(settings.model_copy(update={"redis_url": SecretStr(redis.url)})) as running:
            yield running
    finally:
        redis.stop()


@pytest.fixture(scope="module")
def open_server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("glossaries") / "glossaries.sqlite3"
    with serve(Settings(model_directory=tiny_model, threads=2, glossaries_file=path, max_glossaries=5)) as running:
        yield running


@pytest.fixture
def own(open_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_server.url, timeout=60) as connection:
        yield connection


def created(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    body = {"name": "style", "source": "en", "target": "de", "entries": ENTRIES, **changes}
    response = client.post("/v1/glossaries", json=body)
    assert response.status_code == 201, response.text
    glossary: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/v1/glossaries/{glossary['id']}"
    return glossary


def test_the_native_routes(own: httpx.Client) -> None:
    glossary = created(own)
    assert (glossary["name"], glossary["source"], glossary["target"], glossary["entry_count"]) == (
        "style",
        "en",
        "de",
        3,
    )
    address = f"/v1/glossaries/{glossary['id']}"
    assert own.get("/v1/glossaries").json() == {"glossaries": [glossary]}
    assert own.get(address).json() == {**glossary, "entries": ENTRIES}
    by_terms = texts_of(translate(own, TREE, glossary=ENTRIES))
    assert "Baum" in by_terms[0]
    assert "ie Elbe" in by_terms[0]
    for wanted in (glossary["id"], "style"):
        assert texts_of(translate(own, TREE, glossary=wanted)) == by_terms
    stream = own.post("/v1/translate/stream", json={"text": TREE, "source": "en", "target": "de", "glossary": "style"})
    assert "Baum" in stream.text
    upload = own.post(
        "/v1/files",
        data={"source": "en", "target": "de", "glossary": "style"},
        files={"file": ("a.txt", TREE.encode())},
    )
    assert upload.status_code == 202, upload.text
    assert "event: done" in own.get(f"/v1/files/{upload.json()['id']}/events").text
    assert own.get(f"/v1/files/{upload.json()['id']}/result").text == by_terms[0]
    assert own.delete(address).status_code == 204
    for response in (own.get(address), own.delete(address)):
        assert_refused(response, 404, "Glossary not found")
    assert_refused(translate(own, TREE, glossary="style"), 404, "Glossary not found")


@pytest.mark.parametrize(
    ("glossary", "words"),
    [
        (7, "glossary"),
        (["tree"], "an object of terms"),
        ({"tree": 7}, "an object of terms"),
        ({"tree": None}, "an object of terms"),
        ({"": "a"}, "empty"),
        ({"tree": "木"}, "spell"),
        ({f"a{n}": "b" for n in range(5001)}, "5,000 entries"),
    ],
)
def test_a_glossary_that_is_none_is_refused(own: httpx.Client, glossary: Any, words: str) -> None:
    assert_refused(translate(own, TREE, glossary=glossary), 422, words)


def test_glossaries_that_are_none_are_not_kept(own: httpx.Client) -> None:
    body = {"name": "a", "source": "en", "target": "de", "entries": ENTRIES}
    for changes, words in (
        ({"source": "de"}, "No model translates"),
        ({"entries": {}}, "at least one"),
        ({"entries": {"a": 1}}, "entries"),
        ({"entries": "a\tb"}, "entries"),
        ({"more": 1}, "unknown"),
    ):
        assert_refused(own.post("/v1/glossaries", json={**body, **changes}), 422, words)
    for _ in range(5):
        created(own)
    assert_refused(own.post("/v1/glossaries", json=body), 422, "5 glossaries already")
    for glossary in own.get("/v1/glossaries").json()["glossaries"]:
        own.delete(f"/v1/glossaries/{glossary['id']}")


def test_markup_has_terms_too(own: httpx.Client) -> None:
    glossary = created(own, name="markup")
    html = own.post(
        "/v2/translate",
        json={
            "text": ["<p>A big <b>tree</b> sees <i>the river</i>.</p>"],
            "source_lang": "EN",
            "target_lang": "DE",
            "tag_handling": "html",
            "glossary_id": glossary["id"],
        },
    ).json()["translations"][0]["text"]
    plain = html.replace("<b>", "").replace("</b>", "").replace("<i>", "").replace("</i>", "")
    assert "Baum" in plain
    assert "ie Elbe" in plain
    own.delete(f"/v1/glossaries/{glossary['id']}")


def test_libretranslate_has_terms_too(own: httpx.Client) -> None:
    created(own, name="libre")
    body = {"q": TREE, "source": "en", "target": "de"}
    replies = [own.post("/translate", json={**body, "glossary": wanted}) for wanted in (ENTRIES, "libre")]
    replies.append(own.post("/translate", data={**body, "glossary": "libre"}))
    texts = [reply.json()["translatedText"] for reply in replies]
    assert set(texts) == set(texts_of(translate(own, TREE, glossary=ENTRIES)))
    upload = own.post(
        "/translate_file",
        data={"source": "en", "target": "de", "glossary": "libre"},
        files={"file": ("a.txt", TREE.encode())},
    )
    assert own.get(upload.json()["translatedFileUrl"]).text == texts[0]
    for glossary, status, words in (
        ("nothing", 404, "Glossary not found"),
        (7, 400, "glossary parameter"),
        ({"a": 7}, 400, "glossary parameter"),
    ):
        response = own.post("/translate", json={**body, "glossary": glossary})
        assert response.status_code == status
        assert words in response.json()["error"]
    (kept,) = own.get("/v1/glossaries").json()["glossaries"]
    own.delete(f"/v1/glossaries/{kept['id']}")


def test_the_client_of_deepl(open_server: Server, own: httpx.Client) -> None:
    client = deepl.DeepLClient("any", server_url=open_server.url)
    pairs = [(pair.source_lang, pair.target_lang) for pair in client.get_glossary_languages()]
    assert pairs == [("en", "de")]
    glossary = client.create_glossary("style", "EN", "DE", ENTRIES)
    assert (glossary.name, glossary.source_lang, glossary.target_lang) == ("style", "EN", "DE")
    assert glossary.ready
    assert glossary.entry_count == 3
    other = client.create_glossary_from_csv("table", "en", "de", 'tree,Linde,en,de\n"the river","die Elbe"\n')
    assert [item.glossary_id for item in client.list_glossaries()] == [glossary.glossary_id, other.glossary_id]
    assert client.get_glossary(glossary.glossary_id).creation_time == glossary.creation_time
    assert client.get_glossary_entries(glossary) == ENTRIES
    assert client.get_glossary_entries(other) == {"tree": "Linde", "the river": "die Elbe"}
    for given, word in ((glossary, "Baum"), (other.glossary_id, "Linde")):
        result = client.translate_text(TREE, source_lang="EN", target_lang="DE", glossary=given)
        assert isinstance(result, deepl.TextResult)
        assert word in result.text
    result = client.translate_text_with_glossary(TREE, glossary)
    assert isinstance(result, deepl.TextResult)
    assert [result.text] == texts_of(translate(own, TREE, glossary=ENTRIES))
    client.delete_glossary(other)
    for call in (client.get_glossary, client.get_glossary_entries, client.delete_glossary):
        with pytest.raises(deepl.GlossaryNotFoundException):
            call(other.glossary_id)
    with pytest.raises(deepl.DeepLException, match="Glossary not found"):
        client.translate_text(TREE, source_lang="EN", target_lang="DE", glossary=other.glossary_id)
    with pytest.raises(deepl.DeepLException, match="not supported"):
        client.create_glossary("style", "EN", "FR", ENTRIES)
    client.delete_glossary(glossary)


def test_multilingual_glossaries_of_the_client_of_deepl(both_ways: Server) -> None:
    client = deepl.DeepLClient("any", server_url=both_ways.url)
    there = MultilingualGlossaryDictionaryEntries("EN-US", "DE", ENTRIES)
    back = MultilingualGlossaryDictionaryEntries("DE", "EN", {"Baum": "tree"})
    glossary = client.create_multilingual_glossary("style", [there, back])
    single = client.create_glossary("single", "EN", "DE", {"a": "b"})

    def counts(id: str = glossary.glossary_id) -> dict[tuple[str, str], int]:
        found = client.get_multilingual_glossary(id).dictionaries
        return {(each.source_lang, each.target_lang): each.entry_count for each in found}

    def entries(source: str, target: str) -> dict[str, str]:
        (found,) = client.get_multilingual_glossary_entries(glossary, source, target).dictionaries
        assert (found.source_lang, found.target_lang) == (source.lower(), target.lower())
        return deepl.convert_tsv_to_dict(found.entries)  # type: ignore[no-any-return]

    assert counts() == {("EN", "DE"): 3, ("DE", "EN"): 1}
    assert entries("EN", "DE") == ENTRIES
    listed = client.list_multilingual_glossaries()
    assert [(item.name, len(item.dictionaries)) for item in listed] == [("style", 2), ("single", 1)]
    assert [item.creation_time for item in listed] == [glossary.creation_time, single.creation_time]
    # version 2 sees those of one dictionary
    assert [item.name for item in client.list_glossaries()] == ["single"]
    assert counts(single.glossary_id) == {("EN", "DE"): 1}
    for call in (client.get_glossary, client.get_glossary_entries, client.delete_glossary):
        with pytest.raises(deepl.GlossaryNotFoundException):
            call(glossary.glossary_id)

    def translated(**given: Any) -> str:
        result = client.translate_text(TREE, source_lang="EN", target_lang="DE", **given)
        assert isinstance(result, deepl.TextResult)
        return result.text

    assert "Baum" in translated(glossary=glossary)
    client.update_multilingual_glossary_dictionary(
        glossary, MultilingualGlossaryDictionaryEntries("EN", "DE", {"tree": "Linde"})
    )
    assert entries("EN", "DE") == {**ENTRIES, "tree": "Linde"}
    assert "Linde" in translated(glossary=glossary)
    replaced = client.replace_multilingual_glossary_dictionary(
        glossary, MultilingualGlossaryDictionaryEntries("EN", "DE", {"tree": "Eiche"})
    )
    assert (replaced.source_lang, replaced.target_lang, replaced.entry_count) == ("EN", "DE", 1)
    assert "Eiche" in translated(glossary=glossary)
    other = client.create_multilingual_glossary_from_csv("other", "EN", "DE", "tree,Linde\nthe river,die Elbe\n")
    for ids, tree in (([glossary, other], "Eiche"), ([other, glossary], "Linde")):
        text = translated(extra_body_parameters={"glossary_ids": [each.glossary_id for each in ids]})
        assert tree in text
        assert "ie Elbe" in text
    assert client.update_multilingual_glossary_name(glossary, "renamed").name == "renamed"
    assert client.get_multilingual_glossary(glossary.glossary_id).creation_time == glossary.creation_time
    client.delete_multilingual_glossary_dictionary(glossary, source_lang="EN", target_lang="DE")
    assert counts() == {("DE", "EN"): 1}
    assert [item.name for item in client.list_glossaries()] == ["renamed", "single", "other"]
    for missing in (
        lambda: entries("EN", "DE"),
        lambda: client.delete_multilingual_glossary_dictionary(glossary, None, "EN", "DE"),
    ):
        with pytest.raises(deepl.GlossaryNotFoundException, match="No dictionary found for language pair"):
            missing()
    with pytest.raises(deepl.DeepLException, match="No dictionary found for language pair"):
        translated(glossary=glossary.glossary_id)
    for item in client.list_multilingual_glossaries():
        client.delete_multilingual_glossary(item)
    assert client.list_multilingual_glossaries() == []
    for call in (client.get_multilingual_glossary, client.delete_multilingual_glossary):
        with pytest.raises(deepl.GlossaryNotFoundException):
            call(glossary.glossary_id)


def test_multilingual_glossaries_of_deepl_node(both_ways: Server) -> None:
    result = run_npm_clients(both_ways, "glossaries")
    assert result == {
        "created": [["en", "de", 1], ["de", "en", 1]],
        "csv": [["en", "de", 2]],
        "merged": {"tree": "Linde", "sun": "Stern"},
        "replaced": {"river": "Elbe"},
        "named": "renamed",
        "listed": ["renamed", "table"],
        "left": [["de", "en", 1]],
        "refusal": "No dictionary found for language pair",
    }


def test_ten_thousand_entries_and_more_than_a_body_of_texts(both_ways: Server) -> None:
    with httpx.Client(base_url=both_ways.url, timeout=60) as client:
        entries = "\n".join(f"Source {number}\t{'Target ' * 14}{number}" for number in range(10_000))
        assert len(entries) > Settings().max_body_bytes
        dictionary = {"source_lang": "en", "target_lang": "de", "entries": entries, "entries_format": "tsv"}
        response = client.post("/v2/glossaries", json={"name": "large", **dictionary})
        assert response.status_code == 201, response.text
        address = f"/v3/glossaries/{response.json()['glossary_id']}"
        (found,) = client.get(f"{address}/entries", params={"source_lang": "en", "target_lang": "de"}).json()[
            "dictionaries"
        ]
        assert found["entries"] == entries
        more = client.put(f"{address}/dictionaries", json={**dictionary, "entries": "a\tb"})
        assert (more.status_code, more.json()["entry_count"]) == (200, 1)
        too_many = "\n".join(f"a{number}\tb" for number in range(70_000))
        refused = client.put(f"{address}/dictionaries", json={**dictionary, "entries": too_many})
        assert refused.status_code == 400
        assert "up to 62,500 entries" in refused.json()["message"]
        assert client.delete(address).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "", {}, 400, "'name' not specified"),
        ("POST", "", {"name": 7}, 400, "'name' not supported"),
        ("POST", "", {"name": "a", "dictionaries": {}}, 400, "'dictionaries' not supported"),
        ("POST", "", {"name": "a", "dictionaries": ["a"]}, 400, "'dictionaries' not supported"),
        ("POST", "", {"name": "a", "dictionaries": [{}]}, 400, "'source_lang' not specified"),
        (
            "POST",
            "",
            {"name": "a", "dictionaries": [DICTIONARY | {"target_lang": "xx"}]},
            400,
            "'target_lang' not supp",
        ),
        ("POST", "", {"name": "a", "dictionaries": [DICTIONARY | {"target_lang": "en"}]}, 400, "No model translates"),
        ("POST", "", {"name": "a", "dictionaries": [DICTIONARY | {"entries": ""}]}, 400, "'entries' not specified"),
        ("POST", "", {"name": "a", "dictionaries": [DICTIONARY, DICTIONARY]}, 400, "comes twice"),
        ("POST", "", {"name": "a", "dictionaries": [DICTIONARY] * 3}, 400, "Too many dictionaries"),
        ("PATCH", "/x", {}, 400, "Parameter 'name' or 'dictionaries' not specified"),
        ("PATCH", "/x", {"name": "a"}, 404, "Glossary not found"),
        ("PUT", "/x/dictionaries", DICTIONARY, 404, "Glossary not found"),
        ("PUT", "/x/dictionaries", {"entries": "a\tb"}, 400, "'source_lang' not specified"),
        ("DELETE", "/x/dictionaries", None, 400, "'source_lang' not specified"),
        ("DELETE", "/x/dictionaries?source_lang=en&target_lang=de", None, 404, "Glossary not found"),
        ("GET", "/x/entries", None, 400, "'source_lang' not specified"),
        ("GET", "/x/entries?source_lang=EN&target_lang=DE", None, 404, "Glossary not found"),
        ("GET", "/x", None, 404, "Glossary not found"),
        ("DELETE", "/x", None, 404, "Glossary not found"),
    ],
)
def test_version_3_refuses_in_its_shape(
    both_ways: Server, method: str, path: str, body: dict[str, Any] | None, status: int, words: str
) -> None:
    with httpx.Client(base_url=both_ways.url, timeout=60) as client:
        response = client.request(method, f"/v3/glossaries{path}", json=body)
        assert response.status_code == status, response.text
        assert list(response.json()) == ["message"]
        assert words in response.json()["message"]
        assert client.get("/v3/glossaries").json() == {"glossaries": []}


def test_the_native_routes_have_each_language_pair(both_ways: Server) -> None:
    with httpx.Client(base_url=both_ways.url, timeout=60) as client:
        given = [DICTIONARY, {"source_lang": "de", "target_lang": "en", "entries": "Baum\ttree"}]
        id = client.post("/v3/glossaries", json={"name": "style", "dictionaries": given}).json()["glossary_id"]
        listed = client.get("/v1/glossaries").json()["glossaries"]
        assert [(each["id"], each["source"], each["target"]) for each in listed] == [(id, "en", "de"), (id, "de", "en")]
        assert_refused(client.get(f"/v1/glossaries/{id}"), 422, "Name one language pair", "en to de, de to en")
        one = client.get(f"/v1/glossaries/{id}", params={"source": "DE", "target": "en"}).json()
        assert one == {**listed[1], "entries": {"Baum": "tree"}}
        assert "Baum" in texts_of(translate(client, TREE, glossary="style"))[0]
        detected = client.post("/v1/translate", json={"text": TREE, "source": "auto", "target": "de", "glossary": id})
        assert "Baum" in texts_of(detected)[0]
        assert client.delete(f"/v1/glossaries/{id}").status_code == 204


def test_deepl_documents_have_terms(open_server: Server, own: httpx.Client, tmp_path: Path) -> None:
    client = deepl.DeepLClient("any", server_url=open_server.url)
    glossary = client.create_glossary("style", "EN", "DE", ENTRIES)
    (tmp_path / "a.txt").write_text(TREE)
    client.translate_document_from_filepath(
        tmp_path / "a.txt", tmp_path / "b.txt", source_lang="EN", target_lang="DE", glossary=glossary
    )
    assert [(tmp_path / "b.txt").read_text()] == texts_of(translate(own, TREE, glossary=ENTRIES))
    client.delete_glossary(glossary)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "'name' not specified"),
        ({"target_lang": "FR"}, "'target_lang' not supported"),
        ({"entries_format": "xls"}, "'entries_format' not supported"),
        ({"entries": ["a"]}, "'entries' not supported"),
        ({"entries": "tree"}, "Line 1"),
        ({"entries": "a\tb\tc"}, "Line 1"),
        ({"entries": "a\tb\n\na\tc"}, "Line 3"),
        ({"entries": "\n\n"}, "at least one"),
    ],
)
def test_deepl_refuses_in_its_shape(own: httpx.Client, changes: dict[str, Any], words: str) -> None:
    body = {"name": "a", "source_lang": "EN", "target_lang": "DE", "entries": "a\tb", "entries_format": "tsv"}
    response = own.post("/v2/glossaries", json={**body, **changes})
    assert response.status_code == 400
    assert words in response.json()["message"]
    without_source = {"text": [TREE], "target_lang": "DE", "glossary_id": "a"}
    response = own.post("/v2/translate", json=without_source)
    assert (response.status_code, "source_lang" in response.json()["message"]) == (400, True)


def test_entries_come_as_they_went(own: httpx.Client) -> None:
    body = {"name": "a", "source_lang": "EN", "target_lang": "DE", "entries": "a\tb\r\nc d\té", "entries_format": "tsv"}
    glossary = own.post("/v2/glossaries", data=body)  # a form as well as JSON
    assert glossary.status_code == 201
    entries = own.get(f"/v2/glossaries/{glossary.json()['glossary_id']}/entries")
    assert (entries.text, entries.headers["content-type"].split(";")[0]) == ("a\tb\nc d\té", TSV)
    assert own.delete(f"/v2/glossaries/{glossary.json()['glossary_id']}").status_code == 204


def test_with_keys_a_glossary_is_the_keys(tiny_model: Path, tmp_path: Path) -> None:
    settings = Settings(
        model_directory=tiny_model,
        threads=1,
        api_keys=True,
        keys_file=tmp_path / "keys.sqlite3",
        glossaries_file=tmp_path / "glossaries.sqlite3",
    )
    store = KeyStore(settings.keys_file)
    keys = []
    for name in ("acme", "bolt"):
        key, record = new_key(name, None, None)
        store.add(record)
        keys.append(key)
    store.close()
    with serve(settings) as running, httpx.Client(base_url=running.url, timeout=60) as client:

        def as_key(key: str) -> dict[str, str]:
            return {"X-Api-Key": key}

        for path in ("/v1/glossaries", "/v1/glossaries/x"):
            assert_refused(client.get(path), 401, "API key")
            assert_refused(client.get(path, headers=as_key("acme.wrong")), 403, "wrong or revoked")
        assert client.get("/v2/glossaries").status_code == 403
        body = {"name": "style", "source": "en", "target": "de", "entries": ENTRIES}
        glossary = client.post("/v1/glossaries", json=body, headers=as_key(keys[0])).json()
        body = {"text": TREE, "source": "en", "target": "de", "glossary": glossary["id"]}
        assert client.post("/v1/translate", json=body, headers=as_key(keys[0])).status_code == 200
        assert_refused(client.post("/v1/translate", json=body, headers=as_key(keys[1])), 404, "Glossary not found")
        assert client.get("/v1/glossaries", headers=as_key(keys[1])).json() == {"glossaries": []}
        assert_refused(client.delete(f"/v1/glossaries/{glossary['id']}", headers=as_key(keys[1])), 404)
        theirs = deepl.DeepLClient(keys[0], server_url=running.url)
        assert [item.glossary_id for item in theirs.list_glossaries()] == [glossary["id"]]
    assert (tmp_path / "glossaries.sqlite3").stat().st_mode & 0o077 == 0
