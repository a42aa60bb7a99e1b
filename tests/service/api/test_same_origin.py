"""Requests that a page of another site has a browser send."""

import httpx
import pytest

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "?"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
]
GLOSSARY = {"name": "evil", "source_lang": "en", "target_lang": "de", "entries": "a\tb", "entries_format": "tsv"}
CHANGES = [
    ("POST", "/v2/glossaries", {"data": GLOSSARY}, "message"),
    ("POST", "/v2/document", {"files": {"file": ("a.txt", b"tree")}, "data": {"target_lang": "de"}}, "message"),
    ("POST", "/v1/files", {"files": {"file": ("a.txt", b"tree")}, "data": {"source": "en", "target": "de"}}, "error"),
    ("POST", "/v1/glossaries", {"json": {"name": "a", "source": "en", "target": "de", "entries": {"a": "b"}}}, "error"),
    ("DELETE", "/v1/glossaries/x", {}, "error"),
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(("method", "path", "content", "field"), CHANGES, ids=lambda value: str(value)[:20])
def test_another_sites_page_changes_nothing(
    client: httpx.Client, headers: dict[str, str], method: str, path: str, content: dict[str, object], field: str
) -> None:
    before = client.get("/v2/glossaries").json()
    refused = client.request(method, path, headers=headers, **content)
    assert (refused.status_code, "another site" in refused.json()[field]) == (403, True)
    assert client.get("/v2/glossaries").json() == before


def test_the_servers_own_page_and_programs_pass(client: httpx.Client) -> None:
    own = str(client.base_url).removesuffix("/")
    for headers in ({}, {"Sec-Fetch-Site": "same-origin", "Origin": own}, {"Sec-Fetch-Site": "none"}, {"Origin": own}):
        assert client.delete("/v1/glossaries/x", headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("path", "content", "header"),
    [
        ("/translate", {"data": {"q": "The river.", "source": "en", "target": "de"}}, "Authorization"),
        ("/language/translate/v2", {"json": {"q": "The river.", "target": "de"}}, "X-Goog-Api-Key"),
        ("/translate_a/single", {"data": {"q": "The river.", "tl": "de"}}, "X-Goog-Api-Key"),
        ("/translate?api-version=3.0&to=de", {"json": [{"Text": "The river."}]}, "Ocp-Apim-Subscription-Key"),
    ],
)
def test_pages_of_any_origin_may_translate(
    client: httpx.Client, path: str, content: dict[str, object], header: str
) -> None:
    """Add-ons of browsers and web pages use these dialects, which keep nothing; their errors are readable, too."""
    reply, preflight = client.post(path, headers=FOREIGN[-1], **content), client.options(path)
    assert reply.status_code == preflight.status_code == 200
    for response in (reply, preflight, client.put(path)):
        assert response.headers["access-control-allow-origin"] == "*"
        assert header in response.headers["access-control-allow-headers"].split(", ")
