"""KServe v2 and Triton's model repository, driven by Triton's own client."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from models.format.directory import ModelDirectory
from service.app import create_app
from service.live.configurations import by_name
from service.live.desired import Desired
from service.settings import Settings
from tests.service.running import AUTHORIZED, TOKEN, Server, assert_refused, serve, translate

REPOSITORY = "/v2/repository"


@pytest.fixture
def running(tiny_model: Path) -> Iterator[Server]:
    """Run a server with a token."""
    with serve(Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN)) as server:
        yield server


@pytest.fixture
def client(running: Server) -> Iterator[triton.InferenceServerClient]:
    """Open Triton's client of it."""
    with triton.InferenceServerClient(running.url.removeprefix("http://"), network_timeout=60) as connection:
        yield connection


@pytest.fixture
def raw(running: Server) -> Iterator[httpx.Client]:
    """Open a plain client of it, with the token."""
    with httpx.Client(base_url=running.url, headers=AUTHORIZED, timeout=60) as connection:
        yield connection


def states(client: triton.InferenceServerClient, **headers: str) -> dict[str, str]:
    """Return the state of each version."""
    index = client.get_model_repository_index(headers=headers or AUTHORIZED)
    assert {entry["name"] for entry in index} == {"tiny"}
    return {entry["version"]: entry["state"] for entry in index}


def test_health_and_metadata_need_no_token(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    server = client.get_server_metadata()
    assert (server["name"], server["extensions"]) == ("sub3", ["model_repository"])
    model = client.get_model_metadata("tiny")
    assert (model["name"], model["versions"]) == ("tiny", ["full"])
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert model["outputs"] == [{"name": "translation", "datatype": "BYTES", "shape": [-1]}]
    assert client.get_model_metadata("tiny", "full") == model
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "full")
    assert not client.is_model_ready("tiny", "half")
    assert not client.is_model_ready("other")
    with pytest.raises(InferenceServerException, match="the models are tiny"):
        client.get_model_metadata("other")


def test_configurations_are_versions_that_are_loaded_and_unloaded(
    client: triton.InferenceServerClient, raw: httpx.Client
) -> None:
    unavailable = dict.fromkeys(("half", "narrow", "clusters"), "UNAVAILABLE")
    assert states(client) == {"full": "READY"} | unavailable
    client.load_model("tiny", headers=AUTHORIZED, config="half")
    client.load_model("tiny", headers={"admin-key": TOKEN}, config="narrow")  # as Triton's documentation does
    client.load_model("tiny", headers=AUTHORIZED)
    assert states(client) == {"full": "READY"} | unavailable | {"half": "READY", "narrow": "READY"}
    assert client.is_model_ready("tiny", "half")
    assert client.get_model_metadata("tiny")["versions"] == ["full", "half", "narrow"]
    assert translate(raw, "The old house.", config="half").json()["model"]["config"] == "half"
    assert translate(raw, "The old house.").json()["model"]["config"] == "full"

    unloaded = raw.post(f"{REPOSITORY}/models/tiny/unload", json={"parameters": {"config": "half"}})
    assert (unloaded.status_code, unloaded.content) == (200, b"")
    assert states(client)["half"] == "UNAVAILABLE"
    assert raw.post(f"{REPOSITORY}/models/tiny/unload", json={"parameters": {"config": "narrow"}}).status_code == 200
    assert states(client) == {"full": "READY"} | unavailable
    ready = raw.post(f"{REPOSITORY}/index", json={"ready": True}).json()
    assert ready == [{"name": "tiny", "version": "full", "state": "READY", "reason": ""}]
    history = raw.get("/admin/models/tiny").json()["history"]
    assert [event["what"] for event in history] == ["load", "load", "unload", "unload"]


def tensor(*texts: str, binary: bool = False) -> triton.InferInput:
    """Return the input of a request for inference."""
    given = triton.InferInput("text", [len(texts)], "BYTES")
    given.set_data_from_numpy(numpy.array(texts, dtype=object), binary_data=binary)
    return given


