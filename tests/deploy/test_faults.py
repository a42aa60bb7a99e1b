"""Faults while clients translate through nginx: no request may fail, and each is answered in the right words."""

import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.conftest import DEFAULT_MODEL
from tests.deploy.docker import READY_S, SERVER, Stack, compose_command, container, docker, inspect, run, until
from tests.deploy.load import Answers, Load, load

Key = dict[str, str]
KILLS = 4
STORE = "The store of the desired state does not answer; what was known last holds."


def report(fault: str, seen: Load) -> None:
    """Show the figures with `pytest -s`, as the target does."""
    print(f"\n{fault}: {seen}")


def complaints(stack: Stack) -> list[str]:
    """Return the complaints of whichever replica nginx asks."""
    reply = httpx.get(f"{stack.url}/health/ready", timeout=60)
    assert reply.status_code == 200, reply.text
    found: list[str] = reply.json().get("complaints", [])
    return found


def activate(stack: Stack, config: str) -> None:
    """Swap what answers, through nginx; one that has not seen the last swap yet refuses (409) and is asked again."""

    def swapped() -> bool:
        path, body = "/admin/models/en-de/config", {"config": config}
        reply = httpx.put(f"{stack.url}{path}", json=body, headers=stack.authorized, timeout=60)
        assert reply.status_code in (200, 409), reply.text
        return reply.status_code == 200

    until(f"a swap to {config}", swapped)


def rolling_update(stack: Stack, **environment: str) -> None:
    """Update the stack as an operator does."""
    command = " ".join(compose_command())
    patience = {"COMPOSE": command, "READY_SECONDS": f"{READY_S:.0f}"}
    run("docker/rolling-update", environment={**stack.environment, **patience, **environment}, timeout=4 * READY_S)


def test_each_replica_is_replaced(stack: Stack, key: Key, texts: list[str], answers: Answers) -> None:
    before = set(stack.containers("translate"))
    with load(stack.url, key, texts, answers) as seen:
        rolling_update(stack)
    report("rolling replacement of each replica", seen)
    assert not seen.failures
    after = set(stack.containers("translate"))
    assert len(before) == len(after) == 2
    assert not before & after


def test_more_replicas_and_fewer(stack: Stack, key: Key, texts: list[str], answers: Answers) -> None:
    def scale(replicas: int) -> None:
        stack.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", f"translate={replicas}")
        assert len(stack.containers("translate")) == replicas

    with load(stack.url, key, texts, answers) as seen:
        scale(3)
        until("health", lambda: all(healthy(name) for name in stack.containers("translate")))
        seen.go_on()
        scale(2)
    report("a third replica comes and goes", seen)
    assert not seen.failures


def restarted(name: str, before: int) -> bool:
    """Tell whether the engine has started the container again since."""
    return bool(inspect(name)["RestartCount"] > before)


def healthy(name: str) -> bool:
    """Return the state of the container's health check."""
    return bool(inspect(name)["State"]["Health"]["Status"] == "healthy")


def test_a_replica_is_killed(stack: Stack, key: Key, texts: list[str], answers: Answers) -> None:
    with load(stack.url, key, texts, answers) as seen:
        for turn in range(KILLS):
            victim = stack.containers("translate")[turn % 2]
            before = inspect(victim)
            os.kill(before["State"]["Pid"], signal.SIGKILL)  # not `docker kill`, after which nothing is restarted
            seen.go_on()
            until("a restart", partial(restarted, victim, before["RestartCount"]))
            until("health", partial(healthy, victim))
    report(f"kill -9 of one replica, {KILLS} times", seen)
    assert not seen.failures


def test_a_swap_reaches_all_replicas(stack: Stack, key: Key, texts: list[str], answers: Answers) -> None:
    with load(stack.url, key, texts, answers) as seen:
        activate(stack, "flat-4")
        until_all_answer("flat-4", seen)
        activate(stack, "best-2")
        until_all_answer("best-2", seen)
    report("two swaps of the configuration", seen)
    assert not seen.failures
    assert set(seen.answered) == {"flat-4", "best-2"}


def until_all_answer(config: str, seen: Load) -> None:
    """Wait until sixty answers in a row come from one configuration."""

    def only() -> bool:
        others = seen.answered.total() - seen.answered[config]
        seen.go_on(60)
        return seen.answered.total() - seen.answered[config] == others

    until(f"{config} everywhere", only)


