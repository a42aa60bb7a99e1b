"""The clients that people have, as they are, against a running server; and the requests of programs, byte for byte."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import deep_translator.deepl
import deepl
import pytest
from deep_translator import DeeplTranslator, LibreTranslator
from deep_translator.exceptions import AuthorizationException, ServerException
from libretranslatepy import LibreTranslateAPI

from models.format.store import SHIPPED
from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.service.api.conftest import HOUSE, TREE
from tests.service.npm_clients import run_npm_clients
from tests.service.running import Server, exchange, http_request, serve


@pytest.fixture
def locked(tiny_model: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Run a server that asks for keys; yield its address and a key of 20 characters a month."""
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("small", None, 20)
    SqliteKeys(path).add(record)
    with serve(Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=path)) as running:
        yield running.url, key


def test_libretranslatepy(server: Server, german: dict[str, str], locked: tuple[str, str]) -> None:
    client = LibreTranslateAPI(server.url)
    assert client.translate(HOUSE, "en", "de") == german[HOUSE]
    assert client.detect("Where is the railway station?")[0]["language"] == "en"
    assert client.languages()[0] == {"code": "en", "name": "English", "targets": ["de"]}
    with pytest.raises(HTTPError, match="400"):
        client.translate(HOUSE, "en", "fr")
    url, key = locked
    assert LibreTranslateAPI(url, key).translate(HOUSE, "en", "de") == german[HOUSE]
    with pytest.raises(HTTPError, match="403"):
        LibreTranslateAPI(url, key + "x").translate(HOUSE, "en", "de")


def test_libretranslatepy_detects_what_can_be_translated(tmp_path: Path) -> None:
    settings = Settings(models_directory=SHIPPED, threads=1, glossaries_file=tmp_path / "g", state_file=None)
    with serve(settings) as running:
        client = LibreTranslateAPI(running.url)
        languages = {language["code"] for language in client.languages()}
        for text, language in (("Hallo", "de"), ("hello", "en"), ("Guten Morgen", "de"), ("Où est la gare ?", None)):
            found = client.detect(text)
            confidences = [each["confidence"] for each in found]
            assert {each["language"] for each in found} <= languages, text
            assert confidences == sorted(confidences, reverse=True), text
            # clients ask for 50 to 90
            assert confidences[0] >= 50 if language else confidences[0] < 50, text
            assert language in (None, found[0]["language"]), text


def test_deep_translator_libre(server: Server, german: dict[str, str], locked: tuple[str, str]) -> None:
    client = LibreTranslator(source="English", target="German", api_key="a-key", custom_url=f"{server.url}/")
    assert client.translate(HOUSE) == german[HOUSE]
    assert client.translate_batch([HOUSE, TREE]) == [german[HOUSE], german[TREE]]
    with pytest.raises(ServerException):
        LibreTranslator(source="en", target="fr", api_key="a-key", custom_url=f"{server.url}/").translate(HOUSE)
    with pytest.raises(AuthorizationException):
        LibreTranslator(source="en", target="de", api_key="wrong.x", custom_url=f"{locked[0]}/").translate(HOUSE)


