"""The clouds' own clients, as they are, against a running server."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.translation.text import TextTranslationClient
from azure.ai.translation.text.models import ProfanityAction, TextType
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from google.api_core.exceptions import BadRequest, Forbidden
from google.auth.api_key import Credentials
from google.auth.credentials import AnonymousCredentials
from google.cloud.translate_v2 import Client

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.service.api.conftest import HOUSE, TREE
from tests.service.running import Server, serve

CLIENTS = Path(__file__).parents[1] / "clients"


@pytest.fixture(scope="module")
def locked(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Run a server that asks for keys; yield its address and a key of 20 characters a month."""
    path = tmp_path_factory.mktemp("keys") / "keys.sqlite3"
    key, record = new_key("small", None, 20)
    SqliteKeys(path).add(record)
    with serve(Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=path)) as running:
        yield running.url, key


@pytest.fixture(autouse=True)
def no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "any")  # the client would ask the machine that it runs on


def google(url: str, key: str | None = None) -> Client:
    credentials = AnonymousCredentials() if key is None else Credentials(key)
    return Client(credentials=credentials, client_options={"api_endpoint": url})


def azure(url: str, key: str) -> TextTranslationClient:
    return TextTranslationClient(endpoint=url, credential=AzureKeyCredential(key), retry_total=0)


def test_google_cloud_translate(server: Server, german: dict[str, str]) -> None:
    client = google(server.url)
    assert client.translate(HOUSE, target_language="de") == {
        "translatedText": german[HOUSE],
        "detectedSourceLanguage": "en",
        "input": HOUSE,
    }
    many = client.translate([HOUSE, TREE, ""], "de", format_="text", source_language="en", model="nmt")
    assert [made["translatedText"] for made in many] == [german[HOUSE], german[TREE], ""]
    assert {made["model"] for made in many} == {"nmt"}
    assert (
        client.translate(f"<b>{HOUSE}</b>", "de", source_language="en")["translatedText"] == f"<b>{german[HOUSE]}</b>"
    )
    assert client.get_languages() == [{"language": "de", "name": "German"}, {"language": "en", "name": "English"}]
    assert client.get_languages("de-AT") == [
        {"language": "de", "name": "Deutsch"},
        {"language": "en", "name": "Englisch"},
    ]
    found = client.detect_language(["Where is the railway station?", "1"])
    assert [guess["language"] for guess in found] == ["en", "und"]
    with pytest.raises(BadRequest, match="Invalid Value") as refused:
        client.translate(HOUSE, target_language="fr")
    assert refused.value.errors[0]["reason"] == "invalid"
    with pytest.raises(BadRequest, match="Too many text segments"):
        client.translate([HOUSE] * 129, target_language="de")


def test_google_cloud_translate_with_keys(locked: tuple[str, str]) -> None:
    url, key = locked
    with pytest.raises(Forbidden, match="missing a valid API key"):
        google(url).translate(HOUSE, target_language="de")
    with pytest.raises(BadRequest, match="API key not valid"):
        google(url, key + "x").translate(HOUSE, target_language="de")
    assert google(url, key).get_languages()
    with pytest.raises(Forbidden, match="Daily Limit Exceeded"):
        google(url, key).translate(TREE, target_language="de")


def test_azure_ai_translation_text(server: Server, german: dict[str, str]) -> None:
    # an address that names cognitiveservices gets the path of a resource of one's own
    for url in (server.url, f"{server.url}/translator/text/v3.0"):
        client = azure(url, "any")
        [first, second] = client.translate(
            body=[HOUSE, TREE],
            to_language=["de"],
            from_language="en",
            include_alignment=True,
            include_sentence_length=True,
            text_type=TextType.PLAIN,
            profanity_action=ProfanityAction.NO_ACTION,
        )
        [made] = first.translations
        assert (made.text, made.to, first.detected_language) == (german[HOUSE], "de", None)
        assert made.sent_len.src_sent_len == [len(HOUSE)]
        assert made.sent_len.trans_sent_len == [len(german[HOUSE])]
        assert all(":" in pair for pair in made.alignment.proj.split())
        assert second.translations[0].text == german[TREE]
    [detected] = client.translate(body=[f"<b>{HOUSE}</b>"], to_language=["de"], text_type=TextType.HTML)
    assert detected.translations[0].text == f"<b>{german[HOUSE]}</b>"
    assert (detected.detected_language.language, detected.detected_language.score > 0.5) == ("en", True)
    [broken] = client.find_sentence_boundaries(body=["How are you? I am fine."], language="en")
    assert broken.sent_len == [13, 10]
    listed = client.get_supported_languages(scope="translation").translation
    assert (listed["de"].name, listed["de"].native_name, listed["de"].dir) == ("German", "Deutsch", "ltr")
    listed = client.get_supported_languages(scope="translation", accept_language="fr").translation
    assert (listed["de"].name, listed["de"].native_name) == ("allemand", "Deutsch")
    for more, number in (({"to_language": ["fr"]}, "400036"), ({"to_language": ["de"], "to_script": "Latn"}, "400080")):
        with pytest.raises(HttpResponseError) as refused:
            client.translate(body=[HOUSE], **more)
        assert (refused.value.status_code, number in str(refused.value)) == (400, True)


def test_azure_ai_translation_text_with_keys(locked: tuple[str, str]) -> None:
    url, key = locked
    with pytest.raises(ClientAuthenticationError, match="401000"):
        azure(url, key + "x").translate(body=[HOUSE], to_language=["de"])
    assert azure(url, "none.x").get_supported_languages().translation
    with pytest.raises(HttpResponseError, match="403001"):
        azure(url, key).translate(body=[TREE], to_language=["de"])


def test_azures_npm_client(server: Server, german: dict[str, str]) -> None:
    node = shutil.which("node")
    if node is None or not (CLIENTS / "node_modules" / "@azure-rest").is_dir():
        pytest.skip("the npm clients are not installed: `make test` installs them where node and npm are")
    done = subprocess.run(
        [node, "azure.js", server.url], cwd=CLIENTS, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    made = [result["translations"][0] for result in results["translated"]]
    assert [(each["text"], each["to"]) for each in made] == [(german[HOUSE], "de"), (german[TREE], "de")]
    assert [each["sentLen"]["transSentLen"] for each in made] == [[len(german[HOUSE])], [len(german[TREE])]]
    assert results["requestId"]
    assert [result["sentLen"] for result in results["sentences"]] == [[len(HOUSE)], [len(TREE)]]
    assert results["languages"]["translation"]["de"]["nativeName"] == "Deutsch"
    assert results["refusal"]["error"]["code"] == 400036
