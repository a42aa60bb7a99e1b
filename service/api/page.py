"""The web page at `/`: the files of service/page, read once at start and served from memory; the API reference."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.api.reference import write
from service.api.routes import Routes

DIRECTORY = Path(__file__).parents[1] / "page"
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # the page loads only its own files and connects only to this server
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # revalidated by ETag on each use: files of two versions never mix
    "Vary": "Accept-Encoding",
}


class _File(NamedTuple):
    media_type: str
    plain: bytes
    zipped: bytes
    etag: str


def router() -> APIRouter:
    """Return the routes of the page, its files and the API reference."""
    files = {
        path.name: _file(MEDIA_TYPES.get(path.suffix, "text/plain"), path.read_bytes())
        for path in sorted(DIRECTORY.iterdir())
    }
    written: dict[str, tuple[dict[str, Any], _File]] = {}
    routes = Routes(include_in_schema=False)

    @routes.get("/")
    async def page(request: Request) -> Response:
        return _reply(files[INDEX], request)

    @routes.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        if name not in files or name == INDEX:  # the page's addresses are relative to `/`
            raise HTTPException(404)
        return _reply(files[name], request)

    # Both in a thread: to make the document takes half a second. It is the same object until the models change.
    @routes.get("/docs")
    def reference(request: Request) -> Response:
        return _reply(described(request, ".html", write), request)

    @routes.get("/openapi.json")
    def openapi(request: Request) -> Response:
        return _reply(described(request, ".json", lambda document: orjson.dumps(document).decode()), request)

    def described(request: Request, suffix: str, write: Callable[[dict[str, Any]], str]) -> _File:
        document = request.app.openapi()
        known = written.get(suffix)
        if known is None or known[0] is not document:
            known = written[suffix] = document, _file(MEDIA_TYPES[suffix], write(document).encode())
        return known[1]

    return routes


def _file(media_type: str, content: bytes) -> _File:
    return _File(media_type, content, gzip.compress(content, mtime=0), hashlib.sha256(content).hexdigest()[:16])


def _reply(file: _File, request: Request) -> Response:
    zipped = "gzip" in request.headers.get("accept-encoding", "")
    etag = f'"{file.etag}-gzip"' if zipped else f'"{file.etag}"'
    headers = {**HEADERS, "ETag": etag, **({"Content-Encoding": "gzip"} if zipped else {})}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.zipped if zipped else file.plain, headers=headers, media_type=file.media_type)
