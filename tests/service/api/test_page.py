"""The files of the page: what each is served as, with which headers, and how much it is in all."""

import gzip
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from selectolax.lexbor import LexborHTMLParser

from service.api.page import DIRECTORY
from tests.service.running import assert_refused

FILES = sorted(DIRECTORY.iterdir())
MOST_BYTES = 120_000
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def address(path: Path) -> str:
    return "/" if path.name == "index.html" else f"/page/{path.name}"


def test_the_whole_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < MOST_BYTES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_served(client: httpx.Client, path: Path) -> None:
    plain = client.get(address(path), headers={"Accept-Encoding": "identity"})
    assert (plain.status_code, plain.content) == (200, path.read_bytes())
    assert plain.headers["content-type"] == TYPES[path.suffix]
    assert plain.headers["cache-control"] == "no-cache"
    assert plain.headers["x-content-type-options"] == "nosniff"
    policy = dict(rule.split(" ", 1) for rule in plain.headers["content-security-policy"].split("; "))
    assert {policy[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["default-src"] == "'none'"
    assert "content-encoding" not in plain.headers

    with client.stream("GET", address(path), headers={"Accept-Encoding": "gzip"}) as zipped:
        assert zipped.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(zipped.iter_raw())) == plain.content
        assert zipped.headers["etag"] != plain.headers["etag"]
    head = client.head(address(path), headers={"Accept-Encoding": "identity"})
    assert (head.content, head.headers["content-length"]) == (b"", str(len(plain.content)))


def test_what_the_browser_has_is_not_sent_again(client: httpx.Client) -> None:
    for encoding in ("identity", "gzip"):
        first = client.get("/page/page.js", headers={"Accept-Encoding": encoding})
        tag = {"Accept-Encoding": encoding, "If-None-Match": first.headers["etag"]}
        again = client.get("/page/page.js", headers=tag)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert client.get("/page/page.css", headers=tag).status_code == 200


def test_nothing_else_is_served(client: httpx.Client) -> None:
    for path in ("/page/", "/page/index.html", "/page/other.js", "/page/..%2Fapp.py", "/page/%2e%2e/app.py"):
        assert_refused(client.get(path), 404)
    assert_refused(client.post("/page/page.js"), 405)


def test_no_script_or_style_is_inline() -> None:
    tree = LexborHTMLParser((DIRECTORY / "index.html").read_text())
    inside: list[Callable[[], bool]] = [
        lambda: any("src" not in script.attributes or script.text() for script in tree.css("script")),
        lambda: bool(tree.css("style, [style]")),
        lambda: any(name.startswith("on") for node in tree.css("*") for name in node.attributes),
    ]
    assert [found() for found in inside] == [False, False, False]
    linked = {node.attributes.get("href") or node.attributes.get("src") for node in tree.css("link, script")}
    assert linked <= {f"page/{path.name}" for path in FILES}  # none of another host
