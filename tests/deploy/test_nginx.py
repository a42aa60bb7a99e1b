"""What nginx refuses by itself, and what Prometheus and the dashboard see of the replicas behind it."""

import json
import re
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import ROOT
from tests.deploy.docker import NGINX, READY_S, Stack, container, docker, inspect, run, until
from tests.deploy.load import Answers, load

DASHBOARD = ROOT / "docker" / "grafana" / "dashboards" / "sub3.json"
# What has no value as long as nothing of its kind happened.
MAY_BE_EMPTY = ("sub3_failures_total", "sub3_swaps_total")


def test_the_rate_of_an_address_is_limited(stack: Stack) -> None:
    network = f"{stack.environment['COMPOSE_PROJECT_NAME']}_inside"
    options = ["--network", network, "--tmpfs", "/tmp", "--env", "REQUESTS_PER_SECOND=1", "--env", "BURST=3"]
    with container(NGINX, "--read-only", "--cap-drop", "ALL", *options) as name:
        address = inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]
        url = f"http://{address}:8080"
        until("nginx", lambda: httpx.get(f"{url}/nginx/health").status_code == 204)
        answered, started = 0, time.monotonic()
        with httpx.Client(base_url=url, timeout=60) as client:
            while (reply := client.get("/v1/models")).status_code != 429:
                assert reply.status_code == 200
                answered += 1
                # the burst of three after the first one, then one a second, however slow this machine is
                assert answered <= 5 + (time.monotonic() - started) < READY_S
        assert answered >= 4
        assert set(reply.json()) == {"error", "message"}
        assert reply.headers["Retry-After"] == "1"
        assert [httpx.get(f"{url}/health/ready", timeout=60).status_code for _ in range(12)] == [200] * 12


def test_what_is_refused(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/metrics", timeout=60).status_code == 404
    large = httpx.post(f"{stack.url}/v1/translate", content=b"x" * (1 << 21), timeout=60)
    assert large.status_code == 413
    assert "1 MiB" in large.json()["error"]
    for path in ("/language/translate/v2", "/translate?api-version=3.0&to=de"):
        error = httpx.post(f"{stack.url}{path}", content=b"x" * (1 << 21), timeout=60).json()["error"]
        assert (error["code"], "1 MiB" in error["message"]) == (413, True)


def test_a_head_that_does_not_come(stack: Stack) -> None:
    address = urlsplit(stack.url)
    with socket.create_connection((str(address.hostname), address.port or 80), timeout=60) as slow:
        slow.sendall(b"POST /v1/translate HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        assert slow.recv(1000) == b""  # closed, where without a time-out this would end by the socket's own
        assert time.monotonic() - started < 60


def test_no_log_holds_texts_or_keys(stack: Stack) -> None:
    httpx.get(
        f"{stack.url}/v2/translate",
        params={"text": "Zanzibar", "auth_key": "Timbuktu", "target_lang": "DE"},
        timeout=60,
    )
    until("its line", lambda: " /v2/translate " in docker("logs", stack.containers("nginx")[0]))
    for service in ("nginx", "translate"):
        for name in stack.containers(service):
            logs = run("sh", "-c", f"docker logs {name} 2>&1")
            assert "Zanzibar" not in logs
            assert "Timbuktu" not in logs


@pytest.fixture
def prometheus(stack: Stack) -> str:
    """Run a Prometheus; return its URL in the stack's network."""
    stack.compose("--profile", "monitoring", "up", "--detach", "--no-build", "--no-deps", "prometheus")
    name = stack.compose("--profile", "monitoring", "ps", "-q", "prometheus").strip()
    (network,) = inspect(name)["NetworkSettings"]["Networks"].values()
    return f"http://{network['IPAddress']}:9090"


def ask(prometheus: str, query: str) -> list[object]:
    reply = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=60).json()
    assert reply["status"] == "success", reply
    result: list[object] = reply["data"]["result"]
    return result


def test_the_dashboard_shows_figures(
    stack: Stack, key: dict[str, str], prometheus: str, texts: list[str], answers: Answers
) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"].replace("$__rate_interval", "20s") for panel in panels for target in panel["targets"]]
    assert len(queries) > len(panels)
    with load(stack.url, key, texts, answers):
        until("two targets", lambda: len(ask(prometheus, 'up{job="translate"} == 1')) == 2)
        for query in queries:
            if not any(name in query for name in MAY_BE_EMPTY):
                until(query, lambda query=query: ask(prometheus, query))  # type: ignore[misc]
    bleu = ask(prometheus, 'sub3_model_quality{measure="bleu"}')
    assert re.search(r"'config': 'best-2'", str(bleu))
