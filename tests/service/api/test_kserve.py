"""KServe v2 and Triton's model repository, driven by Triton's own client."""

import asyncio
import itertools
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from models.format.directory import ModelDirectory
from service.api.kserve_bodies import decode, encode
from service.app import create_app
from service.live.configurations import by_name
from service.live.desired import Desired
from service.settings import Settings
from tests.service.running import AUTHORIZED, TOKEN, Server, assert_refused, exchange, serve, translate

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
    assert (server["name"], server["extensions"]) == ("sub3", ["binary_tensor_data", "model_repository"])
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
    for binary, outputs in itertools.product(
        (True, False), (None, *([triton.InferRequestedOutput("translation", binary_data=is_)] for is_ in (True, False)))
    ):
        result = client.infer("tiny", [tensor(*texts, binary=binary)], outputs=outputs, request_id="7")
        read = result.as_numpy("translation").tolist()
        assert [text.decode() if isinstance(text, bytes) else text for text in read] == expected
        reply = result.get_response()
        assert (reply["model_name"], reply["model_version"], reply["id"]) == ("tiny", "full", "7")
        is_binary = outputs is None or outputs[0]._binary  # the client's own default is binary
        assert ("data" in reply["outputs"][0]) is not is_binary
    client.load_model("tiny", headers=AUTHORIZED, config="half")
    half = client.infer("tiny", [tensor("The old house.")], model_version="half")
    assert half.get_response()["model_version"] == "half"
    expected = [translate(raw, "The old house.", config="half").json()["translations"][0]["text"]]
    assert [text.decode() for text in half.as_numpy("translation").tolist()] == expected


def test_inference_that_is_not_possible_is_refused(client: triton.InferenceServerClient, raw: httpx.Client) -> None:
    good = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["The old house."]}
    infer = "/v2/models/tiny/infer"
    reply = raw.post(infer, json={"inputs": [good], "parameters": {"source": "en", "target": "de"}})
    assert reply.status_code == 200
    assert reply.json()["outputs"][0]["shape"] == [1, 1]
    for change in (
        {"name": "other"},
        {"datatype": "FP32"},
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
    named = {"inputs": [good], "model_name": "tiny"}  # as KServe's SDK sends it
    assert raw.post(infer, json=named).status_code == 200
    assert_refused(raw.post(infer, json=named | {"model_name": "other"}), 400, "The address names 'tiny'")
    for body in (
        {},
        {"inputs": []},
        {"inputs": [good, good]},
        {"inputs": [good], "outputs": [{"name": "other"}]},
        {"inputs": [good], "parameters": {"threads": 9}},
    ):
        assert_refused(raw.post(infer, json=body), 400)
    assert_refused(raw.post("/v2/models/other/infer", json={"inputs": [good]}), 404)
    assert_refused(raw.post("/v2/models/tiny/versions/half/infer", json={"inputs": [good]}), 404, "not live")
    assert_refused(raw.post(infer, json={"inputs": [good], "parameters": {"target": "xx"}}), 404, "none can")
    reply = raw.post(infer, json={"inputs": [good | {"shape": [2]}]})  # the shape is the texts' own
    assert reply.json()["outputs"][0]["shape"] == [1]


def head(size: Any, **changes: Any) -> bytes:
    """Return the head of a request whose texts are behind it."""
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]} | parameters | changes]}).encode()


TEXT = struct.pack("<I", 3) + "1 ä".encode()[:3]


@pytest.mark.parametrize(
    ("announced", "head", "tensor", "words"),
    [
        ("x", head(7), TEXT, "not a number of bytes"),
        ("9" * 30, head(7), TEXT, "not a number of bytes"),
        ("-1", head(7), TEXT, "not a number of bytes"),
        (None, head(6), TEXT, "the input says 6"),
        (None, head(None), TEXT, "Send the texts in"),
        (None, head(7, data=["a"]), TEXT, "Send the texts in"),
        (None, head(7), TEXT, "not UTF-8"),
        (None, head(6), TEXT[:6], "Text 1 of the binary tensor is cut off"),
        (None, head(3), TEXT[:3], "Text 1 of the binary tensor is cut off"),
        (None, head(11), b"\0\0\0\0\xff\xff\xff\xff" + b"abc", "Text 2 of the binary tensor is cut off"),
        (None, head(0), b"", "empty"),
        (None, head(4), bytes(4), "empty"),
        (None, head(4 * 129), bytes(4 * 129), "129 texts"),
        (None, b"{", b"", "not valid JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_binary_tensors_that_are_none_are_refused(
    raw: httpx.Client, announced: str | None, head: bytes, tensor: bytes, words: str
) -> None:
    length = {"Inference-Header-Content-Length": announced or str(len(head))}
    assert_refused(raw.post("/v2/models/tiny/infer", content=head + tensor, headers=length), 400, words)


@given(st.lists(st.text(), max_size=20))
def test_a_binary_tensor_is_read_as_triton_writes_it(texts: list[str]) -> None:
    written = serialize_byte_tensor(numpy.array(texts, dtype=object))
    assert encode(texts) == (written.item() if len(texts) else b"")
    assert decode(encode(texts)) == texts


def test_the_key_is_asked_for_before_a_large_body(tiny_model: Path, tmp_path: Path) -> None:
    settings = Settings(
        model_directory=tiny_model, threads=1, api_keys=True, keys_file=tmp_path / "keys", admin_token=TOKEN
    )
    large = b"Transfer-Encoding: chunked\r\nX-Api-Key: a.b\r\n\r\n"
    with serve(settings) as server:
        for path in ("/v2/models/tiny/infer", "/v2/models/tiny/versions/full/infer"):
            # no byte of the body is ever sent
            status, reply = exchange(server, f"POST {path} HTTP/1.1\r\nHost: a\r\n".encode() + large)
            assert (status, list(reply)) == (403, ["error"])
        with httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as admin:
            chunks = iter([b"{", b"}"])
            assert admin.post(f"{REPOSITORY}/index", content=chunks).status_code == 200  # the token is no API key


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
