"""Clients that leave before their body is there: one line in the log, no failure of the server's."""

import logging
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service.running import Server


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/translate", "application/json"),
        ("/v1/files", "multipart/form-data; boundary=b"),
        ("/translate", "application/json"),
        ("/v2/translate", "application/json"),
        ("/language/translate/v2", "application/json"),
        ("/translator/text/v3.0/translate?api-version=3.0", "application/json"),
    ],
)
def test_a_client_that_leaves_in_the_body_is_499(
    server: Server, client: httpx.Client, path: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    address = urlsplit(server.url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"--b\r\n")
    access = [record for record in caplog.records if record.name == "sub3.access"]
    route = path.partition("?")[0]
    while not access:
        assert client.get("/health").status_code < 500
        access = [r for r in caplog.records if r.name == "sub3.access" and route in r.getMessage()]
    assert "status=499" in access[0].getMessage()
    assert [record for record in caplog.records if record.exc_info] == []
