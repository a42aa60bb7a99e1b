"""Azure Translator's version 3.0 at both of its addresses: replies, places in UTF-16, and Azure's numbers of errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.accounts.keys import new_key
from service.api.azure_places import projection, sentence_lengths, translated_lengths
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from service.text.alignment import Link
from service.translation.results import Candidate, TranslatedSentence
from tests.service.api.conftest import HOUSE, TREE
from tests.service.api.test_bad_input import BAD_JSON
from tests.service.running import PAIR, Server, exchange, http_request, serve, texts_of, translate
from tests.service.tiny_model import write_tiny_model

PREFIX = "/translator/text/v3.0"
VERSION = {"api-version": "3.0"}
TO_GERMAN = {**VERSION, "from": "en", "to": "de"}


@pytest.fixture(scope="module")
def both_targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model that translates from English to German and French."""
    return write_tiny_model(tmp_path_factory.mktemp("polyglot") / "tiny", targets=("de", "fr"))


@pytest.fixture(scope="module")
def polyglot(both_targets: Path) -> Iterator[httpx.Client]:
    """Open a client of a server with that model."""
    limits = {"max_texts": 4, "max_text_characters": 100}
    with (
        serve(Settings(model_directory=both_targets, threads=1, **limits)) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


def number_of(response: httpx.Response) -> int:
    """Return the number of an error, which begins with the status."""
    assert list(response.json()) == ["error"], response.text
    error = response.json()["error"]
    assert {*error} == {"code", "message"}
    assert error["message"].endswith(".") or ": " in error["message"]
    number: int = error["code"]
    assert number // 1000 == response.status_code
    assert response.headers["X-RequestId"] == response.headers["X-Request-Id"]
    return number


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_both_addresses(client: httpx.Client, german: dict[str, str]) -> None:
    texts = [{"Text": HOUSE}, {"text": TREE}, {"Text": ""}]
    expected = [{"translations": [{"text": german.get(text, text), "to": "de"}]} for text in (HOUSE, TREE, "")]
    for address in ("", PREFIX):
        response = client.post(f"{address}/translate", params=TO_GERMAN, json=texts)
        assert (response.status_code, response.json()) == (200, expected)
        assert response.headers["X-RequestId"] == response.headers["X-Request-Id"]
        assert response.headers["X-MT-System"] == "Team"
        assert response.headers["X-Metered-Usage"] == str(len(HOUSE + TREE))
        assert response.headers["X-Sub3-Model"] == "tiny"
    metrics = client.get("/metrics").text
    assert f'sub3_requests_total{{route="{PREFIX}/translate",status="200"}}' in metrics


def test_without_a_version_the_address_is_libretranslates(client: httpx.Client, german: dict[str, str]) -> None:
    asked = {"q": HOUSE, **PAIR}
    assert client.post("/translate", json=asked).json() == {"translatedText": german[HOUSE]}
    assert client.post("/translate", data={**asked, "q": "api-version=3.0"}).status_code == 200
    for target in ("/translate?q=a&x=api-version=3.0", "/translate?xapi-version=3.0&q=a"):
        assert isinstance(client.post(target).json()["error"], str)
    assert isinstance(client.get("/languages").json(), list)
    assert number_of(client.post("/translate?API-Version=3.0", json=[])) == 400021


def test_detected_languages(client: httpx.Client, german: dict[str, str]) -> None:
    texts = [{"Text": TREE}, {"Text": "Das alte Haus sieht den Fluss."}]
    first, second = client.post("/translate", params={**VERSION, "to": "DE-at"}, json=texts).json()
    assert first["translations"] == [{"text": german[TREE], "to": "de"}]
    assert (first["detectedLanguage"]["language"], second["detectedLanguage"]["language"]) == ("en", "de")
    assert 0.5 < first["detectedLanguage"]["score"] <= 1
    assert second["translations"] == [{"text": "Das alte Haus sieht den Fluss.", "to": "de"}]


def test_html(client: httpx.Client, german: dict[str, str]) -> None:
    asked = {**TO_GERMAN, "textType": "Html", "includeAlignment": "true"}
    html = f'<div class="notranslate">{TREE}</div><p>{HOUSE}</p>'
    [reply] = client.post("/translate", params=asked, json=[{"Text": html}]).json()
    expected = f'<div class="notranslate">{TREE}</div><p>{german[HOUSE]}</p>'
    # as with Azure, there is no alignment of HTML
    assert reply == {"translations": [{"text": expected, "to": "de", "alignment": {}}]}


def test_several_targets_are_one_request(polyglot: httpx.Client) -> None:
    asked = {**VERSION, "from": "en", "to": ["fr", "de"]}
    response = polyglot.post("/translate", params=asked, json=[{"Text": HOUSE}])
    [reply] = response.json()
    assert [translation["to"] for translation in reply["translations"]] == ["fr", "de"]
    for translation in reply["translations"]:
        pair = {"source": "en", "target": translation["to"]}
        assert texts_of(polyglot.post("/v1/translate", json={"text": HOUSE, **pair})) == [translation["text"]]
    assert response.headers["X-MT-System"] == "Team,Team"
    assert response.headers["X-Metered-Usage"] == str(2 * len(HOUSE))
    # three texts to two languages are six, of which four are allowed
    assert number_of(polyglot.post("/translate", params=asked, json=[{"Text": HOUSE}] * 3)) == 400077
    assert number_of(polyglot.post("/translate", params=asked, json=[{"Text": HOUSE}] * 5)) == 400072
    assert number_of(polyglot.post("/translate", params=asked, json=[{"Text": "a" * 101}])) == 400077
    assert number_of(polyglot.post("/breaksentence", params=VERSION, json=[{"Text": "a" * 101}])) == 400050


def test_several_targets_are_one_charge(both_targets: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("slow", 1, None)  # a request a minute
    SqliteKeys(path).add(record)
    settings = Settings(model_directory=both_targets, threads=1, api_keys=True, keys_file=path)
    asked, header = {**VERSION, "from": "en", "to": ["fr", "de"]}, {"Ocp-Apim-Subscription-Key": key}
    with serve(settings) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        assert client.post("/translate", params=asked, json=[{"Text": HOUSE}], headers=header).status_code == 200
        assert number_of(client.post("/translate", params=asked, json=[{"Text": HOUSE}], headers=header)) == 429001
        assert client.get("/v2/usage", params={"auth_key": key}).json()["character_count"] == 2 * len(HOUSE)


def test_each_targets_own_texts_come_back(polyglot: httpx.Client) -> None:
    french = "La vieille maison voit la rivière."
    asked = {**VERSION, "to": ["de", "fr"]}
    reply = polyglot.post("/translate", params=asked, json=[{"Text": french}, {"Text": "The river."}]).json()
    assert [found["detectedLanguage"]["language"] for found in reply] == ["fr", "en"]
    assert [translation["text"] for translation in reply[0]["translations"]] == [french, french]
    natively = [
        polyglot.post("/v1/translate", json={"text": "The river.", "source": "en", "target": to}) for to in asked["to"]
    ]
    assert [made["text"] for made in reply[1]["translations"]] == [texts_of(response)[0] for response in natively]


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ({"to": None}, 400036),
        ({"to": "xx"}, 400036),
        ({"to": ""}, 400036),
        ({"to": ["de", "DE"]}, 400036),
        ({"from": "xx"}, 400035),
        ({"from": "de", "to": "en"}, 400023),
        ({"from": None, "to": "en"}, 400023),
        ({"api-version": "2.0"}, 400021),
        ({"api-version": ""}, 400021),
        ({"suggestedFrom": "xx"}, 400035),
        ({"textType": "xml"}, 400071),
        ({"profanityAction": "Marked"}, 400042),
        ({"profanityAction": "Deleted"}, 400042),
        ({"profanityMarker": "Star"}, 400042),
        ({"includeAlignment": "yes"}, 400042),
        ({"includeSentenceLength": "true", "textType": "html"}, 400042),
        ({"toScript": "Latn"}, 400080),
        ({"fromScript": "Latn"}, 400080),
        ({"category": "mine", "allowFallback": "false"}, 400079),
    ],
)
def test_refused_parameters(client: httpx.Client, asked: dict[str, Any], number: int) -> None:
    params = {name: value for name, value in {**TO_GERMAN, **asked}.items() if value is not None}
    assert number_of(client.post(f"{PREFIX}/translate", params=params, json=[{"Text": HOUSE}])) == number