def test_triton_s_client_translates(client: triton.InferenceServerClient, raw: httpx.Client) -> None:
    texts = ["The old house.", "Ein \u00e4 and a \U0001f600."]
    expected = [translation["text"] for translation in translate(raw, texts).json()["translations"]]
    for outputs in (None, [triton.InferRequestedOutput("translation", binary_data=False)]):
        result = client.infer("tiny", [tensor(*texts)], outputs=outputs, request_id="7")
        assert result.as_numpy("translation").tolist() == expected
        reply = result.get_response()
        assert (reply["model_name"], reply["model_version"], reply["id"]) == ("tiny", "full", "7")
    client.load_model("tiny", headers=AUTHORIZED, config="half")
    half = client.infer("tiny", [tensor("The old house.")], model_version="half")
    assert half.get_response()["model_version"] == "half"
    expected = [translate(raw, "The old house.", config="half").json()["translations"][0]["text"]]
    assert half.as_numpy("translation").tolist() == expected


def test_inference_that_is_not_possible_is_refused(client: triton.InferenceServerClient, raw: httpx.Client) -> None:
    with pytest.raises(InferenceServerException, match="binary_data=False"):
        client.infer("tiny", [tensor("The old house.", binary=True)])
    good = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["The old house."]}
    infer = "/v2/models/tiny/infer"
    reply = raw.post(infer, json={"inputs": [good], "parameters": {"source": "en", "target": "de"}})
    assert reply.status_code == 200
    assert reply.json()["outputs"][0]["shape"] == [1, 1]
    for change in (
        {"name": "other"},
        {"datatype": "FP32"},
        {"shape": [2]},
        {"shape": [-1]},
        {"shape": []},
        {"shape": [0], "data": []},
        {"data": [["The old house."]]},
        {"data": [5]},
        {"data": [""]},
        {"shape": [1000], "data": ["a"] * 1000},
        {"data": ["a" * 100_000]},
        {"parameters": {"binary_data_size": 4}},
    ):
        assert_refused(raw.post(infer, json={"inputs": [good | change]}), 400)
    for body in (
        {},
        {"inputs": []},
        {"inputs": [good, good]},
        {"inputs": [good], "outputs": [{"name": "other"}]},
        {"inputs": [good], "parameters": {"target": "xx"}},
        {"inputs": [good], "parameters": {"threads": 9}},
    ):
        assert_refused(raw.post(infer, json=body), 400)
    assert_refused(raw.post("/v2/models/other/infer", json={"inputs": [good]}), 400)
    assert_refused(raw.post("/v2/models/tiny/versions/half/infer", json={"inputs": [good]}), 400, "not live")


@pytest.mark.parametrize(
    "config", ['{"config": "half"}', '{"parameters":{"config":{"string_value":"half"}}}', ' {"config":"half"}', "half"]
)
def test_a_configuration_is_named_in_a_json_document_as_in_triton_s_or_by_itself(
    config: str, client: triton.InferenceServerClient, raw: httpx.Client
) -> None:
    client.load_model("tiny", headers=AUTHORIZED, config=config)
    assert states(client)["half"] == "READY"
    body = {"parameters": {"config": config}}
    assert raw.post(f"{REPOSITORY}/models/tiny/unload", json=body).status_code == 200
    assert states(client)["half"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    "config",
    [
        '{"name": "tiny"}',
        '{"config": "half", "name": "tiny"}',
        '{"config": ""}',
        '{"config": 5}',
        '{"config": {"config": "half"}}',
        '{"parameters": {"config": {"string_value": "half"}}, "config": "half"}',
        '{"parameters": {"config": {"string_value": "half"}, "threads": {"string_value": "9"}}}',
        '{"parameters": {"config": "half"}}',
        '{"parameters": []}',
        "{",
        "{}",
        "{" * 200,
    ],
)
def test_other_documents_are_refused_with_what_is_taken(config: str, client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="send the name of a configuration") as caught:
        client.load_model("tiny", headers=AUTHORIZED, config=config)
    assert caught.value.status() == "400"
    assert states(client)["half"] == "UNAVAILABLE"


