"""Swapping configurations live."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.format.directory import ModelDirectory, open_model
from models.format.schema import Allocation
from service.api.admin_guard import WRONG_TOKEN_S
from service.api.admin_schemas import AdminModelReply, ConfigPreview, ConfigReply
from service.live.configurations import Choice, by_name, by_planes
from service.live.desired import Desired
from service.live.registry import Registry
from service.settings import Settings
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.service.running import AUTHORIZED, PAIR, TOKEN, assert_refused, serve, texts_of, translate, until_metric

CONFIG = "/admin/models/tiny/config"
SENTENCES = ["The old house.", "A big tree sees the river.", "Hello world and sun."]
PLANES = {"decoder.*.ffn": 1, "embedding": 3}


@pytest.fixture(scope="module")
def references(tiny_model: Path) -> dict[str, list[str]]:
    """Translate SENTENCES with each configuration, by an engine apart from any server."""
    directory = open_model(tiny_model)
    choices = [by_name(directory, name) for name in directory.config.configurations]
    answers = {}
    for choice in [*choices, by_planes(directory, PLANES)]:
        translator = Translator(directory, Tokenizer(directory), choice.name, choice.allocation, max_batch_tokens=4096)
        translated = translator.translate(SENTENCES, Options("en", "de"))
        answers[choice.name] = [translation.best.text for translation in translated.translations]
    assert len({tuple(answer) for answer in answers.values()}) == len(answers)  # else a mix-up would go unseen
    return answers


def put(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.put(CONFIG, json=body)


def test_admin_is_off_without_a_token(client: httpx.Client) -> None:
    for response in (client.get("/admin/models/tiny", headers=AUTHORIZED), put(client, config="half")):
        assert_refused(response, 404)
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path.startswith("/admin")]


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer \xe9\xff"]
)
def test_a_missing_or_wrong_token_is_401(admin: httpx.Client, header: str | None) -> None:
    del admin.headers["Authorization"]
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for response in (
        admin.get("/admin/models/tiny", headers=headers),
        admin.put(CONFIG, json={"config": "half"}, headers=headers),
        admin.put(CONFIG, content=b"no json", headers=headers),  # refused before its body is looked at
    ):
        assert_refused(response, 401, "Authorization: Bearer")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_wrong_token_is_answered_late(admin: httpx.Client) -> None:
    del admin.headers["Authorization"]
    begun = time.monotonic()
    assert_refused(admin.get("/admin/models", headers={"Authorization": "Bearer wrong"}), 401)
    assert time.monotonic() - begun >= WRONG_TOKEN_S > 0.1


def test_what_a_model_serves(admin: httpx.Client, tiny_model: Path) -> None:
    reply = AdminModelReply.model_validate_json(admin.get("/admin/models/tiny").content)
    config = open_model(tiny_model).config
    assert reply.active.config == "full"
    assert reply.model_bytes == config.configurations["full"].bytes == sum(block.bytes for block in reply.blocks)
    assert {info.name: info.bytes for info in reply.configurations} == {
        name: configuration.bytes for name, configuration in config.configurations.items()
    }
    assert all(info.available for info in reply.configurations)
    layers = {block.block: len(block.layers) for block in reply.blocks}
    assert (layers["encoder.ffn"], layers["decoder.ffn"], layers["embedding"]) == (2, 1, 0)
    assert_refused(admin.get("/admin/models/other"), 404, "tiny")


def test_a_swap_by_name_planes_and_budget(
    admin: httpx.Client, tiny_model: Path, references: dict[str, list[str]]
) -> None:
    sizes = {name: c.bytes for name, c in open_model(tiny_model).config.configurations.items()}
    by_their_name = ConfigReply.model_validate_json(put(admin, config="narrow").content)
    assert (by_their_name.before.config, by_their_name.after.config) == ("full", "narrow")
    assert (by_their_name.bytes_before, by_their_name.bytes_after) == (sizes["full"], sizes["narrow"])
    assert by_their_name.quality == {"made-up": {"bleu": 5.0, "chrf": 10.0}}
    assert by_their_name.warning is not None
    assert "translates badly" in by_their_name.warning
    assert texts_of(translate(admin, SENTENCES)) == references["narrow"]

    by_their_planes = ConfigReply.model_validate_json(put(admin, planes=PLANES).content)
    custom = by_their_planes.after.config
    assert custom.startswith("custom-")
    planes = {block.block: block.planes for block in by_their_planes.blocks}
    assert (planes["embedding"], planes["decoder.ffn"], planes["encoder.ffn"]) == ([3], [1], [4])
    assert sum(block.bytes for block in by_their_planes.blocks) == by_their_planes.bytes_after
    assert texts_of(translate(admin, SENTENCES)) == references[custom]

    by_their_bytes = ConfigReply.model_validate_json(put(admin, memory_budget_bytes=sizes["half"]).content)
    assert (by_their_bytes.before.config, by_their_bytes.after.config) == (custom, "half")
    assert by_their_bytes.warning is None
    reply = translate(admin, SENTENCES)
    assert texts_of(reply) == references["half"]
    assert reply.json()["model"]["config"] == "half"
    assert admin.get("/v1/models").json()["models"][0]["active"] == "half"
    until_metric(admin, 'sub3_swaps_total{result="ok"} 3.0')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["exactly one"]),
        ({"config": "half", "memory_budget_bytes": 10_000_000}, ["exactly one"]),
        ({"config": "huge"}, ["huge", "full, half, narrow"]),
        ({"config": 5}, ["config"]),
        ({"planes": {}}, ["planes"]),
        ({"planes": {"embedding": 0}}, ["planes.embedding"]),
        ({"planes": {"embedding": 9}}, ["planes.embedding"]),
        ({"planes": {"embedding": 8}}, ["4 planes deep"]),
        ({"planes": {"nothing.*": 2}}, ["nothing.*"]),
        ({"planes": {"x" * 300: 2}}, ["planes"]),
        ({"memory_budget_bytes": 1000}, ["smallest", "narrow"]),
        ({"memory_budget_bytes": -1}, ["memory_budget_bytes"]),
        ({"configuration": "half"}, ["'configuration' is unknown"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refused_swap_changes_nothing(
    admin: httpx.Client, references: dict[str, list[str]], body: dict[str, Any], words: list[str]
) -> None:
    assert_refused(admin.put(CONFIG, json=body), 422, *words)
    assert texts_of(translate(admin, SENTENCES)) == references["full"]


@pytest.mark.parametrize("body", [{"memory_budget_bytes": 100_000}, {"planes": PLANES}, {"config": "narrow"}], ids=str)
def test_a_preview_is_what_the_swap_then_does(admin: httpx.Client, body: dict[str, Any]) -> None:
    before = admin.get("/admin/models/tiny").json()
    foreseen = ConfigPreview.model_validate_json(admin.post(f"{CONFIG}/preview", json=body).content)
    after = admin.get("/admin/models/tiny").json()
    assert (after["active"], after["history"]) == (before["active"], [])  # nothing has changed
    done = ConfigReply.model_validate_json(put(admin, **body).content)
    assert done.after.config == foreseen.config
    assert (done.after.bits_per_weight, done.bytes_after) == (foreseen.bits_per_weight, foreseen.bytes)
    assert (done.blocks, done.quality, done.warning) == (foreseen.blocks, foreseen.quality, foreseen.warning)


def test_a_preview_is_refused_as_the_swap_is(admin: httpx.Client) -> None:
    assert_refused(admin.post(f"{CONFIG}/preview", json={"memory_budget_bytes": 1000}), 422, "smallest")
    assert_refused(admin.post(f"{CONFIG}/preview", json={"config": "huge"}), 422, "huge")
    del admin.headers["Authorization"]
    assert_refused(admin.post(f"{CONFIG}/preview", json={"config": "half"}), 401)


def test_the_page_reads_the_metrics_by_the_token(admin: httpx.Client) -> None:
    texts_of(translate(admin, SENTENCES))
    for path in ("/metrics", "/admin/metrics"):
        assert "sub3_texts_total 3.0" in admin.get(path).text.splitlines()
    del admin.headers["Authorization"]
    assert_refused(admin.get("/admin/metrics"), 401)


def test_an_unknown_model_is_404(admin: httpx.Client) -> None:
    assert_refused(admin.put("/admin/models/other/config", json={"config": "half"}), 404, "tiny")


def test_a_specialised_directory_refuses_what_is_narrower(specialised_model: Path) -> None:
    settings = Settings(model_directory=specialised_model, threads=1, admin_token=TOKEN)
    with serve(settings) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        before = texts_of(translate(client, SENTENCES))
        assert_refused(put(client, planes={"decoder.*.ffn": 1}), 422, "specialised", "progressive")
        assert put(client, config="full").status_code == 200
        assert texts_of(translate(client, SENTENCES)) == before


def test_one_swap_at_a_time(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN)
    with serve(settings) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        started, end = threading.Event(), threading.Event()

        def slow(directory: ModelDirectory, desired: Desired) -> Desired:
            started.set()
            assert end.wait(60)
            return desired.activate(by_name(directory, "half"))

        registry: Registry = server.app.state.registry
        with ThreadPoolExecutor() as pool:
            first = pool.submit(registry.change, "tiny", slow)
            assert started.wait(60)
            assert_refused(put(client, config="narrow"), 409, "Another swap")
            assert client.get("/v1/models").json()["models"][0]["active"] == "full"
            end.set()
            first.result(60)
        assert client.get("/v1/models").json()["models"][0]["active"] == "half"
        assert put(client, config="narrow").status_code == 200


def test_an_allocation_that_fails_to_load_changes_nothing(tiny_model: Path, references: dict[str, list[str]]) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        registry: Registry = server.app.state.registry
        broken: Allocation = {}
        with pytest.raises(ValueError, match="no planes for the matrix"):
            registry.change("tiny", lambda _, desired: desired.activate(Choice("broken", broken)))
        assert texts_of(translate(client, SENTENCES)) == references["full"]
        registry.change("tiny", lambda directory, desired: desired.activate(by_name(directory, "half")))
        assert texts_of(translate(client, SENTENCES)) == references["half"]


def test_swaps_under_load_fail_no_request(admin: httpx.Client, references: dict[str, list[str]]) -> None:
    stop = threading.Event()

    def keep_translating() -> set[str]:
        seen: set[str] = set()
        with httpx.Client(base_url=admin.base_url, timeout=60) as client:
            while not stop.is_set():
                reply = client.post("/v1/translate", json={"text": SENTENCES, **PAIR})
                config = reply.json()["model"]["config"] if reply.status_code == 200 else "none"
                assert texts_of(reply) == references[config]
                seen.add(config)
        return seen

    bodies: list[dict[str, Any]] = [
        {"config": "narrow"},
        {"planes": PLANES},
        {"config": "clusters"},
        {"memory_budget_bytes": 10_000_000},
        {"config": "half"},
    ]
    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(keep_translating) for _ in range(3)]
        try:
            for _ in range(6):
                for body in bodies:
                    assert admin.put(CONFIG, json=body).status_code == 200
        finally:
            stop.set()
        seen = set[str]().union(*(client.result(60) for client in clients))
    assert seen == set(references)
    assert admin.get("/health/ready").status_code == 200


def test_a_lease_outlives_a_swap_and_the_last_one_closes(tiny_model: Path) -> None:
    registry = Registry([open_model(tiny_model)], max_batch_tokens=4096)
    registry.start()
    options = Options("en", "de")

    async def scenario() -> None:
        async with registry.lease("en", "de") as old:
            async with registry.lease("en", "de") as same:
                assert same is old
                registry.change("tiny", lambda directory, desired: desired.activate(by_name(directory, "half")))
            assert old.translate(SENTENCES, options).translations  # the first reader is still there
            async with registry.lease("en", "de") as new:
                assert new is not old
                assert new.identity.config == "half"
        with pytest.raises(Exception, match="closed"):
            old.translate(SENTENCES, options)

    asyncio.run(scenario())
    registry.close()


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level("INFO", logger="sub3.admin"):
        yield caplog


def test_each_call_leaves_a_line_without_the_token(admin: httpx.Client, audit: pytest.LogCaptureFixture) -> None:
    put(admin, config="half")
    put(admin, config="huge")
    admin.get("/admin/models/tiny", headers={"Authorization": "Bearer wrong"})
    lines = [record.getMessage() for record in audit.records if record.name == "sub3.admin"]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["200", "422", "401"]
    assert "PUT '/admin/models/tiny/config' by admin from 127.0.0.1" in lines[0]
    assert TOKEN not in audit.text
