"""The same file as a stack of Docker Swarm on one node: rolling update and rollback under load."""

import json
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.deploy.docker import SERVER, Stack, docker, remove_volumes, run, settings, until
from tests.deploy.load import Answers, load

REPLICAS = 3
WAIT_S = 600.0  # an update of three replicas one after the other takes one and a half minutes on an idle machine


@pytest.fixture(scope="module")
def swarm(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a stack of three replicas on a swarm of this node alone, until the tests end."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive":
        pytest.skip("this node is in a swarm already, which is not the tests' to use")
    stack = settings(tmp_path_factory.mktemp("secrets"), images, REPLICAS=str(REPLICAS))
    name = stack.environment["COMPOSE_PROJECT_NAME"]
    docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        deploy(stack)
        until("all replicas", lambda: has(name, REPLICAS), WAIT_S)
        until("readiness", lambda: httpx.get(f"{stack.url}/health/ready").status_code == 200, WAIT_S)
        yield stack
    finally:
        docker("stack", "rm", name)
        until("the end of its containers", lambda: not docker("ps", "--all", "--quiet", "--filter", f"name={name}"))
        docker("swarm", "leave", "--force")
        remove_volumes(stack)


def deploy(stack: Stack, **environment: str) -> None:
    """Deploy the stack as an operator does."""
    command = ["docker", "stack", "deploy", "--compose-file", "docker-compose.yml"]
    run(*command, stack.environment["COMPOSE_PROJECT_NAME"], environment={**stack.environment, **environment})


def running(name: str) -> int:
    """Count the replicas whose health check passes."""
    states = docker(
        "service", "ps", "--filter", "desired-state=running", "--format", "{{.CurrentState}}", f"{name}_translate"
    )
    return sum(state.startswith("Running") for state in states.splitlines())


def update(name: str, of: str = "State") -> str:
    """Return the state of the service's last update, or another of its fields, such as StartedAt."""
    service = json.loads(docker("service", "inspect", f"{name}_translate"))[0]
    return str(service.get("UpdateStatus", {}).get(of))


def image_of(name: str) -> str:
    """Return the image that the service is to run."""
    return docker("service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", f"{name}_translate")


def test_update_and_rollback(swarm: Stack, texts: list[str], answers: Answers) -> None:
    name = swarm.environment["COMPOSE_PROJECT_NAME"]
    docker("tag", SERVER, "sub3-test:next")
    with load(swarm.url, {}, texts, answers) as seen:
        deploy(swarm, SUB3_IMAGE="sub3-test:next", SUB3_CONFIGURATION="flat-4")
        until("the update", lambda: update(name) == "completed", WAIT_S)
        assert image_of(name).startswith("sub3-test:next")
        seen.go_on()
        docker("service", "rollback", "--detach", f"{name}_translate")
        until("the rollback", lambda: update(name) == "rollback_completed", WAIT_S)
    print(f"\nswarm: rolling update and rollback of {REPLICAS} replicas: {seen}")
    assert not seen.failures
    assert set(seen.answered) == {"best-2", "flat-4"}
    assert image_of(name).startswith(SERVER)
    assert running(name) == REPLICAS


def test_more_replicas_and_fewer(swarm: Stack, texts: list[str], answers: Answers) -> None:
    service = f"{swarm.environment['COMPOSE_PROJECT_NAME']}_translate"
    with load(swarm.url, {}, texts, answers) as seen:
        for replicas in (REPLICAS + 1, REPLICAS):
            docker("service", "scale", "--detach", f"{service}={replicas}")
            until(f"{replicas} replicas", partial(has, swarm.environment["COMPOSE_PROJECT_NAME"], replicas), WAIT_S)
            seen.go_on()
    print(f"\nswarm: a fourth replica comes and goes: {seen}")
    assert not seen.failures


def has(name: str, replicas: int) -> bool:
    """Tell whether so many of them are healthy."""
    return running(name) == replicas


def test_an_update_that_fails_rolls_back_by_itself(swarm: Stack, texts: list[str], answers: Answers) -> None:
    name = swarm.environment["COMPOSE_PROJECT_NAME"]
    before = update(name, "StartedAt")  # it, too, ended with a rollback
    with load(swarm.url, {}, texts, answers) as seen:
        deploy(swarm, SUB3_MODEL="absent")
        until("its begin", lambda: update(name, "StartedAt") != before, WAIT_S)
        until("the rollback", lambda: update(name) == "rollback_completed", WAIT_S)
    print(f"\nswarm: an update to a model that is absent: {seen}")
    assert not seen.failures
    assert running(name) == REPLICAS