def test_the_only_model_is_not_unloaded(client: triton.InferenceServerClient) -> None:
    client.load_model("tiny", headers=AUTHORIZED, config="half")
    with pytest.raises(InferenceServerException, match=r"only model.*parameters\.config") as caught:
        client.unload_model("tiny", headers=AUTHORIZED)
    assert caught.value.status() == "400"
    assert states(client)["half"] == "READY"


def test_what_is_being_loaded_is_loading(running: Server, client: triton.InferenceServerClient) -> None:
    registry = running.app.state.registry
    started, end = threading.Event(), threading.Event()

    def wait(directory: ModelDirectory, desired: Desired) -> Desired:
        return desired.load(by_name(directory, "half"))

    model = registry.find("tiny")
    load = model.load

    def slow(*arguments: Any) -> Any:
        started.set()
        assert end.wait(60)
        return load(*arguments)

    model.load = slow
    change = threading.Thread(target=registry.change, args=("tiny", wait))
    change.start()
    try:
        assert started.wait(60)
        assert states(client)["half"] == "LOADING"
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="Another swap"):
            client.load_model("tiny", headers=AUTHORIZED, config="narrow")
    finally:
        end.set()
        change.join()
    assert states(client)["half"] == "READY"


def test_files_addresses_and_configurations_of_triton_s_are_refused(
    client: triton.InferenceServerClient, raw: httpx.Client
) -> None:
    with pytest.raises(InferenceServerException, match="only a configuration's name") as caught:
        client.load_model("tiny", headers=AUTHORIZED, config="half", files={"file:1/model.onnx": b"anything"})
    assert caught.value.status() == "400"
    for config in ("other", '{"config": "other"}'):
        with pytest.raises(InferenceServerException, match="this model has"):
            client.load_model("tiny", headers=AUTHORIZED, config=config)
    with pytest.raises(InferenceServerException, match="the models are tiny"):
        client.load_model("..tiny", headers=AUTHORIZED)
    for body in (
        b"{",
        b"[]",
        b'{"parameters": []}',
        b'{"parameters": {"config": 5}}',
        b'{"parameters": {"config": ""}}',
        b'{"parameters": {"model_uri": "https://example.org/m"}}',
        b'{"parameters": {"file:../../x": "AAAA"}}',
        b'{"url": "https://example.org/m"}',
        b'{"parameters": {"config": "%s"}}' % (b"x" * 300),
    ):
        for path in (f"{REPOSITORY}/models/tiny/load", f"{REPOSITORY}/models/tiny/unload"):
            assert_refused(raw.post(path, content=body), 400)
    assert states(client)["half"] == "UNAVAILABLE"
    assert_refused(raw.post(f"{REPOSITORY}/models/tiny/unload", json={"parameters": {"config": "full"}}), 400)


def test_the_repository_is_behind_the_token(
    client: triton.InferenceServerClient, raw: httpx.Client, tiny_model: Path
) -> None:
    for call in (
        client.get_model_repository_index,
        lambda **options: client.load_model("tiny", config="half", **options),
        lambda **options: client.unload_model("tiny", **options),
    ):
        for headers in (None, {"admin-key": "wrong"}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InferenceServerException, match="Authorization: Bearer") as caught:
                call(headers=headers)
            assert caught.value.status() == "401"
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as off,
    ):
        assert_refused(off.post(f"{REPOSITORY}/index", json={}), 404)
        assert off.get("/v2/health/ready").status_code == 200
        # what KServe's own client reads of them
        assert off.get("/v2/health/ready").json() == {"ready": True}
        assert off.get("/v2/health/live").json() == {"live": True}


def test_before_the_model_is_loaded_nothing_is_ready(tiny_model: Path) -> None:
    app = create_app(Settings(model_directory=tiny_model))

    async def scenario() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as early:
            assert (await early.get("/v2/health/live")).status_code == 200
            for path in ("/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/ready"):
                assert_refused(await early.get(path), 503, "loading")

    asyncio.run(scenario())