def test_parameters_that_change_nothing(client: httpx.Client, german: dict[str, str]) -> None:
    for more in (
        {"category": "mine"},
        {"category": "general", "allowFallback": "false"},
        {"profanityAction": "NoAction", "profanityMarker": "Tag"},
        {"suggestedFrom": "en", "ClientTraceId": "1", "unknown": "x"},
        {"includeAlignment": "False", "textType": "Plain"},
    ):
        [reply] = client.post("/translate", params={**TO_GERMAN, **more}, json=[{"Text": HOUSE}]).json()
        assert reply == {"translations": [{"text": german[HOUSE], "to": "de"}]}


def test_weblates_requests(server: Server, german: dict[str, str]) -> None:
    """It exchanges its key for a token, and sends that."""
    token = httpx.post(f"{server.url}/sts/v1.0/issueToken?Subscription-Key=a-key", timeout=60)
    assert (token.status_code, token.text) == (200, "a-key")
    assert token.headers["Content-Type"] == "text/plain; charset=utf-8"
    bearer = {"Authorization": f"Bearer {token.text}", "Content_Type": "application/json"}
    status, listed = exchange(server, http_request("GET /languages?api-version=3.0", **bearer))
    assert (status, {*listed["translation"]}) == (200, {"de", "en"})
    line = "POST /translate?api-version=3.0&from=en&to=de&category=general&textType=html"
    html = f'{HOUSE} <span id="7">%s</span> &lt;'
    status, [reply] = exchange(server, http_request(line, json.dumps([{"Text": html}]).encode(), **bearer))
    assert (status, reply["translations"][0]["to"]) == (200, "de")
    assert reply["translations"][0]["text"].startswith(german[HOUSE])


