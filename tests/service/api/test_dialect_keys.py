"""API keys as the dialects' clients carry them and are refused."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.service.running import PAIR, serve

LIBRE = {"q": "The old house.", **PAIR}
DEEPL = {"text": "The old house.", "target_lang": "DE", "source_lang": "EN"}


@pytest.fixture(scope="module")
def keyed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str, str]]:
    """Run a server that asks for keys; yield keys of 1,000 characters a month and of a request a minute."""
    path = tmp_path_factory.mktemp("keys") / "keys.sqlite3"
    store = SqliteKeys(path)
    keys = []
    for name, pace, quota in (("small", None, 1000), ("slow", 1, None)):
        key, record = new_key(name, pace, quota)
        store.add(record)
        keys.append(key)
    settings = Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=path)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield client, keys[0], keys[1]


def test_libretranslate(keyed: tuple[httpx.Client, str, str]) -> None:
    client, key, slow = keyed
    for response in (
        client.post("/translate", json={**LIBRE, "api_key": key}),
        client.post("/translate", json={**LIBRE, "apiKey": key}),
        client.post("/translate", data={**LIBRE, "api_key": key}),
        client.post("/translate", params={**LIBRE, "api_key": key}),
        client.post("/detect", json={"q": "a", "api_key": key}),
    ):
        assert response.status_code == 200, response.text
    for path in ("/translate", "/detect"):
        missing = client.post(path, json=LIBRE)
        wrong = client.post(path, json={**LIBRE, "api_key": key + "x"})
        sentence = "Please contact the server operator to get an API key"
        assert (missing.status_code, missing.json()) == (400, {"error": sentence})
        assert (wrong.status_code, wrong.json()) == (403, {"error": "Invalid API key"})
    assert client.post("/translate", json={**LIBRE, "api_key": slow}).status_code == 200
    too_fast = client.post("/translate", json={**LIBRE, "api_key": slow})
    assert too_fast.status_code == 429
    assert too_fast.json()["error"].startswith("Slowdown: ")
    assert int(too_fast.headers["Retry-After"]) >= 1
    assert client.get("/frontend/settings").json()["keyRequired"] is True


def test_kserve(keyed: tuple[httpx.Client, str, str]) -> None:
    client, key, _ = keyed
    path = "/v2/models/tiny/infer"
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["The old house."]}]}
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-Api-Key": key}):
        assert client.post(path, json=body, headers=headers).status_code == 200
    for headers in ({}, {"X-Api-Key": key + "x"}):
        assert client.post(path, json=body, headers=headers).status_code in (401, 403)


def test_google(keyed: tuple[httpx.Client, str, str]) -> None:
    client, key, slow = keyed
    path, fields = "/language/translate/v2", {"q": "The old house.", **PAIR}
    for response in (
        client.post(path, json=fields, headers={"X-Goog-Api-Key": key}),
        client.post(path, json=fields, headers={"Authorization": f"Bearer {key}"}),
        client.post(path, json=fields, params={"key": key}),
        client.post(path, data={**fields, "key": key}),
        client.get(f"{path}/detect", params={"q": "a", "key": key}),
        client.get(f"{path}/languages", params={"key": key}),
        client.get("/translate_a/single", params={"q": "a", "sl": "en", "tl": "de", "key": key}),
    ):
        assert response.status_code == 200, response.text
    for lower in ("", "/detect", "/languages"):
        missing, wrong = client.post(path + lower, json=fields), client.post(path + lower, data={**fields, "key": "x"})
        assert [reply.json()["error"]["status"] for reply in (missing, wrong)] == [
            "PERMISSION_DENIED",
            "INVALID_ARGUMENT",
        ]
        assert [reply.status_code for reply in (missing, wrong)] == [403, 400]
        assert wrong.json()["error"]["message"] == "API key not valid. Please pass a valid API key."
    client.post("/translate", json={**LIBRE, "api_key": slow})
    too_fast = client.post(path, json=fields, params={"key": slow})
    assert too_fast.status_code == 403
    assert too_fast.json()["error"]["errors"][0]["reason"] == "userRateLimitExceeded"
    assert too_fast.json()["error"]["errors"][0]["domain"] == "usageLimits"
    spent = client.post(path, json={**fields, "q": ["x " * 450] * 2}, params={"key": key})
    assert (spent.status_code, spent.json()["error"]["errors"][0]["reason"]) == (403, "dailyLimitExceeded")


def test_azure(keyed: tuple[httpx.Client, str, str]) -> None:
    client, key, slow = keyed
    asked, texts = {"api-version": "3.0", "from": "en", "to": "de"}, [{"Text": "The old house."}]
    for response in (
        client.post("/translate", params=asked, json=texts, headers={"Ocp-Apim-Subscription-Key": key}),
        client.post("/translate", params=asked, json=texts, headers={"Authorization": f"Bearer {key}"}),
        client.post("/translate", params={**asked, "Subscription-Key": key}, json=texts),
        client.post("/detect", params={**asked, "Subscription-Key": key}, json=texts),
        client.post("/breaksentence", params={**asked, "Subscription-Key": key}, json=texts),
        client.get("/languages", params=asked),  # for which nobody needs a key
    ):
        assert response.status_code == 200, response.text
    assert client.post("/sts/v1.0/issueToken", headers={"Ocp-Apim-Subscription-Key": key}).text == key
    for path in ("/translate", "/detect", "/breaksentence", "/sts/v1.0/issueToken"):
        for headers in ({}, {"Ocp-Apim-Subscription-Key": key + "x"}):
            refused = client.post(path, params=asked, json=texts, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, 401000)
    client.post("/translate", json={**LIBRE, "api_key": slow})
    too_fast = client.post("/translate", params=asked, json=texts, headers={"Ocp-Apim-Subscription-Key": slow})
    assert (too_fast.json()["error"]["code"], int(too_fast.headers["Retry-After"]) >= 1) == (429001, True)
    much = [{"Text": "x " * 450}] * 2
    spent = client.post("/translate", params=asked, json=much, headers={"Ocp-Apim-Subscription-Key": key})
    assert spent.json()["error"]["code"] == 403001


def test_deepl(keyed: tuple[httpx.Client, str, str]) -> None:
    client, key, _ = keyed
    header = {"Authorization": f"DeepL-Auth-Key {key}"}
    before = client.get("/v2/usage", headers=header).json()
    assert before["character_limit"] == 1000
    for response in (
        client.post("/v2/translate", json=DEEPL, headers=header),
        client.post("/v2/translate", data={**DEEPL, "auth_key": key}),
        client.get("/v2/translate", params={**DEEPL, "auth_key": key}),
        client.get("/v2/languages", headers=header),
    ):
        assert response.status_code == 200, response.text
    after = client.get("/v2/usage", params={"auth_key": key}).json()
    assert after["character_count"] == before["character_count"] + 3 * len(DEEPL["text"])
    for path in ("/v2/translate", "/v2/languages", "/v2/usage", "/v2/glossary-language-pairs", "/v3/languages"):
        for response in (
            client.get(path, params=DEEPL),
            client.get(path, params=DEEPL, headers={"Authorization": "DeepL-Auth-Key nobody.x"}),
            client.get(path, params={**DEEPL, "auth_key": "\ud83d".encode("utf-16", "surrogatepass").hex()}),
        ):
            assert response.status_code == 403
            assert list(response.json()) == ["message"]
    spent = client.post("/v2/translate", json={**DEEPL, "text": ["x " * 450] * 2}, headers=header)
    assert spent.status_code == 456
    assert spent.json()["message"].startswith("Quota exceeded: ")


def test_who_has_no_key_has_no_work_done(keyed: tuple[httpx.Client, str, str]) -> None:
    """The texts would be refused for their markup if they were looked at."""
    client, key, _ = keyed
    tags = {"q": ["<b>" * 3000] * 20, **PAIR, "format": "html"}
    assert client.post("/translate", json=tags).json() == {
        "error": "Please contact the server operator to get an API key"
    }
    assert client.post("/translate", json={**tags, "api_key": key + "x"}).status_code == 403
    refused = client.post("/translate", json={**tags, "api_key": key})
    assert (refused.status_code, "60,000 tags; the limit of a request is 40,000" in refused.text) == (400, True)
    assert (
        client.post("/v2/translate", json={**DEEPL, "text": "<b>" * 99_999, "tag_handling": "xml"}).status_code == 403
    )


def test_markup_is_bounded(keyed: tuple[httpx.Client, str, str]) -> None:
    client, key, _ = keyed
    header = {"Authorization": f"DeepL-Auth-Key {key}"}
    for text, sentence in (
        (f"<b {'x' * 80_000}>a</b>", "80,009 characters with its markup; the limit is 80,000"),
        ("<b>" * 26_000, None),
        (["<b>" * 26_000] * 2, "52,000 tags"),
    ):
        response = client.post("/v2/translate", json={**DEEPL, "text": text, "tag_handling": "xml"}, headers=header)
        assert response.status_code == (413 if sentence else 200)
        assert sentence is None or sentence in response.json()["message"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/translate", {}, 401),
        ("/v1/translate", {"Authorization": "Bearer nobody.x"}, 403),
        ("/v1/files", {"X-Api-Key": "nobody.x", "Content-Type": "multipart/form-data; boundary=b"}, 403),
        ("/v1/glossaries", {"X-Api-Key": "small.x"}, 403),
        ("/v2/translate", {"Authorization": "DeepL-Auth-Key small.x"}, 403),
        ("/language/translate/v2", {"X-Goog-Api-Key": "small.x"}, 400),
        ("/translate?api-version=3.0&to=de", {}, 401),
        ("/translator/text/v3.0/translate?api-version=3.0", {"Ocp-Apim-Subscription-Key": "small.x"}, 401),
        ("/v2/document", {"Authorization": "DeepL-Auth-Key x", "Content-Type": "multipart/form-data; boundary=b"}, 403),
    ],
)
@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_the_key_comes_before_the_body(
    keyed: tuple[httpx.Client, str, str], path: str, headers: dict[str, str], status: int, framing: str
) -> None:
    """The reply comes although the body never does."""
    address = keyed[0].base_url
    lines = {"Content-Type": "application/json", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((address.host, address.port), timeout=20) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}{framing}\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 %d" % status)
