"""Replicas on a real Ray of this machine: one app as everywhere, swapped, killed and multiplied under load."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml

from models.format.directory import open_model
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.conftest import DEFAULT_MODEL, ROOT
from tests.load.sentences import OURS

BIN = Path(sys.executable).parent
CONFIG = yaml.safe_load((ROOT / "docker/ray/serve_config.yaml").read_text())
READY_S = 240  # of a busy machine; nothing is concluded from how long it takes


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, what):
    deadline = time.monotonic() + READY_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {READY_S} s: {what}"
        time.sleep(0.1)  # between looks
    return found


class Cluster:
    """A head node with the shipped environment and the shipped deployment, on other ports and with fewer replicas."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.gcs = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        shipped = (ROOT / "docker/ray/environment").read_text().splitlines()
        self.environment = {
            **os.environ,
            **dict(line.split("=", 1) for line in shipped if line and not line.startswith("#")),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # where other work keeps the cores
            "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def deploy(self, max_replicas=2, **user_config):
        config = {**CONFIG, "http_options": {**CONFIG["http_options"], "port": self.port}}
        replica = config["applications"][0]["deployments"][0]
        replica["user_config"] = user_config
        replica["health_check_timeout_s"] = 60
        replica["autoscaling_config"] |= {"max_replicas": max_replicas, "upscale_delay_s": 1}
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [BIN / "serve", "run", "--non-blocking", path]
        environment = {**self.environment, "RAY_ADDRESS": f"127.0.0.1:{self.gcs}"}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def replicas(self):
        """List the processes of this cluster that hold an app."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                named = (entry / "cmdline").read_text().startswith("ray::ServeReplica:sub3:Replica")
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                if named and f":{self.gcs}" in (Path("/proc") / parent / "cmdline").read_text():  # the raylet's
                    found.add(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="sub3-ray-"))  # short: Ray's sockets are in it
    made = Cluster(folder)
    command = [BIN / "ray", "start", "--head", "--block", f"--port={made.gcs}", "--num-cpus=4"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}/ray"]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=made.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: b"Ray runtime started" in (folder / "head.log").read_bytes(), "the head node")
        made.deploy(config="best-2")
        eventually(lambda: ready(made.url) and len(made.replicas()) == 2, "two replicas")
        yield made
    finally:
        head.terminate()  # it ends its node's processes
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def ready(url):
    try:
        return httpx.get(f"{url}/health/ready", timeout=30).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def nginx(cluster):
    """Run the shipped nginx.conf in front of the cluster's port; yield its address."""
    if not shutil.which("nginx"):
        pytest.skip("there is no nginx, which asks again for what a dead replica left")
    port = free_port()
    text = (ROOT / "docker/ray/nginx.conf").read_text()
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{cluster.port}").replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    (cluster.folder / "nginx.conf").write_text(text)
    command = ["nginx", "-p", cluster.folder, "-c", "nginx.conf", "-g", "daemon off;"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: ready(f"http://127.0.0.1:{port}"), "nginx")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def load(url, clients=4, text=None):
    """Run clients while the block runs; yield counts of the configurations that answered, and failures."""
    answers, failures, stop = Counter(), [], threading.Event()

    def ask(number):
        with httpx.Client(timeout=120) as client:
            while not stop.is_set():
                body = {"text": text or OURS[(number := number + 1) % len(OURS)], "source": "en", "target": "de"}
                try:
                    reply = client.post(f"{url}/v1/translate", json=body)
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                    continue
                if reply.status_code == 200:
                    answers[reply.headers["X-Sub3-Config"]] += 1
                else:
                    failures.append(f"{reply.status_code} {reply.text[:200]}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers, failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_it_is_the_service(cluster):
    directory = open_model(DEFAULT_MODEL)
    translator = Translator(directory, Tokenizer(directory), "best-2", directory.allocation("best-2"), 4096)
    expected = translator.translate(OURS, Options("en", "de")).translations
    translator.close()
    body = {"text": list(OURS), "source": "en", "target": "de"}
    reply = httpx.post(f"{cluster.url}/v1/translate", json=body, timeout=60).json()
    assert [translation["text"] for translation in reply["translations"]] == [best.text for best, *_ in expected]
    assert httpx.post(f"{cluster.url}/v1/translate", json={"text": 7}, timeout=60).status_code == 422


def test_only_this_machine_is_answered(cluster):
    """The port of the proxy; Ray's own ports, which are open, ask for the token."""
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {line[1].split(":")[0] for line in listening if line[1].endswith(f":{cluster.port:04X}")}
    assert addresses == {"0100007F"}
    code = f"import ray; ray.init('127.0.0.1:{cluster.gcs}', logging_level='ERROR')"
    stranger = {name: value for name, value in cluster.environment.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run([sys.executable, "-c", code], env=stranger, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Unauthenticated" in done.stderr


def test_a_new_user_config_swaps_every_replica(cluster):
    before = cluster.replicas()
    with load(cluster.url) as (answers, failures):
        eventually(lambda: answers["best-2"] > 20, "answers before")
        cluster.deploy(config="flat-4")
        eventually(lambda: answers["flat-4"] > 20, "answers after")

        def settled():
            seen = answers["best-2"]
            now = answers["flat-4"]
            eventually(lambda: answers["flat-4"] > now + 100, "a hundred more")
            return answers["best-2"] == seen

        eventually(settled, "all replicas swapped")
    print(f"\na new user_config: {dict(answers)} answered, {len(failures)} failed")
    assert failures == []
    assert cluster.replicas() == before, "replicas were started again where a swap was asked for"
    cluster.deploy(planes={"*": 8})  # which one model's codes have; the other's are less deep
    eventually(lambda: bits(cluster.url, "en", "de") == 8, "eight planes")
    assert bits(cluster.url, "de", "en") < 8


def bits(url, source, target):
    """Return a weight of the model that translates."""
    body = {"text": "Hallo", "source": source, "target": target}
    return httpx.post(f"{url}/v1/translate", json=body, timeout=60).json()["model"]["bits_per_weight"]


def test_a_replica_is_killed_under_load(cluster, nginx):
    victim = min(cluster.replicas())
    with load(nginx) as (answers, failures):
        eventually(lambda: answers.total() > 50, "answers before")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in cluster.replicas() and len(cluster.replicas()) == 2, "its successor")
        now = answers.total()
        eventually(lambda: answers.total() > now + 100 or failures, "answers after")
    print(f"\nkill -9 of a replica: {answers.total()} answered through nginx, {len(failures)} failed")
    assert failures == []


def test_queued_tokens_bring_replicas(cluster):
    cluster.deploy(max_replicas=3, config="best-2")
    text = " ".join(OURS)
    with load(cluster.url, clients=24, text=text) as (answers, failures):
        eventually(lambda: len(cluster.replicas()) == 3, "a third replica")
    print(f"\na third replica by queued tokens: {answers.total()} answered, {len(failures)} past their deadline")
    assert all(failure.startswith("504") for failure in failures), failures  # past the deadline, where cores are few


@pytest.mark.parametrize(
    ("queued", "requests", "replicas"),
    [({}, 0, 0), ({"a": 0.0, "b": 0.0}, 8, 1), ({"a": 0.0, "b": 0.0}, 33, 3), ({"a": 500.0, "b": 401.0}, 1, 4)],
)
def test_the_policy(queued, requests, replicas):
    from service.ray_serve import by_queued_tokens

    context = SimpleNamespace(
        aggregated_metrics={"queued_tokens": queued},
        total_num_requests=requests,
        config=SimpleNamespace(target_ongoing_requests=16),
    )
    assert by_queued_tokens(context) == (replicas, {})
