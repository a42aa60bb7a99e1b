"""Stored glossaries: both stores by the same tests, the native routes, DeepL's by its own client."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepl
import httpx
import pytest

from service.accounts.glossaries import NOBODY, Glossaries, UnknownGlossary
from service.accounts.keys import new_key
from service.accounts.unavailable import StoreUnavailable
from service.api.deepl_glossaries import TSV
from service.settings import Settings
from service.stores.redis import RedisGlossaries
from service.stores.sqlite import SqliteGlossaries
from service.stores.sqlite import SqliteKeys as KeyStore
from service.text.glossary import GlossaryRefused
from tests.service.redis_server import RedisServer
from tests.service.running import Server, assert_refused, serve, texts_of, translate

ENTRIES = {"tree": "Baum", "the river": "die Elbe", "Sun": "Sun"}
TREE = "A big tree sees the river."


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
                database.execute("DROP TABLE glossaries")

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


def glossaries_over(shelf: Shelf, most: int = 3) -> Glossaries:
    return Glossaries(shelf.open, lambda: [("en", "de")], most)


def test_what_is_kept_is_found_again_by_every_replica(shelf: Shelf) -> None:
    one, other = glossaries_over(shelf), glossaries_over(shelf)
    assert one.heads("acme") == []
    head = one.create("acme", "house style", "en", "de", ENTRIES)
    assert (head.name, head.source, head.target, head.entries) == ("house style", "en", "de", 3)
    second = other.create("acme", "other", "en", "de", {"a": "b"})
    for glossaries in (one, other, glossaries_over(shelf)):
        assert glossaries.heads("acme") == [head, second]
        assert glossaries.head("acme", head.id) == head
        assert glossaries.entries("acme", head.id) == ENTRIES
        assert glossaries.find("acme", head.id).covers("en", "de")
    other.remove("acme", head.id)
    for call in (one.head, one.entries, one.remove):
        with pytest.raises(UnknownGlossary):
            call("acme", head.id)
    with pytest.raises(UnknownGlossary):
        one.find("acme", head.id)  # though it has read it before
    assert one.heads("acme") == [second]


def test_a_glossary_is_its_owners(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf)
    head = glossaries.create("acme", "ours", "en", "de", ENTRIES)
    for stranger in ("bolt", NOBODY, "acm"):
        assert glossaries.heads(stranger) == []
        for call in (glossaries.head, glossaries.entries, glossaries.remove):
            with pytest.raises(UnknownGlossary):
                call(stranger, head.id)
        for wanted in (head.id, "ours"):
            with pytest.raises(UnknownGlossary):
                glossaries.find(stranger, wanted)
    assert glossaries.heads("acme") == [head]


def test_the_youngest_of_a_name_answers_to_it_and_an_id_before_a_name(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf)
    first = glossaries.create("acme", "style", "en", "de", {"tree": "Baum"})
    glossaries.create("acme", "style", "en", "de", {"tree": "Linde"})
    glossaries.create("acme", first.id, "en", "de", {"tree": "Eiche"})

    def spelt(wanted: str) -> tuple[str, ...]:
        return glossaries.find("acme", wanted).find("tree", ())[0].spellings

    assert spelt("style") == ("Linde",)
    assert spelt(first.id) == ("Baum",)


def test_an_owner_has_so_many_and_no_more(shelf: Shelf) -> None:
    glossaries = glossaries_over(shelf, most=2)
    for _ in range(2):
        head = glossaries.create("acme", "a", "en", "de", ENTRIES)
    with pytest.raises(GlossaryRefused, match="delete one"):
        glossaries_over(shelf, most=2).create("acme", "a", "en", "de", ENTRIES)
    glossaries.create("bolt", "a", "en", "de", ENTRIES)
    glossaries.remove("acme", head.id)
    glossaries.create("acme", "a", "en", "de", ENTRIES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "fr"}, "No model translates from en to fr"),
        ({"name": " "}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"entries": {}}, "at least one"),
        ({"entries": {"": "a"}}, "empty"),
    ],
)
def test_what_is_refused_is_not_kept(shelf: Shelf, changes: dict[str, Any], words: str) -> None:
    glossaries = glossaries_over(shelf)
    with pytest.raises(GlossaryRefused, match=words):
        glossaries.create(**{"owner": "a", "name": "a", "source": "en", "target": "de", "entries": ENTRIES, **changes})
    assert glossaries.heads("a") == []


def test_a_store_that_fails_is_told_without_its_reason(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    glossaries = glossaries_over(shelf)
    glossaries.create("acme", "a", "en", "de", ENTRIES)
    shelf.fail()
    with pytest.raises(StoreUnavailable, match=r"^The glossaries can't be reached at the moment; retry later\.$"):
        glossaries.heads("acme")
    assert "down" in caplog.text


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
        ({"entries": ["a"]}, "'entries' not specified"),
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