@pytest.mark.parametrize("path", ["/translate", "/detect", "/breaksentence"])
def test_refused_bodies(client: httpx.Client, path: str) -> None:
    def refused(body: bytes, kind: str = "application/json; charset=UTF-8") -> int:
        return number_of(client.post(path, params=TO_GERMAN, content=body, headers={"Content-Type": kind}))

    assert [refused(body) for body in (b"", b"[", b"\xff")] == [400074] * 3
    assert [refused(body) for body in (b"[]", b"{}", b"1", b"null", b'"a"')] == [400005] * 5
    for body in (b"[1]", b"[{}]", b'[{"Text":1}]', b'[{"Text":"a"},null]', b'[{"TEXT":"a"}]', b"[[]]"):
        assert refused(body) == 400020
    assert refused(b'[{"Text":"a"}]', "text/plain") == 415000
    assert refused(json.dumps([{"Text": "a"}] * 129).encode()) == 400072
    for fault in BAD_JSON.values():
        assert refused(b'[{"Text":"a","x":1,' + fault + b"}]") in (400074, 400020)


def test_other_statuses_have_azures_form(client: httpx.Client) -> None:
    wrong = client.put("/translate", params=TO_GERMAN)
    assert (number_of(wrong), wrong.headers["Allow"]) == (405000, "POST")
    for path in ("/transliterate", "/dictionary/lookup", "/dictionary/examples"):
        assert number_of(client.post(path, params=VERSION, json=[])) == 404000
    assert number_of(client.post(f"{PREFIX}/nothing")) == 404000
    assert number_of(client.post("/translate", params=TO_GERMAN, content=b"x" * 2_000_000)) == 413000
    dynamic = '<mstrans:dictionary translation="b">a</mstrans:dictionary>'
    assert number_of(client.post("/translate", params=TO_GERMAN, json=[{"Text": dynamic}])) == 400042


def test_languages(client: httpx.Client) -> None:
    both = {
        "de": {"name": "German", "nativeName": "Deutsch", "dir": "ltr"},
        "en": {"name": "English", "nativeName": "English", "dir": "ltr"},
    }
    assert client.get("/languages", params={**VERSION, "scope": "translation"}).json() == {"translation": both}
    every = {"translation": both, "transliteration": {}, "dictionary": {}}
    assert client.get(f"{PREFIX}/languages", params=VERSION).json() == every
    assert client.get("/languages", params={**VERSION, "scope": "dictionary"}).json() == {"dictionary": {}}
    assert number_of(client.get("/languages", params={**VERSION, "scope": "all"})) == 400001
    assert number_of(client.get(f"{PREFIX}/languages")) == 400021
    head = client.head("/languages", params=VERSION)
    assert (head.status_code, head.content, "X-RequestId" in head.headers) == (200, b"", True)


