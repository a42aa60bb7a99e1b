"""HTTP servers for one ASGI app, by what a request costs and by what they do when attacked; docs/decisions/0015.

    python -m tests.bench.http_servers

Each server runs in a process of its own; the costs are its processor time, which other load on the machine changes
little. granian takes part where it is installed. Writes docs/results/http-servers.json.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

OUT = ROOT / "docs/results/http-servers.json"
REQUESTS = 3000
CHUNKS = 200_000
SERVERS = {
    "h11": "uvicorn.run(app, port=port, http='h11', **QUIET)",
    "httptools": "uvicorn.run(app, port=port, http='httptools', **QUIET)",
    "ours": "uvicorn.run(app, port=port, http=protocol(Settings(write_seconds=2, body_seconds=2, "
    "max_held_bytes=16 << 20)), **QUIET)",
    "granian": "Granian('tests.bench.http_servers:app', port=port, interface='asginl', log_enabled=False).serve()",
}
_PROGRAM = """
import sys
import uvicorn
from service.http.protocol import protocol
from service.settings import Settings
from tests.bench.http_servers import QUIET, app
if "Granian" in sys.argv[2]:
    from granian import Granian
port = int(sys.argv[1])
if __name__ == "__main__":
    exec(sys.argv[2])
"""
QUIET = {"log_config": None, "log_level": "critical", "access_log": False}
BODY = json.dumps({"text": "Would you like another cup of coffee?", "source": "en", "target": "de"}).encode()
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer with it; with 16 MB at the path /large."""
    body = b""
    while (message := await receive()).get("more_body"):
        body += message.get("body", b"")
    body += message.get("body", b"")
    reply = bytes(16 << 20) if scope["path"] == "/large" else body
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply})


def main() -> None:
    """Measure each server and write the file."""
    report: dict[str, Any] = {
        "command": "python -m tests.bench.http_servers",
        "machine": {"cpu": platform.processor() or platform.machine(), "load_average": os.getloadavg()[0]},
        "servers": {},
    }
    for name, code in SERVERS.items():
        with running(code) as (pid, port):
            if pid is not None:
                report["servers"][name] = figures(pid, port)
        print(name, report["servers"].get(name), flush=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n")


@contextlib.contextmanager
def running(code: str) -> Iterator[tuple[int | None, int]]:
    """Run a server; the process is None if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(os.environ.get("TMPDIR", "/tmp")) / f"sub3-http-server-{os.getpid()}.py"
    program.write_text(_PROGRAM)
    command = [sys.executable, str(program), str(port), code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                time.sleep(0.1)
            yield (None if process.poll() is not None else process.pid), port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def figures(pid: int, port: int) -> dict[str, Any]:
    """Measure one server."""
    client = http.client.HTTPConnection("127.0.0.1", port)

    def ask(count: int) -> None:
        for _ in range(count):
            client.request("POST", "/", BODY)
            client.getresponse().read()

    ask(300)
    before = seconds(pid)
    ask(REQUESTS)
    request_us = (seconds(pid) - before) / REQUESTS * 1e6
    before = seconds(pid)
    flood = sent(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * CHUNKS + b"0\r\n\r\n")
    return {
        "request_us": round(request_us),
        "a_body_of_200000_chunks": {"status": flood, "seconds": round(seconds(pid) - before, 2)},
        "transfer_encoding_and_length": sent(
            port,
            HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        "half_closed_client": sent(port, HEAD + b"Content-Length: 1\r\n\r\na", half_closed=True),
        "half_a_body_is_cut_off": is_cut_off(port, HEAD + b"Content-Length: 3\r\n\r\na"),
        "connections_of_an_address": open_connections(port),
        "megabytes_of_100_half_sent_bodies": half_sent_megabytes(pid, port),
        "no_reader_is_cut_off": is_cut_off(port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"),
    }


def seconds(pid: int) -> float:
    """Return the processor time of a session of processes."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            if int(fields[3]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def sent(port: int, data: bytes, *, half_closed: bool = False) -> list[int]:
    """Send and return the statuses that come back, the first within half a minute, others soon after."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        received = b""
        with contextlib.suppress(OSError):
            client.sendall(data)
        with contextlib.suppress(OSError):
            if half_closed:
                client.shutdown(socket.SHUT_WR)
            while part := client.recv(1 << 20):
                received += part
                client.settimeout(2)
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", received)]


def open_connections(port: int) -> int:
    """Count the connections of 400 from one address that are served at a time."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(400)]
        served = 0
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(HEAD + b"Content-Length: 1\r\n\r\na")
                served += b" 200 " in client.recv(1 << 16)
        return served


def half_sent_megabytes(pid: int, port: int) -> int:
    """Measure how the memory of a server grows by 100 bodies of 1 MB, of which all but one byte is there."""
    before = resident_bytes(pid)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            with contextlib.suppress(OSError):
                client.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(999_999))
        time.sleep(1)
        return round((resident_bytes(pid) - before) / 1e6)


def resident_bytes(pid: int) -> int:
    """Return the resident bytes of a session of processes."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(") ")[2].split()[3]) == pid:
                total += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def is_cut_off(port: int, data: bytes) -> bool:
    """Tell whether a server ends a connection within 20 seconds on which the client does nothing more.

    The client does not see it: what it did not read stands before the end. A socket belongs to no process before the
    server has accepted it, and after it was closed.
    """
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        ends = f":{port:04X} 0100007F:{client.getsockname()[1]:04X} "
        client.sendall(data)
        ends_at, was_held = time.monotonic() + 20, False
        while time.monotonic() < ends_at:
            lines = [line for line in Path("/proc/net/tcp").read_text().splitlines() if ends in line]
            is_held = any(line.split()[9] != "0" for line in lines)
            if was_held and not is_held:
                return True
            was_held = is_held
            time.sleep(0.1)
        return False


if __name__ == "__main__":
    main()
