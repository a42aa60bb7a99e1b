"""The private parts of uvicorn that service/http uses: all are named here, and the installed uvicorn has them."""

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

import service.http

ROOM = Path(service.http.__file__).parent

# What is read, set or called on a connection while it serves a request (of `transport`, only that it is one of asyncio)
CONNECTION = {
    "cycle",
    "cycle.disconnected",
    "cycle.keep_alive",
    "cycle.message_event.set",
    "cycle.response_complete",
    "cycle.response_started",
    "cycle.scope",
    "flow.resume_reading",
    "loop",
    "loop.call_later",
    "parser.get_http_version",
    "parser.should_upgrade",
    "pipeline",
    "scope",
    "timeout_keep_alive_task",
    "transport",
}
CONNECTION_METHODS = {
    "connection_lost",
    "connection_made",
    "data_received",
    "eof_received",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "on_url",
    "send_400_response",
}
SERVER = {"_log_started_message", "server_state.default_headers", "started"}
SERVER_METHODS = {"handle_exit", "on_tick", "startup"}


def missing(thing: Any, names: set[str]) -> list[str]:
    """List the dotted names that a thing does not have."""
    lacking = []
    for name in sorted(names):
        part = thing
        for attribute in name.split("."):
            if not hasattr(part, attribute):
                lacking.append(name)
                break
            part = getattr(part, attribute)
    return lacking


def sentence(names: list[str], kind: str, user: str) -> str:
    return (
        f"uvicorn {uvicorn.__version__} has no {', '.join(names)} on a {kind}, which service/http/{user} uses: "
        "adapt it, or pin another minor version in pyproject.toml."
    )


def test_a_connection_has_what_the_protocol_uses() -> None:
    lacking: list[list[str]] = []

    async def scenario() -> None:
        made: list[HttpToolsProtocol] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            lacking.append(missing(made[0], CONNECTION))  # while a request is served, so that there is a cycle
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

        config, state = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False), ServerState()

        def connection() -> HttpToolsProtocol:
            made.append(HttpToolsProtocol(config=config, server_state=state, app_state={}))
            return made[0]

        listener = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
        async with listener:
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()

    asyncio.run(scenario())
    assert lacking == [[]], sentence(lacking[0], "connection", "protocol.py")
    methods = missing(HttpToolsProtocol, CONNECTION_METHODS)
    assert not methods, sentence(methods, "connection", "protocol.py")


def test_a_server_has_what_ours_uses() -> None:
    server = uvicorn.Server(uvicorn.Config(lambda: None, log_config=None))
    lacking = missing(server, SERVER | SERVER_METHODS)
    assert not lacking, sentence(lacking, "server", "server.py")


@pytest.mark.parametrize(
    ("file", "name", "attributes", "methods"),
    [
        ("protocol.py", "LimitedConnection", CONNECTION, CONNECTION_METHODS),
        ("server.py", "Server", SERVER, SERVER_METHODS),
    ],
)
def test_all_that_is_used_is_named_here(file: str, name: str, attributes: set[str], methods: set[str]) -> None:
    tree = ast.parse((ROOM / file).read_text())
    (defined,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    overridden = {node.name for node in defined.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    fields = {node.target.id for node in defined.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    fields |= {own for node in ast.walk(defined) if isinstance(node, ast.Attribute) and (own := assigned(node))}
    chains = {chain for node in ast.walk(defined) if (chain := dotted(node))}
    used = {chain for chain in chains if chain.split(".")[0] not in fields | overridden}
    used = {"transport" if chain.startswith("transport.") else chain for chain in used}
    # the walk has also seen `cycle.message_event`, the beginning of `cycle.message_event.set`
    beginnings = {chain for chain in used if any(other.startswith(chain + ".") for other in used)}
    assert used - (beginnings - attributes) == attributes
    assert {method for method in overridden if not method.startswith("_")} == methods


def dotted(node: ast.AST) -> str | None:
    """Return `a.b` of `self.a.b`."""
    if not isinstance(node, ast.Attribute):
        return None
    if isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    before = dotted(node.value)
    return None if before is None else f"{before}.{node.attr}"


def assigned(node: ast.Attribute) -> str | None:
    """Yield `_a` of `self._a = ...`; uvicorn's own names don't begin with an underscore."""
    is_own = isinstance(node.ctx, ast.Store) and node.attr.startswith("_")
    return node.attr if is_own and isinstance(node.value, ast.Name) and node.value.id == "self" else None