def test_detection(client: httpx.Client) -> None:
    texts = [{"Text": "Where is the railway station?"}, {"Text": "Où est la gare, s'il vous plaît ?"}, {"Text": "1"}]
    english, french, nothing = client.post("/detect", params=VERSION, json=texts).json()
    assert (english["language"], english["isTranslationSupported"]) == ("en", True)
    assert (french["language"], french["isTranslationSupported"]) == ("fr", False)
    assert (nothing["score"], nothing["alternatives"]) == (0.0, [])
    assert all(found["isTransliterationSupported"] is False for found in (english, french, nothing))


def test_sentences(client: httpx.Client) -> None:
    texts = [{"Text": "How are you? I am fine. What did you do today?"}, {"Text": "Fine 😀. Good.\n"}, {"Text": ""}]
    first, second, empty = client.post("/breaksentence", params=VERSION, json=texts).json()
    assert (first["sentLen"], first["detectedLanguage"]["language"]) == ([13, 11, 22], "en")
    assert sum(second["sentLen"]) == utf16("Fine 😀. Good.\n")
    assert empty["sentLen"] == [0]
    [named] = client.post("/breaksentence", params={**VERSION, "language": "en"}, json=texts[:1]).json()
    assert named == {"sentLen": [13, 11, 22]}
    assert number_of(client.post("/breaksentence", params={**VERSION, "language": "xx"}, json=texts)) == 400003
    assert number_of(client.post("/breaksentence", params={**VERSION, "script": "Latn"}, json=texts)) == 400080


texts = st.text(max_size=60) | st.sampled_from(
    [
        f"{HOUSE} {TREE}",
        f"😀 {HOUSE}\n- {TREE} 😀\n",
        "{n, plural, one {a tree} other {# trees}}",
        "%s: the river.",
        "1.",
    ]
)


@given(text=texts, is_detected=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_places_fit_any_text(client: httpx.Client, text: str, is_detected: bool) -> None:
    asked = {**TO_GERMAN, "includeAlignment": "true", "includeSentenceLength": "true"}
    if is_detected:
        del asked["from"]
    response = client.post("/translate", params=asked, json=[{"Text": text}])
    assert response.status_code == 200, response.text
    [translation] = response.json()[0]["translations"]
    assert is_detected or not text or translation["text"] == texts_of(translate(client, text))[0]
    lengths = translation["sentLen"]
    assert len(lengths["srcSentLen"]) == len(lengths["transSentLen"])
    assert sum(lengths["srcSentLen"]) == utf16(text)
    assert sum(lengths["transSentLen"]) == utf16(translation["text"])
    assert min(lengths["srcSentLen"] + lengths["transSentLen"]) >= 0
    pairs = [pair.split("-") for pair in translation["alignment"].get("proj", "").split()]
    for side, whole in enumerate((text, translation["text"])):
        for pair in pairs:
            begin, end = map(int, pair[side].split(":"))
            assert 0 <= begin <= end < utf16(whole)


def test_places_are_counted_in_utf_16() -> None:
    links = [Link((2, 5), (0, 1)), Link((0, 1), (2, 5))]
    assert projection(links, "😀 cat", "😀 cat") == "0:1-3:5 3:5-0:1"
    assert projection([], "", "") == ""
    assert sentence_lengths("The 😀 cat sat. It saw a dog.", "en") == [16, 13]


def test_sentences_of_a_text_and_its_translation() -> None:
    def sentence(number: int, begin: int, source: str, target: str) -> TranslatedSentence:
        return TranslatedSentence(0, number, source, Candidate(target, 0.0), begin, is_last=False)

    both = [sentence(0, 2, "Aa.", "Bbbb."), sentence(1, 6, "Cc.", "D.")]
    assert translated_lengths("* Aa. Cc.!", "* Bbbb. D.!", both) == ([6, 4], [8, 3])
    # what is between the sentences is no copy: the text counts as one
    assert translated_lengths("* Aa. Cc.!", "** Bbbb. D.!", both) == ([10], [12])
    assert translated_lengths("😀", "😀", []) == ([2], [2])
