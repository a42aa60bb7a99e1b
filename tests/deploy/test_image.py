"""The server's image: what is in it, how little it may do and how little memory it needs."""

from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.deploy.docker import HARDENED, container, docker, free_port, inspect, serving, until, until_ready
from tests.deploy.images import BASE

MAX_BYTES = 120_000_000  # above the base image, the default model included
TEXTS_A_REQUEST = 64


def test_it_is_small(server_image: str) -> None:
    size = inspect(server_image)["Size"] - inspect(BASE)["Size"]
    print(f"\n{size / 1e6:.1f} MB above the base image:")
    print(docker("history", "--format", "{{.Size}}\t{{.CreatedBy}}", server_image))
    assert size <= MAX_BYTES


def test_what_it_does_not_hold(server_image: str) -> None:
    tools = "for tool in gcc g++ cc c++ cmake ninja make; do command -v $tool; done; true"
    assert docker("run", "--rm", server_image, "sh", "-c", tools) == ""
    for module in ("torch", "transformers", "pip", "pytest", "cmake"):
        code = f"import importlib.util as i; print(i.find_spec({module!r}))"
        assert docker("run", "--rm", server_image, "python", "-c", code) == "None"
    assert docker("run", "--rm", server_image, "find", "/app", "/opt/sub3", "-type", "d", "-name", "tests") == ""


def test_how_it_starts(server_image: str) -> None:
    config = inspect(server_image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["python", "-m", "service"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-S", "-m", "service.cli.health"]
    assert docker("run", "--rm", *HARDENED, server_image, "id", "-u") == "10001"
    status = docker("run", "--rm", *HARDENED, server_image, "grep", "CapEff", "/proc/self/status")
    assert status.split() == ["CapEff:", "0" * 16]


def test_health_and_the_end(server_image: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with container(server_image, *serving("--env", "SUB3_DRAIN_SECONDS=20", port=port)) as name:
        until("health", lambda: inspect(name)["State"]["Health"]["Status"] == "healthy")
        docker("kill", "--signal", "TERM", name)
        # the drain: no longer ready, and still served
        until("the drain", lambda: httpx.get(f"{url}/health/ready").status_code == 503)
        body = {"text": "The train was late.", "source": "en", "target": "de"}
        reply = httpx.post(f"{url}/v1/translate", json=body, timeout=15)
        assert (reply.status_code, reply.headers["Connection"]) == (200, "close")
        assert docker("wait", name) == "0"


def test_sets_translated_in_little_memory(server_image: str, corpus_dir: Path) -> None:
    """The default model over the whole test set with 128 MB and one core."""
    translate_the_test_set(server_image, corpus_dir, "128m")


def test_base_size_in_little_memory(server_image: str, corpus_dir: Path, tmp_path: Path) -> None:
    """Random weights of the size of base with 192 MB and one core."""
    pytest.importorskip("torch", reason="the weights are made by torch: pip install -e '.[train,test]'")
    from tests.bench.seeded import TRANSFORMER_BASE, seeded_checkpoint
    from tests.bench.subjects import coded

    work = ROOT / "build" / "deploy"
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = seeded_checkpoint(work / "base-checkpoint", TRANSFORMER_BASE)
    coded(checkpoint, work / "base", "paper-2.5")
    mounted = ["--volume", f"{work / 'base'}:/models/base:ro", "--env", "SUB3_MODEL_DIRECTORY=/models/base"]
    translate_the_test_set(server_image, corpus_dir, "192m", *mounted)


def translate_the_test_set(image: str, corpus: Path, memory: str, *options: str) -> None:
    texts = (corpus / "test" / "tatoeba.en").read_text(encoding="utf-8").splitlines()
    port = free_port()
    limits = ["--memory", memory, "--memory-swap", memory, "--cpus", "1", "--env", "SUB3_THREADS=1"]
    limits += ["--env", "SUB3_REQUEST_TIMEOUT_MS=120000"]
    with container(image, *serving(*limits, *options, port=port)) as name:
        until_ready(port)
        done = 0
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=150) as client:
            for begin in range(0, len(texts), TEXTS_A_REQUEST):
                batch = texts[begin : begin + TEXTS_A_REQUEST]
                reply = client.post("/v1/translate", json={"text": batch, "source": "en", "target": "de"})
                assert reply.status_code == 200, reply.text
                assert len(reply.json()["translations"]) == len(batch)
                done += len(batch)
        state = inspect(name)["State"]
        assert state["Running"]
        assert not state["OOMKilled"]
        print(f"\n{done} sentences with {memory} and one core; the control group's peak is {peak(name)}")
        assert done == len(texts)


def peak(name: str) -> str:
    """Return the peak memory of the control group, page cache included."""
    files = "/sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
    found = docker("exec", name, "sh", "-c", f"cat {files} 2> /dev/null | head -1")
    return f"{int(found) / 1e6:.0f} MB" if found else "unknown"
