"""Clients that stall, clients too many, and the end of the process: over real sockets and with real signals."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import service
from service.settings import Settings
from tests.service.running import (
    PAIR,
    Server,
    ServiceProcess,
    assert_refused,
    held_worker,
    serve,
    texts_of,
    translate,
    until_metric,
)

ROOT = Path(service.__file__).parent.parent
HEAD = b"POST /v1/translate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"text": "Hello.", **PAIR}).encode()


@contextmanager
def connection(server: Server) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as opened:
        yield opened


def until_closed(client: socket.socket) -> bytes:
    """Return all that the server sends before it closes; a reset counts as a close without a reply."""
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def refusal(received: bytes) -> tuple[int, str]:
    """Parse the one reply into status and sentence."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert int(next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split()[1]) == len(body)
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.fixture(scope="module")
def impatient(tiny_model: Path) -> Iterator[Server]:
    """Run a server that waits a fraction of a second, for heads and bodies."""
    settings = Settings(model_directory=tiny_model, threads=1, header_seconds=0.3, body_seconds=0.3)
    with serve(settings) as running:
        yield running


@pytest.mark.parametrize("start", [b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: 1"], ids=["silence", "half"])
def test_a_head_that_does_not_come(impatient: Server, start: bytes) -> None:
    with connection(impatient) as client:
        client.sendall(start)
        assert refusal(until_closed(client)) == (408, "The request's headers took too long.")


def test_dripping_bytes_do_not_extend_the_time(impatient: Server) -> None:
    with connection(impatient) as client:
        client.settimeout(0.02)
        received, ended = b"", False
        head = itertools.chain(b"GET /health/live HTTP/1.1\r\nX: ", itertools.repeat(ord("x")))
        while not ended:
            client.sendall(bytes([next(head)]))
            with contextlib.suppress(TimeoutError):
                chunk = client.recv(65536)
                received, ended = received + chunk, not chunk
        assert refusal(received) == (408, "The request's headers took too long.")


def test_a_head_that_does_not_come_on_a_kept_connection(impatient: Server) -> None:
    with connection(impatient) as client:
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        first = client.recv(65536)
        assert first.startswith(b"HTTP/1.1 200")
        client.sendall(b"GET ")
        received = until_closed(client)
        assert refusal(received[received.index(b"HTTP/1.1 408") :])[0] == 408


def test_a_body_that_does_not_come(impatient: Server) -> None:
    with connection(impatient) as client:
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:-1])
        assert refusal(until_closed(client)) == (408, "The request's body took too long.")
    with connection(impatient) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n")
        assert refusal(until_closed(client)) == (408, "The request's body took too long.")


def test_a_refused_request_whose_body_does_not_end(impatient: Server) -> None:
    with connection(impatient) as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        received = until_closed(client)
        assert received.startswith(b"HTTP/1.1 404")
        assert received.count(b"HTTP/1.1") == 1  # a second status would answer a second request


