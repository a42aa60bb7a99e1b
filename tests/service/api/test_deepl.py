"""DeepL's dialect over a running server: what it takes, what it replies, how it refuses."""

import re
from pathlib import Path
from typing import Any

import deepl
import httpx
import pytest

from service.live.configurations import by_name
from service.live.registry import Registry
from service.settings import Settings
from tests.service.running import Server, serve, texts_of, translate
from tests.service.tiny_model import write_tiny_model

HELLO = "The old house."
TREE = "A big tree sees the river."
EN_DE = {"source_lang": "EN", "target_lang": "DE"}
KV_CACHE = "X-Sub3-KV-Cache-Peak-Bytes"


@pytest.fixture(scope="module")
def native(server: Server) -> dict[str, str]:
    """Translate sentences through the native dialect."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        return {text: texts_of(translate(client, text))[0] for text in (HELLO, TREE)}


def ask(client: httpx.Client, text: Any, **fields: Any) -> httpx.Response:
    return client.post("/v2/translate", json={"text": text, **EN_DE, **fields})


def texts(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [translation["text"] for translation in response.json()["translations"]]


def test_every_form_of_input_is_the_same_request(client: httpx.Client, native: dict[str, str]) -> None:
    expected = {
        "translations": [
            {"detected_source_language": "EN", "text": native[text], "billed_characters": len(text)}
            for text in (HELLO, TREE)
        ]
    }
    form = {"text": [HELLO, TREE], **EN_DE}
    for response in (
        client.post("/v2/translate", json=form),
        client.post("/v2/translate", data=form),
        client.post("/v2/translate", data={"text[]": [HELLO, TREE], **EN_DE}),
        client.post("/v2/translate", params=form),
        client.get("/v2/translate", params={**form, "auth_key": "k"}),
        client.get("/v2/translate", params={"text": [HELLO, TREE], "source_lang": "en", "target_lang": "de"}),
        ask(client, [HELLO, TREE], show_billed_characters=True, debug=1, context="", preserve_formatting=False),
        ask(client, [HELLO, TREE], formality="default", split_sentences="1"),
        ask(client, [HELLO, TREE], formality="prefer_more", source_lang="en-GB", tag_handling=None),
    ):
        assert response.status_code == 200, response.text
        assert response.json() == expected
        assert float(response.headers["X-Sub3-Total-Ms"]) > 0
    assert texts(ask(client, HELLO)) == [native[HELLO]]
    assert ask(client, ["", "😀"]).json()["translations"] == [
        {"detected_source_language": "EN", "text": "", "billed_characters": 0},
        {"detected_source_language": "EN", "text": "😀", "billed_characters": 1},
    ]


def test_the_source_is_detected_text_by_text(client: httpx.Client) -> None:
    reply = client.post(
        "/v2/translate",
        json={"text": ["Where is the railway station?", "Où est la gare, s'il vous plaît ?"], "target_lang": "de"},
    )
    found = [translation["detected_source_language"] for translation in reply.json()["translations"]]
    assert found == ["EN", "FR"]


def test_split_sentences(client: httpx.Client, native: dict[str, str]) -> None:
    both = f"{HELLO} {TREE}"
    assert texts(ask(client, both)) == [f"{native[HELLO]} {native[TREE]}"]
    assert texts(ask(client, both, split_sentences="0")) != texts(ask(client, both))
    # a line break in a sentence: ends it, or is a space
    broken = HELLO.replace(" house", "\nhouse")
    assert texts(ask(client, broken, split_sentences="nonewlines")) == [native[HELLO]]
    assert "\n" in texts(ask(client, broken, split_sentences="1"))[0]
    assert texts(ask(client, f"{HELLO}\n{TREE}", split_sentences="nonewlines")) == [f"{native[HELLO]}\n{native[TREE]}"]
    assert texts(ask(client, broken, split_sentences=0)) == [native[HELLO]]


def test_tags(client: httpx.Client, native: dict[str, str]) -> None:
    source = f'{HELLO} <x id="7"></x> <g><x>{TREE}</x>{TREE}</g> &amp;'
    expected = f'{native[HELLO]} <x id="7"></x> <g><x>{TREE}</x>{native[TREE]}</g> &amp;'
    for tags in (["x"], "x", "X, y"):
        assert texts(ask(client, source, tag_handling="xml", ignore_tags=tags, splitting_tags=["g"])) == [expected]
    form = {"text": source, "tag_handling": "xml", "ignore_tags": "x,y", "non_splitting_tags": "g", **EN_DE}
    assert texts(client.post("/v2/translate", data=form)) == [expected]
    billed = ask(client, source, tag_handling="xml", ignore_tags=["x"]).json()["translations"][0]["billed_characters"]
    # what is translated, without the tags around words, with a character for each element that stands there as one
    assert billed == len(f"{HELLO} * *{TREE} &")
    html = f"<p>{HELLO}<br>{TREE}<code>{TREE}</code></p>"
    assert texts(ask(client, html, tag_handling="html", tag_handling_version="v2")) == [
        f"<p>{native[HELLO]}<br>{native[TREE]}<code>{TREE}</code></p>"
    ]


def test_which_tags_split(client: httpx.Client, native: dict[str, str]) -> None:
    def units(**fields: Any) -> int:
        """Return how many lines are billed: each line break is a character."""
        reply = ask(client, f"<d><p>{HELLO}</p><p>{TREE}</p></d>", tag_handling="xml", **fields).json()
        assert re.findall("<[^>]*>", reply["translations"][0]["text"]) == ["<d>", "<p>", "</p>", "<p>", "</p>", "</d>"]
        return reply["translations"][0]["billed_characters"] - len(HELLO + TREE)

    assert units() == 1
    assert units(non_splitting_tags=["p"]) == 0
    for off in (False, "0", 0):
        assert units(outline_detection=off) == 0
    assert units(outline_detection=False, splitting_tags="d, p") == 1
    bold = f"{HELLO[:4]}<b>{HELLO[4:]}</b>"
    assert texts(ask(client, bold, tag_handling="xml", splitting_tags=["b"])) == texts(
        ask(client, [HELLO[:4] + "<br/>" + HELLO[4:]], tag_handling="xml", splitting_tags=["br"])
    )[0].replace("<br/>", "<b>").join(["", "</b>"]).split("\n")
    broken = HELLO.replace(" house", "\nhouse")
    assert texts(ask(client, broken, tag_handling="xml", split_sentences="nonewlines")) == [native[HELLO]]
    assert ask(client, HELLO, tag_handling="xml", outline_detection="2").status_code == 400
    assert ask(client, HELLO, tag_handling="xml", splitting_tags=[1]).status_code == 400


def test_model_types_choose_among_what_is_live_and_the_fast_one_is_greedy(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny", beam_size=3)
    with (
        serve(Settings(model_directory=tmp_path / "tiny", threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):

        def answered(**fields: str) -> tuple[str, str | None]:
            reply = ask(client, HELLO, **fields)
            return reply.headers["X-Sub3-Config"], reply.json()["translations"][0].get("model_type_used")

        assert answered(model_type="latency_optimized") == ("full", "latency_optimized")  # there is one
        (own, greedy), native = (
            (ask(client, HELLO, model_type=f"{kind}_optimized") for kind in ("quality", "latency")),
            {n: translate(client, HELLO, beam_size=n) for n in (None, 1, 3)},
        )
        assert [reply.headers[KV_CACHE] for reply in (own, greedy)] == [native[n].headers[KV_CACHE] for n in (3, 1)]
        assert native[None].headers[KV_CACHE] == native[3].headers[KV_CACHE] != native[1].headers[KV_CACHE]
        assert client.get("/v1/models").json()["models"][0]["beam_size"] == 3
        registry: Registry = server.app.state.registry
        for name in ("narrow", "half"):
            registry.change("tiny", lambda directory, desired, name=name: desired.load(by_name(directory, name)))
        registry.change("tiny", lambda directory, desired: desired.activate(by_name(directory, "half")))
        assert answered(model_type="latency_optimized") == ("narrow", "latency_optimized")
        assert answered() == ("half", None)
        registry.change("tiny", lambda directory, desired: desired.load(by_name(directory, "full")))
        assert answered(model_type="quality_optimized") == ("full", "quality_optimized")
        assert answered(model_type="prefer_quality_optimized") == ("full", "quality_optimized")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_languages_and_usage(tiny_model: Path, method: str) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        sources = client.request(method, "/v2/languages", params={"type": "source"}).json()
        assert sources == [{"language": "EN", "name": "English"}] == client.request(method, "/v2/languages").json()
        targets = client.request(method, "/v2/languages", params={"type": "target"}).json()
        assert targets == [{"language": "DE", "name": "German", "supports_formality": False}]
        wrong = client.request(method, "/v2/languages", params={"type": "x"})
        message = "Parameter 'type' is invalid. 'source' and 'target' are valid values."
        assert (wrong.status_code, wrong.json()) == (400, {"message": message})
        ask(client, [HELLO, TREE])
        usage = client.request(method, "/v2/usage").json()
        assert usage == {"character_count": len(HELLO + TREE), "character_limit": 10**12}
        pairs = client.get("/v2/glossary-language-pairs").json()
        assert pairs == {"supported_languages": [{"source_lang": "en", "target_lang": "de"}]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": []}, "Parameter 'text' not specified"),
        ({"text": None}, "Parameter 'text' not specified"),
        ({"text": ["x"] * 51}, "Too many texts: send up to 50 in a request."),
        ({"text": [5]}, "Value for 'text' not supported."),
        ({"text": {"a": 1}}, "Value for 'text' not supported."),
        ({"target_lang": None}, "Parameter 'target_lang' not specified"),
        ({"target_lang": "XX"}, "Value for 'target_lang' not supported."),
        ({"target_lang": ["DE"]}, "Value for 'target_lang' not supported."),
        ({"source_lang": "FR"}, "Value for 'source_lang' not supported."),
        ({"split_sentences": "2"}, "Value for 'split_sentences' not supported."),
        ({"formality": "more"}, "Target language 'DE' doesn't support formality."),
        ({"formality": "rude"}, "Value for 'formality' not supported."),
        ({"tag_handling": "sgml"}, "Value for 'tag_handling' not supported."),
        ({"ignore_tags": [5]}, "Value for 'ignore_tags' not supported."),
        ({"model_type": "best"}, "Value for 'model_type' not supported."),
        ({"glossary_id": 7}, "Value for 'glossary_id' not supported."),
        ({"glossary_ids": ["abc", 7]}, "Value for 'glossary_ids' not supported."),
        ({"glossary_ids": {"a": "b"}}, "Value for 'glossary_ids' not supported."),
        ({"source_lang": None, "glossary_id": "a"}, "Use of a glossary requires the 'source_lang' parameter."),
        ({"context": "Once upon a time."}, "Value for 'context' not supported."),
        ({"context": 7}, "Value for 'context' not supported."),
        ({"tag_handling_version": "v3"}, "Value for 'tag_handling_version' not supported."),
        ({"style_id": "a"}, "Value for 'style_id' not supported."),
        ({"custom_instructions": ["Be brief."]}, "Value for 'custom_instructions' not supported."),
        (
            {"translation_memory_id": "a", "translation_memory_threshold": 80, "context": "a"},
            "Value for 'translation_memory_id' not supported. Value for 'translation_memory_threshold' not supported. "
            "Value for 'context' not supported.",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refusals(client: httpx.Client, fields: dict[str, Any], message: str) -> None:
    response = client.post("/v2/translate", json={"text": [HELLO], **EN_DE, **fields})
    assert (response.status_code, response.json()) == (400, {"message": message})


def test_refusals_of_other_kinds_have_the_same_shape(client: httpx.Client) -> None:
    large = client.post("/v2/translate", json={"text": ["x" * 30_000] * 40, **EN_DE})
    long = ask(client, "x" * 10_001)
    no_json = client.post("/v2/translate", content=b"{", headers={"Content-Type": "application/json"})
    packed = client.post("/v2/translate", content=b"{}", headers={"Content-Encoding": "gzip"})
    verb = client.put("/v2/translate")
    responses = (large, long, no_json, packed, verb)
    assert [response.status_code for response in responses] == [413, 413, 400, 415, 405]
    assert all(list(response.json()) == ["message"] for response in responses)


@pytest.mark.parametrize("resource", ["translate_text", "translate_document", "glossary"])
def test_the_languages_of_a_resource(client: httpx.Client, resource: str) -> None:
    def language(code: str, name: str, *, source: bool) -> dict[str, Any]:
        usable = {"usable_as_source": source, "usable_as_target": not source}
        return {"lang": code, "name": name, **usable, "status": "stable", "features": {}}

    expected = [language("de", "German", source=False), language("en", "English", source=True)]
    assert client.get("/v3/languages", params={"resource": resource}).json() == expected


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "Parameter 'resource' not specified"),
        ("?resource=", 400, "Parameter 'resource' not specified"),
        ("?resource=everything", 400, "Value for 'resource' not supported."),
        ("?resource=write", 404, "Not found"),
        ("?resource=voice", 404, "Not found"),
    ],
)
def test_resources_that_are_not_there(client: httpx.Client, query: str, status: int, message: str) -> None:
    response = client.get(f"/v3/languages{query}")
    assert (response.status_code, response.json()) == (status, {"message": message})


def test_english_and_portuguese_are_targets_by_their_variants(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "de-en", sources=("de",), targets=("en",))
    write_tiny_model(tmp_path / "en-pt", sources=("en",), targets=("pt",), seed=8)
    with (
        serve(Settings(models_directory=tmp_path, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        official = deepl.DeepLClient("any", server_url=server.url)
        codes = [language.code for language in official.get_target_languages()]
        assert sorted(codes) == ["EN-GB", "EN-US", "PT-BR", "PT-PT"]
        for code in codes:  # each that is listed is one that the client sends
            assert isinstance(official.translate_text("Das alte Haus.", target_lang=code), deepl.TextResult)
        by_code = [texts(ask(client, "Haus", source_lang="DE", target_lang=code)) for code in ("EN", "EN-GB", "EN-US")]
        assert by_code[0] == by_code[1] == by_code[2]

        def usable(resource: str) -> dict[str, tuple[bool, bool]]:
            reply = client.get("/v3/languages", params={"resource": resource}).json()
            return {entry["lang"]: (entry["usable_as_source"], entry["usable_as_target"]) for entry in reply}

        bases = {"de": (True, False), "en": (True, True), "pt": (False, True)}
        variants = dict.fromkeys(("en-GB", "en-US", "pt-BR", "pt-PT"), (False, True))
        assert usable("glossary") == bases
        assert usable("translate_text") == bases | variants


def test_wishes_that_are_empty_are_none(client: httpx.Client, native: dict[str, str]) -> None:
    nothing = {"custom_instructions": [], "style_id": "", "translation_memory_id": None, "glossary_ids": []}
    assert texts(ask(client, HELLO, **nothing)) == [native[HELLO]]
    form = {"text": HELLO, **EN_DE, "custom_instructions": "", "glossary_ids[]": ""}
    assert texts(client.post("/v2/translate", data=form)) == [native[HELLO]]
    listed = client.post("/v2/translate", data={**form, "custom_instructions[]": "Be brief."})
    assert (listed.status_code, listed.json()["message"]) == (400, "Value for 'custom_instructions' not supported.")


@pytest.mark.parametrize("text", ["Gift", "Die!"])
def test_the_context_tells_the_language_of_a_few_words(client: httpx.Client, text: str) -> None:
    found = [
        client.post("/v2/translate", json={"text": [text], "target_lang": "DE", "context": context}).json()
        for context in ("She gave it to her friend on her birthday.", "Das Wasser war nicht mehr zu trinken.")
    ]
    assert [reply["translations"][0]["detected_source_language"] for reply in found] == ["EN", "DE"]
    told = {"text": ["Where is the railway station?"], "target_lang": "DE", "context": "Das ist ein Bahnhof."}
    (translation,) = client.post("/v2/translate", json=told).json()["translations"]
    assert translation["detected_source_language"] == "EN"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Value for 'target_lang' not supported."),
        ({"target_lang": "de"}, "Value for 'target_lang' not supported."),
        ({"target_lang": "de", "tone": "default"}, "Value for 'target_lang' not supported."),
        ({"target_lang": "ja", "tone": "confident"}, "Language ja does not support setting a tone."),
        ({"target_lang": "ja", "writing_style": "simple"}, "Language ja does not support setting a writing style."),
        ({"tone": "confident", "writing_style": "simple"}, "Both writing_style and tone defined; send one of them."),
    ],
)
def test_nothing_improves_texts(client: httpx.Client, fields: dict[str, str], message: str) -> None:
    for response in (
        client.post("/v2/write/rephrase", json={"text": [HELLO], **fields}),
        client.post("/v2/write/rephrase", data={"text": HELLO, **fields}),
    ):
        assert (response.status_code, response.json()) == (400, {"message": message})


def test_a_document_is_refused_what_cannot_be_done(client: httpx.Client) -> None:
    def send(name: str = "a.txt", **fields: str) -> httpx.Response:
        return client.post("/v2/document", data={**EN_DE, **fields}, files={"file": (name, b"The old house.")})

    for fields, message in (
        ({"context": "a"}, "Value for 'context' not supported."),
        ({"style_id": "a", "custom_instructions": "b"}, "Value for 'style_id' not supported. Value for 'custom_i"),
        ({"formality": "less"}, "Target language 'DE' doesn't support formality."),
        ({"name": "a.invalid"}, "Invalid file extension. Files ending in '.invalid' are not translated"),
    ):
        response = send(**fields)
        assert response.status_code == 400
        assert response.json()["message"].startswith(message)
    assert send().status_code == 200


@pytest.mark.parametrize("path", ["/v3/style_rules", "/v3/style_rules/1", "/v3/translation_memories"])
def test_what_is_not_there(client: httpx.Client, path: str) -> None:
    for response in (client.get(path), client.post(path)):
        assert (response.status_code, response.json()) == (404, {"message": "Not found"})