def test_redis_stops(stack: Stack, key: Key, texts: list[str], answers: Answers) -> None:
    activate(stack, "flat-4")
    with load(stack.url, key, texts, answers) as seen:
        until_all_answer("flat-4", seen)
        stack.compose("stop", "redis")
        try:
            until("a complaint", lambda: STORE in complaints(stack))
            seen.go_on(60)
            last = seen.answered.total() - seen.answered["flat-4"]
            seen.go_on(60)
            assert seen.answered.total() - seen.answered["flat-4"] == last  # the last state holds
            for replica in stack.containers("translate"):
                assert "The live configurations serve on" in run("sh", "-c", f"docker logs {replica} 2>&1")
        finally:
            stack.compose("start", "redis")
        until("no complaint", lambda: not any(complaints(stack) for _ in range(6)))
    report("stop and start of Redis", seen)
    assert not seen.failures
    activate(stack, "best-2")


def test_the_desired_state_comes_back_from_a_backup(stack: Stack, key: Key, tmp_path: Path) -> None:
    """As docs/deployment.md says; the key, too, is what the backup holds."""
    image, volume = stack.environment["REDIS_IMAGE"], f"{stack.environment['COMPOSE_PROJECT_NAME']}_redis"
    body = {"text": "The train was late.", "source": "en", "target": "de"}

    def answered_by(config: str) -> bool:
        reply = httpx.post(f"{stack.url}/v1/translate", json=body, headers=key, timeout=60)
        return reply.status_code == 200 and reply.headers["X-Sub3-Config"] == config

    activate(stack, "flat-4")
    stack.compose("exec", "-T", "redis", "sh", "-c", "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli save")
    docker("cp", f"{stack.containers('redis')[0]}:/data/dump.rdb", tmp_path / "backup.rdb")
    activate(stack, "best-2")
    stack.compose("stop", "translate", "redis")
    fill = "rm -rf /data/* && cp /from/backup.rdb /data/dump.rdb && chown -R 999:1000 /data"
    mounts = ["--volume", f"{volume}:/data", "--volume", f"{tmp_path}:/from:ro"]
    docker("run", "--rm", "--user", "0", *mounts, SERVER, "sh", "-c", fill)
    reads = ["redis-server", "--dir", "/data", "--appendonly", "no"]
    with container(image, "--volume", f"{volume}:/data", "--user", "999:1000", command=reads) as restoring:
        until("Redis", lambda: docker("exec", restoring, "redis-cli", "ping") == "PONG")
        docker("exec", restoring, "redis-cli", "config", "set", "appendonly", "yes")
        written = "aof_rewrite_in_progress:0"
        until("a log", lambda: written in docker("exec", restoring, "redis-cli", "info", "persistence"))
        docker("stop", restoring)
    stack.compose("start", "redis", "translate")
    until("the configuration of the backup", lambda: answered_by("flat-4"))
    activate(stack, "best-2")


def test_the_whole_model_volume_is_swapped(
    stack: Stack, key: Key, texts: list[str], answers: Answers, tmp_path: Path
) -> None:
    """Another volume with a model of another default, filled as docs/deployment.md says; then back."""
    directory = tmp_path / "en-de-2"  # what Redis keeps is of the model's name, which is its directory's
    shutil.copytree(DEFAULT_MODEL, directory)
    config = json.loads((directory / "config.json").read_text())
    config["default_configuration"] = "flat-4"
    (directory / "config.json").write_text(json.dumps(config))
    volume = f"{stack.environment['SUB3_MODELS']}-2"
    mounts = ["--volume", f"{volume}:/models", "--volume", f"{tmp_path}:/from:ro"]
    fill = "rm -r /models/* && cp -r /from/. /models/"  # a new volume begins with the image's own model
    docker("run", "--rm", "--user", "0", *mounts, SERVER, "sh", "-c", fill)
    with load(stack.url, key, texts, answers) as seen:
        rolling_update(stack, SUB3_MODELS=volume)
        until_all_answer("flat-4", seen)
        rolling_update(stack)
        until_all_answer("best-2", seen)
    report("swap of the model volume and back", seen)
    assert not seen.failures


def test_a_replica_that_never_gets_ready_changes_nothing(
    stack: Stack, key: Key, texts: list[str], answers: Answers
) -> None:
    before = set(stack.containers("translate"))
    with load(stack.url, key, texts, answers) as seen, pytest.raises(AssertionError, match="was taken away"):
        rolling_update(stack, SUB3_MODEL="absent", READY_SECONDS="5")
    report("an update to a model that is absent", seen)
    assert not seen.failures
    assert set(stack.containers("translate")) == before
