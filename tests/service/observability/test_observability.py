"""Request ids, the access log, failures by reason, and traces to a real collector; the text is in none of them."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

import service
from models import __version__
from service.accounts.keys import new_key
from service.app import create_app
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.service.running import PAIR, TOKEN, Server, serve, translate

ROOT = Path(service.__file__).parent.parent
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def logged(tiny_model: Path, **environment: str) -> Iterator[tuple[httpx.Client, list[str]]]:
    """Run `python -m service`; yield a client and the lines of its log, complete when the block has ended."""
    whole = {"PATH": os.environ["PATH"], "SUB3_MODEL_DIRECTORY": str(tiny_model), "PORT": "0", "SUB3_THREADS": "1"}
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "service"],
        env={**whole, "SUB3_DRAIN_SECONDS": "0", **environment},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line)
                if "running on" in line:
                    break
            url = lines[-1].split("running on ")[1].split()[0]
            with httpx.Client(base_url=url, timeout=60) as client:
                yield client, lines
            process.send_signal(signal.SIGTERM)
            lines += process.stderr
            assert process.wait(60) == 0
        finally:
            process.kill()


# Request ids


@pytest.mark.parametrize("sent", ["a", "req-1:2_3.4", "x" * 128])
def test_a_safe_request_id_comes_back(client: httpx.Client, sent: str) -> None:
    assert client.get("/health/live", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 129, "a b", "a\tb", "-a", '"', "ü", "a=b"])
def test_any_other_is_replaced(client: httpx.Client, sent: str | None) -> None:
    headers = {} if sent is None else {"X-Request-Id": sent.encode()}
    first, second = (client.get("/health/live", headers=headers).headers["X-Request-Id"] for _ in range(2))
    assert len(bytes.fromhex(first)) == len(bytes.fromhex(second)) == 16
    assert first != second


def test_errors_have_one_too(tiny_model: Path, client: httpx.Client, server: Server) -> None:
    named = {"X-Request-Id": "mine"}
    json_body = {"Content-Type": "application/json"}
    replies = [
        client.get("/nothing", headers=named),
        client.post("/v1/translate", headers={**named, **json_body}, content=b"{"),
        client.post("/v1/translate", headers={**named, **json_body}, content=b"x" * (2 << 20)),
        client.get("/health/live", headers={**named, "X-Large": "x" * 17_000}),
    ]
    assert [reply.status_code for reply in replies] == [404, 400, 413, 431]
    assert [reply.headers["X-Request-Id"] for reply in replies] == ["mine"] * 4
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b"\r\nX-Request-Id: " in connection.recv(65536)


def test_a_failure_of_the_server_has_one_too(tiny_model: Path) -> None:
    app = create_app(Settings(model_directory=tiny_model, threads=1))

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("a bug")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/fails", headers={"X-Request-Id": "mine"})

    reply = asyncio.run(ask())
    assert (reply.status_code, reply.headers["X-Request-Id"]) == (500, "mine")


# The access log


def test_json_log_lines_say_what_there_was_and_no_word_of_it(tiny_model: Path, tmp_path: Path) -> None:
    key, record = new_key("acme", None, None)
    SqliteKeys(tmp_path / "keys.sqlite3").add(record)
    settings = {"SUB3_LOG_JSON": "true", "SUB3_API_KEYS": "true", "SUB3_KEYS_FILE": str(tmp_path / "keys.sqlite3")}
    with logged(tiny_model, **settings, SUB3_ADMIN_TOKEN=TOKEN) as (client, lines):
        client.headers["X-Api-Key"] = key
        texts = ["The secret house.", "Hello."]
        translate(client, texts)
        client.post(
            "/v1/translate?auth_key=secret1", json={"text": "secret2", **PAIR}, headers={"X-Api-Key": "secret3"}
        )
        client.get("/secret4", headers={"X-Request-Id": "mine", "Authorization": "Bearer secret5"})
        client.get("/admin/models/secret6", headers={"Authorization": f"Bearer {TOKEN}"})
    records = [json.loads(line) for line in lines]
    access = [record for record in records if record["logger"] == "sub3.access"]
    names = ("method", "route", "status", "key", "texts", "characters", "configuration")
    assert [tuple(record[name] for name in names) for record in access] == [
        ("POST", "/v1/translate", 200, "acme", 2, 23, "full"),
        ("POST", "/v1/translate", 403, None, 1, 7, None),
        ("GET", "none", 404, None, 0, 0, None),
        ("GET", "/admin/models/{name}", 404, None, 0, 0, None),
    ]
    assert access[2]["request_id"] == "mine"
    assert all(record["ms"] > 0 for record in access)
    everything = "".join(lines)
    assert not [word for word in ("house", "secret1", "secret2", "secret3", "secret4", "secret5") if word in everything]
    assert key.partition(".")[2] not in everything
    assert TOKEN not in everything


def test_plain_log_lines(tiny_model: Path) -> None:
    with logged(tiny_model) as (client, lines):
        translate(client, "Hello.")
        url = str(client.base_url)
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            connection.recv(65536)
    (line,) = (line for line in lines if "route=/v1/translate" in line)
    assert "method=POST" in line
    assert "status=200" in line
    assert "texts=1 characters=6 configuration=full" in line
    assert "key=" not in line
    (line,) = (line for line in lines if "status=400" in line)
    assert "method=- route=none" in line


# Failures by reason


def test_failures_are_counted_by_reason(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, max_texts=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        translate(client, "Hello.")
        translate(client, ["Hello.", "Hello."])
        translate(client, ["Hello.", "Hello."])
        client.post("/v1/translate", json={"text": "Hello.", "source": "xx", "target": "de"})
        families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    samples = families["sub3_failures"].samples
    counts = {sample.labels["reason"]: sample.value for sample in samples if sample.name.endswith("_total")}
    assert counts == {"LimitExceeded": 2, "UnsupportedPair": 1}


# Traces


class Collector:
    """An OTLP/HTTP collector of a few lines."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def resources(self) -> list[dict[str, Any]]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [plain(spans.resource.attributes) for request in requests for spans in request.resource_spans]

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [s for request in requests for resource in request.resource_spans for s in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


def plain(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


def test_a_span_for_each_request(tiny_model: Path, collector: Collector) -> None:
    with logged(tiny_model, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, SUB3_LOG_JSON="true") as (client, lines):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}
        reply = client.post(
            "/v1/translate?q=secret1", json={"text": "The secret house.", **PAIR}, headers=headers
        ).json()
        translate(client, "")
        scraped = client.get("/metrics", headers={"Accept": SCRAPER})
    for resource in collector.resources():
        assert (resource["service.name"], resource["service.version"]) == ("sub3", __version__)
    first, second, _ = collector.spans()  # all of them were sent before the process ended
    assert (first.name, first.kind) == ("POST /v1/translate", Span.SPAN_KIND_SERVER)
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert plain(first.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/translate",
        "http.response.status_code": 200,
        "sub3.request_id": "mine",
        "sub3.texts": 1,
        "sub3.characters": 17,
        "sub3.model": "tiny",
        "sub3.config": "full",
        "sub3.version": reply["model"]["version"],
        "sub3.bits_per_weight": reply["model"]["bits_per_weight"],
    }
    stages = {event.name: plain(event.attributes)["ms"] for event in first.events}
    latency = dict(reply["latency_ms"])
    latency.pop("total")
    assert stages == latency
    times = [first.start_time_unix_nano, *(event.time_unix_nano for event in first.events), first.end_time_unix_nano]
    assert times == sorted(times)
    # the log and the metrics name the request as its span and its reply do
    access = [record for record in map(json.loads, lines) if record["logger"] == "sub3.access"]
    assert access[0]["request_id"] == "mine"
    assert exemplars(scraped)["sub3_requests_total", "/v1/translate", "200"] == {"request_id": "mine"}
    assert second.parent_span_id == b""
    assert plain(second.attributes)["http.response.status_code"] == 422
    assert not second.events
    assert not [word for word in (b"secret", b"house", b"haus") if any(word in body for body in collector.bodies)]


def test_without_an_endpoint_no_sdk_is_loaded(tiny_model: Path) -> None:
    code = """
import sys
from service.app import create_app
from service.settings import Settings
create_app(Settings())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    environment = {"PATH": os.environ["PATH"], "SUB3_MODEL_DIRECTORY": str(tiny_model)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


SCRAPER = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"  # Prometheus


def exemplars(scraped: httpx.Response) -> dict[tuple[str, ...], dict[str, str]]:
    """Return the exemplars of a scrape, by the name and the labels of their samples."""
    assert scraped.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    samples = [sample for family in open_metrics(scraped.text) for sample in family.samples]
    return {(one.name, *one.labels.values()): one.exemplar.labels for one in samples if one.exemplar}


def test_figures_name_their_last_request(client: httpx.Client) -> None:
    body = {"text": "The house.", **PAIR}
    for sent in ("first", "second"):
        assert client.post("/v1/translate", json=body, headers={"X-Request-Id": sent}).is_success
    client.post("/v1/translate", json={"text": ["a"] * 200, **PAIR}, headers={"X-Request-Id": "large"})
    client.get("/languages", headers={"X-Request-Id": "x" * 128})  # too long for an exemplar
    found = exemplars(client.get("/metrics", headers={"Accept": SCRAPER}))
    assert found["sub3_requests_total", "/v1/translate", "200"] == {"request_id": "second"}
    assert found["sub3_failures_total", "LimitExceeded"] == {"request_id": "large"}
    buckets = {key: labels for key, labels in found.items() if key[0] == "sub3_stage_seconds_bucket"}
    assert {key[-1] for key in buckets} == {"total"}
    assert {"request_id": "second"} in buckets.values()
    assert "x" * 128 not in {labels["request_id"] for labels in found.values()}
    plain = client.get("/metrics")
    assert "request_id" not in plain.text
    assert {family.name for family in text_string_to_metric_families(plain.text)} == {
        family.name for family in open_metrics(client.get("/metrics", headers={"Accept": SCRAPER}).text)
    }


def test_prometheus_finds_no_fault_in_the_metrics(client: httpx.Client) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: apt-get install prometheus")
    translate(client, "The house.")
    metrics = client.get("/metrics").text
    done = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_counters_have_one_series_each(client: httpx.Client) -> None:
    translate(client, "The house.")
    assert "_created" not in client.get("/metrics").text