def test_deep_translator_deepl(
    server: Server, german: dict[str, str], locked: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = deep_translator.deepl.BASE_URLS
    monkeypatch.setitem(urls, "DEEPL_FREE", server.url + "/{version}/")
    client = DeeplTranslator(api_key="a-key", source="en", target="de")
    assert client.translate(HOUSE) == german[HOUSE]
    assert client.translate_batch([HOUSE, TREE]) == [german[HOUSE], german[TREE]]
    monkeypatch.setitem(urls, "DEEPL_FREE", locked[0] + "/{version}/")
    with pytest.raises(AuthorizationException):
        DeeplTranslator(api_key="wrong.x", source="en", target="de").translate(HOUSE)


def test_deepl_python(server: Server, german: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    client = deepl.DeepLClient("a-key", server_url=server.url)
    one = client.translate_text(HOUSE, source_lang="EN", target_lang="DE")
    assert isinstance(one, deepl.TextResult)
    assert (one.text, one.detected_source_lang, one.billed_characters) == (german[HOUSE], "EN", len(HOUSE))
    many = client.translate_text([HOUSE, TREE, ""], target_lang="DE")
    assert isinstance(many, list)
    assert [result.text for result in many] == [german[HOUSE], german[TREE], ""]
    tagged = client.translate_text(
        f'{HOUSE} <x id="7"></x>, <keep>{TREE}</keep>',
        source_lang="EN",
        target_lang="DE",
        tag_handling="xml",
        ignore_tags=["x", "keep"],
        non_splitting_tags=["b"],
        splitting_tags="g",
        outline_detection=False,
        split_sentences=deepl.SplitSentences.NO_NEWLINES,
        preserve_formatting=True,
        formality=deepl.Formality.PREFER_MORE,
        model_type=deepl.ModelType.QUALITY_OPTIMIZED,
        extra_body_parameters={"debug": True},
    )
    assert isinstance(tagged, deepl.TextResult)
    assert tagged.text == f'{german[HOUSE]} <x id="7"></x>, <keep>{TREE}</keep>'
    assert tagged.model_type_used == "quality_optimized"
    assert [language.code for language in client.get_source_languages()] == ["EN"]
    assert [(language.code, language.supports_formality) for language in client.get_target_languages()] == [
        ("DE", False)
    ]
    assert [(pair.source_lang, pair.target_lang) for pair in client.get_glossary_languages()] == [("en", "de")]
    usage = client.get_usage()
    assert usage.character.count is not None
    assert usage.character.count >= len(HOUSE)
    assert not usage.any_limit_reached
    with pytest.raises(deepl.DeepLException, match="doesn't support formality"):
        client.translate_text(HOUSE, target_lang="DE", formality="more")
    with pytest.raises(deepl.DeepLException, match="'target_lang' not supported"):
        client.translate_text(HOUSE, target_lang="FR")
    with pytest.raises(deepl.DeepLException, match="'custom_instructions' not supported"):
        client.translate_text(HOUSE, target_lang="DE", custom_instructions=["Be brief."])
    with pytest.raises(deepl.DeepLException, match="'target_lang' not supported"):
        client.rephrase_text(HOUSE, target_lang="DE")
    with pytest.raises(deepl.DeepLException, match="Not found"):
        client.get_all_style_rules()


def test_deepl_python_with_keys(locked: tuple[str, str]) -> None:
    url, key = locked
    with pytest.raises(deepl.AuthorizationException):
        deepl.DeepLClient("wrong.x", server_url=url).translate_text(HOUSE, target_lang="DE")
    client = deepl.DeepLClient(key, server_url=url)
    assert client.translate_text(HOUSE, source_lang="EN", target_lang="DE")
    with pytest.raises(deepl.QuotaExceededException):
        client.translate_text(HOUSE, source_lang="EN", target_lang="DE")
    usage = client.get_usage().character
    assert (usage.count, usage.limit) == (len(HOUSE), 20)


def test_npm_clients(server: Server, german: dict[str, str]) -> None:
    results = run_npm_clients(server)
    assert results["libretranslate"] == german[HOUSE]
    assert results["libretranslateHtml"] == f"<b>{german[HOUSE]}</b>"
    assert [result["text"] for result in results["deepl"]] == [german[HOUSE], german[TREE]]
    assert [result["billedCharacters"] for result in results["deepl"]] == [len(HOUSE), len(TREE)]
    assert results["deepl"][0]["detectedSourceLang"] == "en"
    assert results["deeplTags"]["text"] == f"{german[HOUSE]} <x>{TREE}</x>"
    assert results["deeplTags"]["modelTypeUsed"] == "latency_optimized"
    assert results["deeplSources"] == [{"code": "en", "name": "English"}]
    assert results["deeplTargets"] == [{"code": "de", "name": "German", "supportsFormality": False}]
    assert results["deeplUsage"]["character"]["limit"] == 10**12
    assert "Value for 'target_lang' not supported." in results["deeplRefusal"]
    assert "Baum" in results["deeplGlossary"]["text"]
    assert results["deeplGlossary"]["entries"] == {"tree": "Baum"}
    assert results["deeplGlossary"]["listed"] == ["style"]


JSON = {"Content_Type": "application/json"}
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
HTML = f'<p>{HOUSE} <a href="https://x.example/">{TREE}</a></p>'


def test_weblate_libretranslate(server: Server, german: dict[str, str]) -> None:
    status, languages = exchange(server, http_request("GET /languages"))
    assert (status, {language["code"] for language in languages}) == (200, {"en", "de"})
    texts = [HOUSE, TREE, "😀"] * 6
    body = {"api_key": "", "q": texts, "source": "en", "target": "de"}
    status, reply = exchange(server, http_request("POST /translate", json.dumps(body).encode(), **JSON))
    assert (status, reply) == (200, {"translatedText": [german.get(text, text) for text in texts]})


def test_weblate_deepl(server: Server, german: dict[str, str]) -> None:
    header = {"Authorization": "DeepL-Auth-Key a-key"}
    status, languages = exchange(server, http_request("GET /v2/languages?type=target", **header))
    assert (status, languages[0]["language"]) == (200, "DE")
    pairs = exchange(server, http_request("GET /v2/glossary-language-pairs", **header))
    assert pairs == (200, {"supported_languages": [{"source_lang": "en", "target_lang": "de"}]})
    assert exchange(server, http_request("GET /v2/glossaries", **header)) == (200, {"glossaries": []})
    body = {
        "text": [f'{HOUSE} <x id="7"></x> &lt;', TREE],
        "source_lang": "EN",
        "target_lang": "DE",
        "formality": "default",
        "tag_handling": "xml",
        "ignore_tags": ["x"],
    }
    status, reply = exchange(server, http_request("POST /v2/translate", json.dumps(body).encode(), **JSON, **header))
    assert status == 200
    texts = [translation["text"] for translation in reply["translations"]]
    assert texts == [f'{german[HOUSE]} <x id="7"></x> &lt;', german[TREE]]


@pytest.mark.parametrize("source", ["en", "auto"])
def test_mastodon_libretranslate(server: Server, german: dict[str, str], source: str) -> None:
    status, languages = exchange(server, http_request("GET /languages"))
    assert (status, languages[0]["code"], languages[0]["targets"]) == (200, "en", ["de"])
    body = {"q": [HTML, "", HOUSE], "source": source, "target": "de", "format": "html", "api_key": None}
    status, reply = exchange(server, http_request("POST /translate", json.dumps(body).encode(), **JSON))
    assert status == 200
    html = HTML.replace(HOUSE, german[HOUSE]).replace(TREE, german[TREE])
    assert reply["translatedText"] == [html, "", german[HOUSE]]
    if source == "auto":
        assert [found["language"] for found in reply["detectedLanguage"]][:2] == ["en", "en"]
    else:
        assert "detectedLanguage" not in reply


def test_mastodon_deepl(server: Server, german: dict[str, str]) -> None:
    body = b"text=The+old+house.&text=%3Cp%3EThe+old+house.%3C%2Fp%3E&source_lang=EN&target_lang=de&tag_handling=html"
    header = {"Authorization": "DeepL-Auth-Key a-key"}
    status, reply = exchange(server, http_request("POST /v2/translate", body, **FORM, **header))
    assert status == 200
    texts = [translation["text"] for translation in reply["translations"]]
    assert texts == [german[HOUSE], f"<p>{german[HOUSE]}</p>"]
    assert reply["translations"][0]["detected_source_language"] == "EN"


def test_nextcloud(server: Server, german: dict[str, str]) -> None:
    status, _ = exchange(server, http_request("POST /", b"", Content_Length="0"))
    assert status in (404, 405)  # it only looks whether anybody answers
    assert exchange(server, http_request("GET /frontend/settings"))[1]["apiKeys"] is False
    status, found = exchange(server, http_request("POST /detect?q=Where%20is%20the%20station%3F", Content_Length="0"))
    assert (status, found[0]["language"]) == (200, "en")
    parts = {"q": HOUSE, "source": "en", "target": "de", "format": "html", "api_key": ""}
    body = "".join(
        f'--b0undary\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    kind = {"Content_Type": "multipart/form-data; boundary=b0undary"}
    multipart = http_request("POST /translate", f"{body}--b0undary--\r\n".encode(), **kind)
    assert exchange(server, multipart) == (200, {"translatedText": german[HOUSE]})
    body = "q=%5B%22The+old+house.%22%2C%22%F0%9F%98%80%22%5D&source=en&target=de&format=html"
    listed = http_request("POST /translate", body.encode(), **FORM)
    assert exchange(server, listed) == (200, {"translatedText": [german[HOUSE], "😀"]})
    assert exchange(server, http_request("POST /translate", b"q=&source=en&target=de", **FORM))[1]["error"]


def test_discourse(server: Server, german: dict[str, str]) -> None:
    status, found = exchange(server, http_request("POST /detect", b"q=Where+is+the+railway+station%3F", **FORM))
    assert (status, found[0]["language"]) == (200, "en")
    body = b"q=%3Cp%3EThe+old+house.%3C%2Fp%3E&source=en&target=de&format=html&api_key="
    status, reply = exchange(server, http_request("POST /translate", body, **FORM))
    assert (status, reply) == (200, {"translatedText": f"<p>{german[HOUSE]}</p>"})
    assert exchange(server, http_request("POST /translate", body.replace(b"=en", b"=iw"), **FORM)) == (
        400,
        {"error": "iw is not supported"},
    )
