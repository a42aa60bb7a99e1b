"""The API reference at /docs: complete, of this server alone, and its requests are taken as they are written."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from service.api.example import example
from service.api.reference import write
from tests.service.running import Server, assert_refused

REFUSED = {"/suggest": 403}  # whatever is sent


@pytest.fixture(scope="module")
def page(server: Server) -> LexborHTMLParser:
    reply = httpx.get(f"{server.url}/docs", timeout=60)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in reply.headers["content-security-policy"]
    return LexborHTMLParser(reply.text)


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
    return found


def test_everything_of_the_document_is_there(page: LexborHTMLParser, document: dict[str, Any]) -> None:
    operations = {one["operationId"]: one for item in document["paths"].values() for one in item.values()}
    ids = [node.attributes["id"] for node in page.css("details")]
    assert sorted(ids) == sorted([*operations, *(f"schema-{name}" for name in document["components"]["schemas"])])
    for name, operation in operations.items():
        text = page.css_first(f"details[id={name}]").text()
        assert operation["summary"].replace("`", "") in text
        assert all(parameter["name"] in text for parameter in operation.get("parameters", ()))
        assert all(status in text for status in operation["responses"])
    for link in page.css("a[href^='#']"):
        assert page.css(f"[id='{(link.attributes['href'] or '')[1:]}']"), link.attributes["href"]


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(page: LexborHTMLParser, client: httpx.Client) -> None:
    for node in page.css("[src], [href]"):
        address = node.attributes.get("src") or node.attributes.get("href") or ""
        assert not re.match(r"[a-z]+:|//", address), address
        assert address.startswith("#") or client.get(f"/{address}").status_code == 200, address
    assert not page.css("style, [style], script:not([src])")
    assert not [name for node in page.css("*") for name in node.attributes if name.startswith("on")]
    assert_refused(client.get("/redoc"), 404)


def test_each_request_is_taken_as_it_is_written(page: LexborHTMLParser, server: Server, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "letter.txt").write_text("The old house.")
    # those of one object need its id
    commands = [text for node in page.css("form + pre, h3 + pre") if "{" not in (text := node.text()).split('"')[1]]
    assert len(commands) > 40
    script = "\n".join(f"{command} -o /dev/null -w '%{{http_code}}\\n'" for command in commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={"SERVER": server.url}, capture_output=True, text=True
    )
    statuses = list(map(int, done.stdout.split()))
    for command, status in zip(commands, statuses, strict=True):
        path = command.split('"')[1].removeprefix("$SERVER")
        assert status == REFUSED.get(path, status if status < 300 else 200), command


def test_what_is_not_changed_is_not_written_again(client: httpx.Client) -> None:
    first = client.get("/docs")
    again = client.get("/docs", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


TAGS = re.compile(
    "html|head|meta|title|link|script|body|a|header|h[123]|nav|main|p|details|summary|b|code|span|ul|li|"
    "pre|form|label|input|textarea|button"
)
HOSTILE = st.text("<>&\"'`{}/ ab", max_size=12)


@given(name=HOSTILE, told=HOSTILE, value=st.none() | st.booleans() | HOSTILE)
def test_nothing_of_the_document_becomes_markup(name: str, told: str, value: Any) -> None:
    schema = {"type": "object", "required": [name], "properties": {name: {"description": told, "default": value}}}
    operation = {
        "operationId": "one",
        "tags": ["All"],
        "summary": told,
        "security": [],
        "parameters": [{"name": name, "in": "query", "required": True, "schema": {"enum": [value]}}],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": told}},
    }
    document = {
        "info": {"title": name, "description": told},
        "tags": [{"name": "All", "description": told}],
        "paths": {"/one": {"post": operation}},
    }
    written = LexborHTMLParser(write(document))
    assert not [node.tag for node in written.css("*") if not TAGS.fullmatch(node.tag or "")]
    assert len(written.css("script")) == 1
    assert [form.attributes["data-path"] for form in written.css("form")] == ["/one"]
    body = json.loads(written.css_first("textarea").text())
    assert body == {name: value}
    assert html.escape(name) in write(document)


def test_examples_of_schemas_that_refer_to_themselves_end() -> None:
    schemas = {"Tree": {"type": "object", "required": ["left"], "properties": {"left": {"$ref": "#/x/Tree"}}}}
    found = example({"$ref": "#/x/Tree"}, schemas)
    while found:
        found = found["left"]
    assert found == {}
