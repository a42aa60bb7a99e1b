"""Commands of Docker, containers, and one composed stack."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT

SERVER, NGINX = "sub3-test:server", "sub3-test:nginx"  # tags
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
READY_S = 240.0  # a busy machine is slow, which is no failure


def run(*command: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 600) -> str:
    """Run a command and return its stdout; a failure shows all that it wrote."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def docker(*words: str | Path, timeout: float = 600) -> str:
    """Run `docker ...`."""
    return run("docker", *words, timeout=timeout).strip()


def inspect(name: str) -> Any:
    """Return all that the engine knows of a container or an image."""
    return json.loads(docker("inspect", name))[0]


def until(what: str, holds: Callable[[], object], seconds: float = READY_S) -> None:
    """Ask until it holds; an error of the transport or the command counts as no."""
    ends = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < ends:
        try:
            if holds():
                return
        except (httpx.HTTPError, AssertionError) as caught:
            error = caught
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s. {error or ''}")


def free_port() -> int:
    """Find a TCP port that is free at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def container(image: str, *options: str, command: Sequence[str] = ()) -> Iterator[str]:
    """Run a container in the background while the block runs; yield its id."""
    name = docker("run", "--detach", *options, image, *command)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def serving(*options: str, port: int) -> list[str]:
    """Return the options of a hardened server at a port of the loopback."""
    return [*HARDENED, "--publish", f"127.0.0.1:{port}:8080", "--env", "SUB3_STATE_FILE=", *options]


def until_ready(port: int) -> None:
    """Wait for the server there."""
    until("a ready server", lambda: httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200)


@dataclass(frozen=True)
class Stack:
    """docker-compose.yml under a project name of its own."""

    environment: Mapping[str, str]
    token: str

    @property
    def url(self) -> str:
        """Of nginx."""
        return f"http://127.0.0.1:{self.environment['PORT']}"

    @property
    def authorized(self) -> dict[str, str]:
        """Headers of an administrator."""
        return {"Authorization": f"Bearer {self.token}"}

    def compose(self, *words: str, timeout: float = 600) -> str:
        """Run `docker compose ...` or `docker-compose ...`, whichever there is."""
        return run(*compose_command(), *words, environment=self.environment, timeout=timeout)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.compose("ps", "-q", service).split()


def compose_command() -> list[str]:
    """Return version 2 where it is installed, else version 1."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    assert shutil.which("docker-compose"), "there is neither docker compose nor docker-compose"
    return ["docker-compose"]


def settings(directory: Path, images: Mapping[str, str], **more: str) -> Stack:
    """Return a stack's environment, with new secrets in the directory, and names that no other stack has."""
    token, project = secrets.token_hex(16), f"sub3test{secrets.token_hex(4)}"
    for name, value in (("admin_token", token), ("redis_password", secrets.token_hex(16)), ("grafana_password", token)):
        (directory / name).write_text(f"{value}\n")
        (directory / name).chmod(0o644)  # read by the containers' own users
    environment = {
        "COMPOSE_PROJECT_NAME": project,
        "SUB3_IMAGE": SERVER,
        "SUB3_NGINX": NGINX,
        "SUB3_SECRETS": str(directory),
        "SUB3_MODELS": f"{project}-models",
        "PORT": str(free_port()),
        "REQUESTS_PER_SECOND": "100000",  # all load comes from one address
        "BURST": "100000",
        **images,
        **more,
    }
    return Stack(environment, token)


@contextmanager
def composed(stack: Stack, *services: str) -> Iterator[Stack]:
    """Run the stack while the block runs, ready; at the end only its images stay."""
    try:
        stack.compose("up", "--detach", "--no-build", *services)
        until("a ready replica behind nginx", lambda: httpx.get(f"{stack.url}/health/ready").status_code == 200)
        yield stack
    except AssertionError:
        for name in stack.compose("ps", "-q").split():
            print(f"\n{inspect(name)['Name']} {inspect(name)['State']}")
            print(run("sh", "-c", f"docker logs --tail 20 {name} 2>&1"))
        raise
    finally:
        stack.compose("--profile", "monitoring", "down", "--volumes", "--timeout", "10")
        remove_volumes(stack)


def remove_volumes(stack: Stack) -> None:
    """Remove the volumes with the stack's name."""
    named = ["--quiet", "--filter", f"name={stack.environment['COMPOSE_PROJECT_NAME']}"]
    for volume in docker("volume", "ls", *named).split():
        docker("volume", "rm", volume)
