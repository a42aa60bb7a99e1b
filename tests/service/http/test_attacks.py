"""Connections that an adversary opens: what they may hold, and what is taken for HTTP. Over real sockets."""

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from service.http.protocol import protocol
from service.http.shares import Shares
from service.settings import Settings
from tests.service.http.test_lifecycle import BODY, HEAD, connection, refusal, until_closed
from tests.service.running import AUTHORIZED, TOKEN, Server, serve

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZED = HEAD + b"Content-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def limited(tiny_model: Path) -> Iterator[Server]:
    """Run a server that holds little and waits long."""
    settings = Settings(
        model_directory=tiny_model,
        threads=1,
        max_held_bytes=1 << 20,
        max_connections_per_address=8,
        header_seconds=600,
        body_seconds=600,
        admin_token=TOKEN,
    )
    with serve(settings) as running:
        yield running


def dial(server: Server, source: str = "127.0.0.1") -> socket.socket:
    """Open a connection from one of the addresses of this machine."""
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60, source_address=(source, 0))


def replied(server: Server, *sent: bytes, source: str = "127.0.0.1") -> bytes:
    """Send and return all that comes back until the server closes; a reset ends it, too."""
    with dial(server, source) as client:
        received = b""
        with contextlib.suppress(ConnectionError):
            for part in sent:
                client.sendall(part)
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                received += part
    return received


# Readers


@contextlib.asynccontextmanager
async def replying(app: Any, **settings: Any) -> AsyncIterator[tuple[tuple[str, int], ServerState]]:
    """Serve an ASGI app with our connections; yield the address and uvicorn's state."""
    config, state = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False), ServerState()
    made: Callable[..., asyncio.Protocol] = protocol(Settings(**settings))
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: made(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname(), state


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("parts", [1, 64])
def test_who_does_not_read_is_cut_off(keep_alive: bool, parts: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % (parts << 20))]
        if not keep_alive:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in range(parts):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": part < parts - 1})

    async def scenario() -> None:
        async with replying(app, write_seconds=0.05) as (address, state):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, address)
                await asyncio.get_running_loop().sock_sendall(client, HEALTH * 4)
                while not state.connections:
                    await asyncio.sleep(0)
                async with asyncio.timeout(60):
                    while state.connections or state.tasks:
                        await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_who_reads_gets_all_of_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 18), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def scenario() -> None:
        async with replying(app) as (address, _), httpx.AsyncClient(timeout=60) as client:
            assert len((await client.get(f"http://{address[0]}:{address[1]}/")).content) == 1 << 24

    asyncio.run(scenario())


# Addresses


def test_an_address_has_its_share_of_connections(limited: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(dial(limited)).sendall(b"GET ")
        # on a connection that is refused nothing needs to be sent
        assert refusal(replied(limited)) == (429, "This address has its 8 connections; close one and retry.")
        assert replied(limited, HEALTH.replace(b"Host", b"Connection: close\r\nHost"), source="127.0.0.2").startswith(
            b"HTTP/1.1 200"
        )


@given(st.lists(st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "fd00::1"]), st.booleans()), max_size=60))
def test_shares_are_given_back(moves: list[tuple[str, bool]]) -> None:
    shares = Shares(Settings(max_connections=4, max_connections_per_address=2, max_held_bytes=1 << 20))
    connected: list[str | None] = []
    for host, comes in moves:
        share = shares.share_of(host)
        if comes:
            fits = len(connected) < 4 and connected.count(share) < 2
            assert (shares.connect(share) is None) == fits
            connected.append(share)
        elif share in connected:
            connected.remove(share)
            shares.leave(share)
    for share in connected:
        shares.leave(share)
    assert [shares.connect(shares.share_of("10.0.0.1")) is None for _ in range(3)] == [True, True, False]


def test_an_ipv6_client_has_one_share_of_its_network_and_a_trusted_proxy_has_none() -> None:
    shares = Shares(Settings(trusted_proxies="10.0.0.0/8, fd00::/8"))
    assert shares.share_of("2001:db8:0:1::1") == shares.share_of("2001:db8:0:1:ffff::2") == "2001:db8:0:1::/64"
    assert shares.share_of("2001:db8:0:2::1") != shares.share_of("2001:db8:0:1::1")
    assert [shares.share_of(host) for host in ("10.1.2.3", "fd00::1", "", "pipe")] == [None] * 4
    with pytest.raises(ValueError, match="SUB3_TRUSTED_PROXIES"):
        Settings(trusted_proxies="proxy.example")


