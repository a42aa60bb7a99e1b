"""Measures what a request costs of each part, in processor time: engine, event loop, nginx, Redis; and its bytes."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kernels.engine import Batch, Sentence
from models.format.directory import open_model
from service.translation.tokenizer import Tokenizer
from tests.load.client import bodies, closed_loop, run
from tests.load.costs import costs_and_curve, processor_ms
from tests.load.processes import MODEL, Placement, Server, ours
from tests.load.replicas import MAX_ROWS, ServiceTimes
from tests.load.sentences import ROOT, sentences

ROWS = (1, 2, 4, 8, MAX_ROWS)
ROUNDS = 40
KEYED_REQUESTS = 300
NGINX_S = 5.0


def engine_times(configuration: str) -> tuple[dict[int, float], tuple[float, float], list[tuple[int, int]]]:
    """Measure the default model: a step by rows, a sentence's encoding (fixed, each token), the sentences' lengths."""
    directory = open_model(MODEL)
    tokenizer, config = Tokenizer(directory), directory.config
    engine = directory.engine(directory.allocation(configuration))
    sources = [tokenizer.encode(text, config.target_languages[0]) for text in sentences()]
    lengths, encoding = [], []
    for source in sources:
        batch = Batch(engine)
        started = time.thread_time()
        batch.add({0: Sentence(source, 2 * len(source) + 20, 1, 1, config.length_penalty, 0)})
        encoding.append(1e3 * (time.thread_time() - started))
        while not batch.step(1 << 20).ended:
            pass
        lengths.append((len(source), len(batch.take(0).hypotheses[0].ids) + 1))
        batch.close()
    slope, fixed = np.polyfit([len(source) for source in sources], encoding, 1)
    steps: dict[int, list[float]] = defaultdict(list)
    for rows in ROWS:
        for first in range(ROUNDS):
            batch = Batch(engine)
            chosen = [sources[(first * rows + n) % len(sources)] for n in range(rows)]
            batch.add({n: Sentence(ids, 64, 1, 1, config.length_penalty, 16) for n, ids in enumerate(chosen)})
            for _ in range(12):
                started = time.thread_time()
                batch.step(1)
                steps[rows].append(1e3 * (time.thread_time() - started))
            batch.close()
    engine.close()
    medians = {rows: round(statistics.median(each), 4) for rows, each in steps.items()}
    return medians, (max(round(float(fixed), 4), 0.0), round(float(slope), 5)), lengths


def measure(configuration: str, placement: Placement, pieces: int) -> dict[str, object]:
    """Measure all, for the JSON; the curve is that of the same server, to compare the simulation with."""
    step_ms, encode_ms, lengths = engine_times(configuration)
    requests = bodies(sentences())
    with ours(configuration, placement) as server:
        costs, points = costs_and_curve(server, requests, pieces)
        sizes = _bytes(server, requests[: len(lengths)])
        nginx_ms = _nginx_ms(server, requests)
    modelled = statistics.mean(encode_ms[0] + encode_ms[1] * tokens + steps * step_ms[1] for tokens, steps in lengths)
    times = ServiceTimes(
        step_ms,
        encode_ms,
        turn_ms=max(costs.engine_alone_ms - modelled, 0.0),
        loop_ms=costs.loop_ms,
        sentences=lengths,
        wake_ms=costs.wake_ms,
        outside_ms=costs.outside_ms,
    )
    characters = statistics.mean(map(len, sentences()))
    return {
        "configuration": configuration,
        "placement": placement.report(),
        "service_times": asdict(times),
        "engine_alone_ms": costs.engine_alone_ms,
        "saturated_per_second": round(1e3 / costs.full_ms, 1),
        "characters_a_request": round(characters, 1),
        "bytes_a_request": sizes,
        "nginx_ms": nginx_ms,
        "redis": _redis(configuration, placement),
        "curve": points,
    }


def service_times(measured: dict[str, object]) -> ServiceTimes:
    """Take the service times from parsed JSON."""
    kept: dict[str, object] = measured["service_times"]  # type: ignore[assignment]
    steps: dict[str, float] = kept["step_ms"]  # type: ignore[assignment]
    wake: dict[str, float] = kept["wake_ms"]  # type: ignore[assignment]
    return ServiceTimes(
        {int(rows): each for rows, each in steps.items()},
        tuple(kept["encode_ms"]),  # type: ignore[arg-type]
        kept["turn_ms"],  # type: ignore[arg-type]
        kept["loop_ms"],  # type: ignore[arg-type]
        [tuple(pair) for pair in kept["sentences"]],  # type: ignore[attr-defined]
        {float(idle): each for idle, each in wake.items()},
        kept["outside_ms"],  # type: ignore[arg-type]
    )


def _bytes(server: Server, requests: list[bytes]) -> dict[str, float]:
    """Return the mean bytes of a request and of its reply, with their headers, as curl and uvicorn write them."""
    host, port = server.url.removeprefix("http://").split(":")
    sent = received = 0
    for body in requests:
        head = (
            f"POST /v1/translate HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8\r\nAccept: */*\r\nConnection: close\r\n"
        )
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + body)
            sent += len(head) + len(body)
            while block := connection.recv(65536):
                received += len(block)
    return {"request": round(sent / len(requests)), "reply": round(received / len(requests))}


def _nginx_ms(server: Server, requests: list[bytes]) -> float | None:
    """Measure nginx's processor time for a request; null without nginx."""
    if not shutil.which("nginx"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        text = (ROOT / "docker/ray/nginx.conf").read_text().replace("worker_processes auto", "worker_processes 1")
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        text = text.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
        (Path(folder) / "nginx.conf").write_text(text)
        command = ["nginx", "-p", folder, "-c", "nginx.conf", "-g", "daemon off;"]
        with _ended(subprocess.Popen(command, stderr=subprocess.DEVNULL)) as process:
            _until_open(port)
            worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
            before = sum(processor_ms(worker).values())
            tally, _ = run(closed_loop(f"http://127.0.0.1:{port}", requests, 8, NGINX_S))
            after = sum(processor_ms(worker).values())
    return round((after - before) / len(tally.latency_ms), 4)


def _redis(configuration: str, placement: Placement) -> dict[str, float] | None:
    """Measure Redis' processor time and commands for a request with an API key; null without Redis."""
    if not shutil.which("redis-server"):
        return None
    import redis

    port = _free_port()
    settings = {"SUB3_API_KEYS": "true", "REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _ended(subprocess.Popen(command, stdout=subprocess.DEVNULL)) as process:
        _until_open(port)
        add = [sys.executable, "-m", "service", "keys", "add", "load"]
        added = subprocess.run(add, env=os.environ | settings, cwd=ROOT, capture_output=True, text=True, check=True)
        client = redis.Redis(port=port)
        with ours(configuration, placement, settings) as server:
            _ask(server, added.stdout.strip(), 20)
            before, calls = sum(processor_ms(process.pid).values()), _commands(client)
            _ask(server, added.stdout.strip(), KEYED_REQUESTS)
            milliseconds = sum(processor_ms(process.pid).values()) - before
            calls = _commands(client) - calls
    return {"ms": round(milliseconds / KEYED_REQUESTS, 4), "commands": round(calls / KEYED_REQUESTS, 1)}


def _commands(client: object) -> int:
    """Count the commands that the Redis has run."""
    return int(client.info("stats")["total_commands_processed"])  # type: ignore[attr-defined]


def _ask(server: Server, key: str, times: int) -> None:
    for body in bodies(sentences())[:times]:
        headers = {"Content-Type": "application/json", "X-Api-Key": key}
        request = urllib.request.Request(f"{server.url}/v1/translate", body, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            json.load(reply)


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _until_open(port: int) -> None:
    ends = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