@pytest.mark.parametrize("size", [20_000, 40_000, 70_000, 300_000])
def test_an_address_that_is_too_large(server: Server, caplog: pytest.LogCaptureFixture, size: int) -> None:
    with connection(server) as client:
        client.sendall(b"GET /languages?q=" + b"a" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert refusal(until_closed(client)) == (431, "The headers are larger than 16,384 bytes.")
    assert "Fatal error" not in caplog.text


# Each goes on sending after the refusal: a client reads it only then. The limit of a body is 1 MiB, of a file 10 MiB.
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
LARGE = {
    "text": ("/v1/translate", "application/json", b'{"text": "', 4),
    "file": ("/v1/files", "multipart/form-data; boundary=b", FILE, 32),
    "document": ("/v2/document", "multipart/form-data; boundary=b", FILE, 32),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize("kind", LARGE)
def test_who_sends_too_much_reads_the_refusal(server: Server, kind: str, keep_alive: bool, chunked: bool) -> None:
    path, media_type, begin, megabytes = LARGE[kind]
    parts = [begin, *[b" " * (1 << 20)] * megabytes]
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {sum(map(len, parts))}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n{size}\r\n"
    with connection(server) as client:
        client.sendall(f"{head}Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n".encode())
        for part in [*parts, b""] if chunked else parts:
            client.sendall(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        if keep_alive:  # and goes on using it
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = until_closed(client)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.count(b"HTTP/1.1 200 ") == keep_alive


def test_who_never_ends_is_cut_off(server: Server) -> None:
    with connection(server) as client:
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40))
        with pytest.raises(ConnectionError):
            client.sendall(bytes(256 << 20))


def test_only_what_the_client_owes_is_timed(impatient: Server) -> None:
    later = threading.Event()
    with httpx.Client(base_url=impatient.url, timeout=60) as client, ThreadPoolExecutor() as pool:
        with held_worker(impatient):
            asked = pool.submit(translate, client, "Hello.")
            until_metric(client, "sub3_queue_sentences 1.0")
            # on the clock of the server itself: after its timers, had there been any
            impatient.loop.call_soon_threadsafe(impatient.loop.call_later, 0.5, later.set)
            assert later.wait(60)
        texts_of(asked.result(60))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a connection's segments")
def test_a_reply_is_one_segment(impatient: Server) -> None:
    """A replica that is killed between head and body would have begun a reply that nginx can't ask of another."""
    with connection(impatient) as client:
        for number in (1, 2):
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            reply = http.client.HTTPResponse(client)
            reply.begin()
            assert reply.read()
            assert segments_received(client) == number


def segments_received(client: socket.socket) -> int:
    """Count those with data, as the kernel does: tcpi_data_segs_in of linux/tcp.h."""
    return int(struct.unpack_from("I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 152)[0])


def test_headers_too_large(impatient: Server) -> None:
    with httpx.Client(base_url=impatient.url, timeout=60) as client:
        assert client.get("/health/live", headers={"X-Large": "x" * 15_000}).status_code == 200
        assert_refused(client.get("/health/live", headers={"X-Large": "x" * 17_000}), 431, "16,384 bytes")
        assert_refused(client.get("/health/live", params={"q": "x" * 17_000}), 431, "16,384 bytes")
    with connection(impatient) as client_socket:  # in parts, so that it never is a whole head
        client_socket.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Large: ")
        client_socket.sendall(b"x" * 40_000)
        assert refusal(until_closed(client_socket)) == (431, "The headers are larger than 16,384 bytes.")


def test_what_is_no_http(impatient: Server) -> None:
    with connection(impatient) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert refusal(until_closed(client)) == (400, "Malformed HTTP/1.1 request.")


def test_connections_too_many(tiny_model: Path) -> None:
    with serve(Settings(model_directory=tiny_model, threads=1, max_connections=2)) as server:
        with connection(server) as first, connection(server), connection(server) as surplus:
            status, sentence = refusal(until_closed(surplus))
            assert (status, sentence) == (503, "The server has its 2 connections; retry in a moment.")
            first.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(65536).startswith(b"HTTP/1.1 200")
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while client.get("/health/live").status_code == 503:  # until the server has seen the others go
                pass


# The process


def test_nohup_holds(tiny_model: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits it
    try:
        with started(tiny_model, SUB3_DRAIN_SECONDS="0") as (process, url), httpx.Client(base_url=url) as client:
            process.send_signal(signal.SIGHUP)
            assert client.get("/health/ready").status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def started(tiny_model: Path, **environment: str) -> Iterator[tuple[ServiceProcess, str]]:
    """Run `python -m service` on a free port; yield the process and its address."""
    whole = {**os.environ, "SUB3_MODEL_DIRECTORY": str(tiny_model), "PORT": "0", "SUB3_THREADS": "1", **environment}
    with ServiceProcess(whole) as process:
        try:
            yield process, process.address()
        finally:
            process.kill()


def test_the_end_under_load_loses_no_request(tiny_model: Path) -> None:
    served: list[int] = []
    in_flight_at_the_end: list[int] = []
    out_of_rotation = threading.Event()
    long_text = " ".join(["The big tree sees the old house near a river."] * 30)

    def client_of(url: str) -> None:
        """Send requests as a client behind a balancer: keep the connection until the balancer takes the server out."""
        with httpx.Client(base_url=url, timeout=60) as client:
            while not out_of_rotation.is_set():
                served.append(translate(client, long_text).status_code)
            # a balancer is slow: requests go on coming for a while after the readiness has changed
            for _ in range(3):
                in_flight_at_the_end.append(translate(client, "The old house.").status_code)

    with started(tiny_model, SUB3_DRAIN_SECONDS="4") as (process, url):
        clients = [threading.Thread(target=client_of, args=(url,)) for _ in range(4)]
        for thread in clients:
            thread.start()
        with httpx.Client(base_url=url, timeout=60) as probe:
            while len(served) < 8:
                assert probe.get("/health/ready").status_code == 200
            process.send_signal(signal.SIGTERM)
            refused = probe.get("/health/ready")
            while refused.status_code == 200:  # the signal is on its way
                refused = probe.get("/health/ready")
            assert_refused(refused, 503, "shutting down")
            assert probe.get("/health/live").status_code == 200
            out_of_rotation.set()
        for thread in clients:
            thread.join()
        log = process.log()
        assert process.wait(60) == 0
    assert set(served) == {200}
    assert in_flight_at_the_end == [200] * 12
    assert "Traceback" not in log


def test_what_is_in_flight_when_accepting_ends_is_finished(tiny_model: Path) -> None:
    text = " ".join(["The big tree sees the old house near a river."] * 100)
    with started(tiny_model, SUB3_DRAIN_SECONDS="0") as (process, url):
        body = json.dumps({"text": text, **PAIR, "beam_size": 8}).encode()
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as client, httpx.Client(base_url=url) as probe:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while "sub3_running_sentences 0.0" in probe.get("/metrics").text:
                pass
            process.send_signal(signal.SIGTERM)
            reply = until_closed(client)
        assert reply.startswith(b"HTTP/1.1 200")
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["translations"]
        assert process.wait(60) == 0


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_replies_of_the_drain_close_their_connections(tiny_model: Path, end: signal.Signals) -> None:
    with (
        started(tiny_model, SUB3_DRAIN_SECONDS="60") as (process, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert "connection" not in client.get("/health/live").headers
        process.send_signal(end)
        while client.get("/health/ready").status_code == 200:
            pass
        assert client.get("/health/live").headers["connection"] == "close"  # from the moment at which it isn't ready
        texts_of(translate(client, "Hello."))  # a new connection is accepted
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_a_terminal_need_not_wait_for_balancers(tiny_model: Path) -> None:
    with started(tiny_model, SUB3_DRAIN_SECONDS="3600") as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