@pytest.mark.parametrize(
    ("trusted", "told"), [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.1", "1.2.3.4")]
)
def test_only_a_trusted_proxy_tells_whose_request_it_is(
    tiny_model: Path, trusted: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN, trusted_proxies=trusted)
    with serve(settings) as server, caplog.at_level(logging.INFO, "sub3.admin"):
        httpx.get(f"{server.url}/admin/models", headers={**AUTHORIZED, "X-Forwarded-For": "1.2.3.4"})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sub3.admin"]
    assert f"from {told}:" in line


# Bodies


def chunks(size: int, count: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b" " * size) * count


FLOODS = {
    "chunks of a byte": (CHUNKED + chunks(1, 100_000), "pieces of less than 16 bytes"),
    "chunks of eight bytes": (CHUNKED + chunks(8, 60_000), "pieces of less than 16 bytes"),
    "an endless extension": (CHUNKED + b"1;" + b"a" * 300_000, "more bytes around its chunks"),
    "an endless trailer": (CHUNKED + b"0\r\na: " + b"a" * 300_000, "more bytes around its chunks"),
    "trailers": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 50_000, "headers are larger than 16,384 bytes"),
    "headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50_000, "headers are larger than 16,384 bytes"),
    "an endless address": (b"GET /" + b"a" * 300_000, "headers are larger than 16,384 bytes"),
    "empty lines": (b"\r\n" * 150_000, "headers are larger than 16,384 bytes"),
    "requests": (HEALTH * 10_000, "More than 8 requests"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_refused(limited: Server, kind: str) -> None:
    sent, sentence = FLOODS[kind]
    received = replied(limited, sent)
    assert sentence in received.decode()
    assert re.findall(rb"HTTP/1.1 (\d+)", received)[-1] in (b"400", b"431")


def test_chunks_as_clients_send_them_pass(limited: Server) -> None:
    for size in (1, 7, 64, 4096):
        pieces = [BODY[i : i + size] for i in range(0, len(BODY), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nChecksum: a\r\n\r\n"
        assert replied(limited, CHUNKED.replace(b"Host", b"Connection: close\r\nHost"), body).startswith(
            b"HTTP/1.1 200"
        )


def test_half_sent_bodies_hold_no_more_than_their_share(limited: Server) -> None:
    half = SIZED % (1 << 20) + b" " * (300 << 10)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(dial(limited))
        first.sendall(half)
        status, sentence = refusal(replied(limited, half))  # 600 KiB of one address
        assert (status, "are held; retry" in sentence) == (503, True)
        second = stack.enter_context(dial(limited, "127.0.0.2"))
        second.sendall(half)
        third = stack.enter_context(dial(limited, "127.0.0.3"))
        third.sendall(half)
        assert refusal(replied(limited, half, source="127.0.0.4"))[0] == 503  # 1,200 KiB of all
        assert replied(limited, HEALTH.replace(b"Host", b"Connection: close\r\nHost")).startswith(b"HTTP/1.1 200")
    whole = SIZED % (400 << 10) + BODY + b" " * ((400 << 10) - len(BODY))
    deadline = time.monotonic() + 60
    while not (received := replied(limited, whole.replace(b"Host", b"Connection: close\r\nHost"))).startswith(
        b"HTTP/1.1 200"
    ):
        assert received.startswith(b"HTTP/1.1 503")  # until the server has seen the others go
        assert time.monotonic() < deadline


# What is no request

ODDITIES = [
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("sent", ODDITIES, ids=range(len(ODDITIES)))
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(limited: Server, sent: bytes) -> None:
    received = replied(limited, sent + HEALTH)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"400"]
    assert b"connection: close" in received.lower()


@pytest.mark.parametrize(
    "sent",
    [
        HEALTH.replace(b"Host", b"Connection: Upgrade, close\r\nUpgrade: h2c\r\nHost"),
        b"GET http://x/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        HEALTH * 7 + HEALTH.replace(b"Host", b"Connection: close\r\nHost"),
    ],
)
def test_what_is_unusual_and_right_is_served(limited: Server, sent: bytes) -> None:
    received = replied(limited, sent)
    assert set(re.findall(rb"HTTP/1.1 (\d+)", received)) == {b"200"}
    assert received.count(b'{"status":"live"}') == sent.count(b"GET ")


def test_the_body_of_a_request_that_offers_another_protocol_is_read(limited: Server) -> None:
    offer = b"Connection: Upgrade, close, HTTP2-Settings\r\nupgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nHost"
    sent = SIZED % len(BODY) + BODY
    assert b'"translations"' in replied(limited, sent.replace(b"Host", offer))


# Clients that end what they send


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_client_that_has_ended_what_it_sends_reads_its_reply(limited: Server, version: bytes) -> None:
    with connection(limited) as client:
        head = HEAD.replace(b"HTTP/1.1", b"HTTP/" + version)
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        client.shutdown(socket.SHUT_WR)
        received = until_closed(client)
    interim, _, last = received.rpartition(b"HTTP/1.1 200")
    assert b'"translations"' in last
    assert interim in (b"", b"HTTP/1.1 102 Processing\r\n\r\n")
    assert version == b"1.1" or not interim
