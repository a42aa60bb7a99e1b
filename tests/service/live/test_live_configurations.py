"""Several live configurations: pins, leases, and the two ways from one desired state to the next."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from kernels.engine import EngineError
from models.format.directory import ModelDirectory, open_model
from service.live.configurations import by_name, by_planes
from service.live.desired import CanaryConflict, Desired, from_json, to_json
from service.live.model import NotLive, SelfTestFailed, SwapTookTooLong
from service.live.registry import Policy, Registry, SwapInProgress
from service.settings import Settings
from service.translation.results import Options
from tests.service.running import Server, assert_refused, serve, texts_of, translate

TEXT = "A big tree sees the river."


@pytest.fixture
def registry(tiny_model: Path) -> Iterator[Registry]:
    """Start a registry whose requests wait for a swap a tenth of a second at most."""
    started = Registry([open_model(tiny_model)], max_batch_tokens=4096, swap_wait_s=0.1)
    started.start()
    yield started
    started.close()


@pytest.fixture
def loaded(tiny_model: Path) -> Iterator[Server]:
    """Run a server with `narrow` and `half` live beside `full`."""
    with serve(Settings(model_directory=tiny_model, threads=1)) as server:
        for name in ("narrow", "half"):
            load(server.app.state.registry, name)
        yield server


def load(registry: Registry, name: str) -> None:
    registry.change("tiny", lambda directory, desired: desired.load(by_name(directory, name)))


def activate(directory: ModelDirectory, desired: Desired) -> Desired:
    return desired.activate(by_name(directory, "half"))


def test_a_request_may_pin_a_live_configuration(loaded: Server) -> None:
    with httpx.Client(base_url=loaded.url, timeout=60) as client:
        answers = {}
        for name in ("full", "half", "narrow"):
            by_field = translate(client, TEXT, config=name)
            by_header = client.post(
                "/v1/translate",
                json={"text": TEXT, "source": "en", "target": "de"},
                headers={"X-Sub3-Config": name},
            )
            assert by_field.json()["model"]["config"] == by_field.headers["X-Sub3-Config"] == name
            assert by_header.json()["model"]["config"] == name
            assert texts_of(by_field) == texts_of(by_header)
            answers[name] = texts_of(by_field)[0]
        assert len(set(answers.values())) == 3
        assert set(client.get("/v1/models").json()["models"][0]["live"]) == set(answers)
        assert translate(client, TEXT).json()["model"]["config"] == "full"
        assert_refused(translate(client, TEXT, config="clusters"), 404, "'clusters'", "full, narrow, half")
        assert_refused(translate(client, TEXT, config=""), 422, "config")
        metrics = client.get("/metrics").text.splitlines()
        live = {line.split('config="')[1].split('"')[0] for line in metrics if line.startswith("sub3_model_bytes{")}
        assert live == {"full", "half", "narrow"}
        quality = [line for line in metrics if line.startswith("sub3_model_quality{")]
        assert 'sub3_model_quality{config="half",data="made-up",measure="bleu",model="tiny"} 29.0' in quality
        assert len(quality) == 6  # BLEU and chrF of each


def test_a_pinned_lease_keeps_its_configuration_until_it_ends(registry: Registry) -> None:
    async def scenario() -> None:
        load(registry, "half")
        async with registry.lease("en", "de", "half") as half:
            registry.change("tiny", lambda _, desired: desired.unload("half"))
            assert half.translate([TEXT], Options("en", "de")).translations
            with pytest.raises(NotLive, match="live are full"):
                async with registry.lease("en", "de", "half"):
                    pass

    asyncio.run(scenario())


def test_the_last_of_several_leases_ends_a_configuration(registry: Registry) -> None:
    async def scenario() -> None:
        load(registry, "half")
        async with registry.lease("en", "de", "half") as half:
            async with registry.lease("en", "de", "half"):
                registry.change("tiny", lambda _, desired: desired.unload("half"))
            assert half.translate([TEXT], Options("en", "de")).translations
        with pytest.raises(EngineError, match="closed"):
            half.translate([TEXT], Options("en", "de"))

    asyncio.run(scenario())


def test_what_answers_requests_stays_loaded(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    desired = Desired(by_name(directory, "full")).load(by_name(directory, "half"))
    desired = desired.try_out(by_name(directory, "half"), 5)
    for name in ("full", "half"):
        with pytest.raises(CanaryConflict, match=f"{name} answers requests"):
            desired.unload(name)


def test_states_follow_from_one_another(registry: Registry) -> None:
    def live() -> list[str]:
        return [translator.identity.config for translator in registry.find("tiny").translators()]

    load(registry, "half")
    load(registry, "narrow")
    assert live() == ["full", "half", "narrow"]
    same = registry.change("tiny", lambda directory, desired: desired.load(by_name(directory, "half")))
    assert live() == ["full", "half", "narrow"]
    assert same.answers is same.answered
    registry.change("tiny", activate)
    assert live() == ["half", "narrow"]  # full wasn't loaded by itself: it went when it stopped to be active
    assert registry.change("tiny", activate).unchanged
    with pytest.raises(CanaryConflict, match="answers requests"):
        registry.change("tiny", lambda _, desired: desired.unload("half"))
    registry.change("tiny", lambda _, desired: desired.unload("narrow"))
    assert live() == ["half"]


def test_under_resource_a_request_waits_and_then_the_new_one_answers(registry: Registry) -> None:
    async def scenario() -> None:
        async with registry.lease("en", "de") as old:
            swap = asyncio.create_task(asyncio.to_thread(registry.change, "tiny", activate, "resource"))
            while not registry.find("tiny").held:
                await asyncio.sleep(0)
            waiting = asyncio.create_task(answered_by(registry))
            await asyncio.sleep(0)
            assert not waiting.done()
            assert old.identity.config == "full"
        await swap
        assert await waiting == "half"

    asyncio.run(scenario())


def test_under_resource_nobody_waits_for_ever(registry: Registry) -> None:
    async def scenario() -> None:
        async with registry.lease("en", "de"):
            swap = asyncio.create_task(asyncio.to_thread(registry.change, "tiny", activate, "resource"))
            with pytest.raises(SwapTookTooLong, match="given up"):
                await swap
            assert await answered_by(registry) == "full"  # the drain was given up, so it serves on

    asyncio.run(scenario())


@pytest.mark.parametrize("policy", ["availability", "resource"])
def test_a_failed_change_leaves_what_there_was(tiny_model: Path, tmp_path: Path, policy: Policy) -> None:
    directory = open_model(shutil.copytree(tiny_model, tmp_path / "tiny"))
    registry = Registry([directory], max_batch_tokens=4096)
    registry.start()
    # the scales of two planes, which `full` does not read
    scales = directory.main.tensors["embedding.scales.2"]
    with (directory.path / "model.safetensors").open("r+b") as file:
        place = file.read().index(bytes(scales.data))
        file.seek(place)
        good = file.read(scales.nbytes)

        def write(content: bytes) -> None:
            file.seek(place)
            file.write(content)
            file.flush()

        write(b"\xff\xff" * (scales.nbytes // 2))  # NaN, in the pages that are mapped
        with pytest.raises(SelfTestFailed, match="half of tiny"):
            registry.change("tiny", activate, policy)
        assert asyncio.run(answered_by(registry)) == "full"
        write(good)
    registry.change("tiny", activate, policy)
    assert asyncio.run(answered_by(registry)) == "half"
    registry.close()


def test_one_thread_at_a_time_changes_a_model(registry: Registry) -> None:
    with ThreadPoolExecutor(1) as other:

        def change() -> None:
            registry.change("tiny", activate)

        with registry.changing("tiny"):
            with registry.changing("tiny"):  # the same thread may
                pass
            assert registry.is_changing("tiny")
            with pytest.raises(SwapInProgress, match="Another swap of tiny is running"):
                other.submit(change).result(60)
            with pytest.raises(SwapInProgress):
                other.submit(registry.remove, "tiny").result(60)
        assert not registry.is_changing("tiny")
        other.submit(change).result(60)
    assert registry.active_name("tiny") == "half"


def test_a_removed_model_gives_no_lease(registry: Registry, tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    second = replace(directory, config=replace(directory.config, name="second"))
    registry.add(second, lambda files: Desired(by_name(files, "full")))
    model = registry.find("tiny")  # as a request does just before the removal
    registry.remove("tiny")
    with ExitStack() as leases:
        assert asyncio.run(model.lease(None, leases)) is None
    assert asyncio.run(answered_by(registry)) == "full"


def test_a_desired_state_is_read_as_it_was_written(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    desired = Desired(by_name(directory, "half")).load(by_name(directory, "narrow"))
    desired = desired.try_out(by_planes(directory, {"embedding": 2}), 5)
    written = json.loads(json.dumps(to_json(directory, desired)))
    assert from_json(directory, written) == desired
    for bad in (
        None,
        {},
        written | {"more": 1},
        written | {"active": {"config": "huge", "allocation": None}},
        written | {"active": {"config": None, "allocation": {}}},
        written | {"active": {"config": None, "allocation": {"embedding": [[0, 9, "4"]]}}},
        written | {"loaded": [{}]},
        written | {"canary_percent": 101},
        written | {"canary_percent": 0},
        written | {"canary": written["active"]},
    ):
        with pytest.raises(ValueError):  # noqa: PT011 -- the sentences differ
            from_json(directory, bad)


async def answered_by(registry: Registry) -> str:
    async with registry.lease("en", "de") as translator:
        return translator.identity.config
