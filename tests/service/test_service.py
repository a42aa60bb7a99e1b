"""What surrounds the translations: health, models, metrics, the OpenAPI, the process."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import service
from models.format.directory import open_model
from models.format.schema import ModelError, UnavailableConfiguration
from service.api.schemas import ModelsReply
from service.app import create_app
from service.live.model import SelfTestFailed
from service.live.registry import Registry
from service.settings import Settings
from tests.service.running import PAIR, TOKEN, ServiceProcess, assert_refused, serve, translate, until_running
from tests.service.tiny_model import write_tiny_model


def test_before_the_model_is_loaded_nothing_is_ready(tiny_model: Path) -> None:
    app = create_app(Settings(model_directory=tiny_model))

    async def scenario() -> None:
        # without its lifespan an app is one that has not started yet
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/health/live")).json() == {"status": "live"}
            body = {"text": "Hello.", "source": "en", "target": "de"}
            for response in (
                await client.get("/health/ready"),
                await client.post("/v1/translate", json=body),
                await client.get("/v1/models"),
            ):
                assert_refused(response, 503, "loading")
                assert response.headers["Retry-After"] == "1"

    asyncio.run(scenario())


def test_health(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


def test_models(client: httpx.Client, tiny_model: Path) -> None:
    (model,) = ModelsReply.model_validate_json(client.get("/v1/models").content).models
    config = open_model(tiny_model).config
    assert (model.name, model.active, model.default) == ("tiny", "full", "full")
    assert model.live == ["full"]
    assert (model.source_languages, model.target_languages) == (["en"], ["de"])
    assert model.version == config.checksums["model.safetensors"][:12]
    assert [info.name for info in model.configurations] == list(config.configurations)
    for info in model.configurations:
        assert info.bytes == config.configurations[info.name].bytes
        assert info.quality == config.configurations[info.name].quality
        assert (info.available, info.reason) == (True, None)


def test_a_configuration_to_start_with(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, configuration="clusters")
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert translate(client, "The old house.").json()["model"]["config"] == "clusters"


def test_a_bad_model_or_configuration_never_gets_a_port(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        create_app(Settings(model_directory=tmp_path / "none"))
    with pytest.raises(UnavailableConfiguration, match="huge"):
        create_app(Settings(model_directory=tiny_model, configuration="huge"))


def test_weights_that_overflow_never_serve(tmp_path: Path) -> None:
    registry = Registry([open_model(write_tiny_model(tmp_path / "tiny", norm_gain=3e38))], max_batch_tokens=4096)
    with pytest.raises(SelfTestFailed, match="full of tiny"):
        registry.start()
    assert not registry.ready


def test_metrics(tiny_model: Path) -> None:
    with (
        serve(Settings(model_directory=tiny_model, threads=1)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        body = translate(client, ["The old house.", "Hello world."]).json()
        translate(client, "")
        client.get("/no/such/path")
        families = {f.name: f.samples for f in text_string_to_metric_families(client.get("/metrics").text)}
    requests = {
        (s.labels["route"], s.labels["status"]): s.value
        for s in families["sub3_requests"]
        if s.name == "sub3_requests_total"
    }
    assert requests == {("/v1/translate", "200"): 1, ("/v1/translate", "422"): 1, ("none", "404"): 1}
    sums = {s.labels["stage"]: s.value for s in families["sub3_stage_seconds"] if s.name.endswith("_sum")}
    assert {stage: round(1e3 * value, 3) for stage, value in sums.items()} == body["latency_ms"]
    assert families["sub3_texts"][0].value == 2
    assert families["sub3_model_info"][0].labels == {
        "model": "tiny",
        "config": "full",
        "version": body["model"]["version"],
        "bits_per_weight": str(body["model"]["bits_per_weight"]),
    }
    assert families["sub3_model_bytes"][0].value == body["memory"]["model_bytes"]
    assert families["sub3_queue_sentences"][0].value == families["sub3_queue_tokens"][0].value == 0
    assert families["sub3_running_sentences"][0].value == 0
    assert families["sub3_target_tokens"][0].value >= 2
    steps = {s.labels.get("le", s.name): s.value for s in families["sub3_step_sentences"]}
    assert steps["2.0" if "2.0" in steps else "2"] == steps["+Inf"] == steps["sub3_step_sentences_count"] >= 1
    assert steps["sub3_step_sentences_sum"] >= steps["+Inf"]
    assert families["sub3_process_resident_bytes"][0].value > 0


def test_the_openapi_states_every_refusal(tiny_model: Path) -> None:
    paths: dict[str, Any] = create_app(Settings(model_directory=tiny_model, admin_token=TOKEN)).openapi()["paths"]
    stated = {
        (method, path): {status for status in operation["responses"] if status.startswith(("4", "5"))}
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert stated["post", "/v1/translate"] == {*("400", "401", "403", "404", "413", "415", "422", "429", "503", "504")}
    assert stated["post", "/v1/translate/stream"] == stated["post", "/v1/translate"]
    assert stated["get", "/admin/models/{name}"] >= {"401", "404"}
    assert stated["put", "/admin/models/{name}/config"] >= {"400", "401", "404", "409", "413", "415", "422"}
    for operations in paths.values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status.startswith(("4", "5")) and status != "431":  # refused before it is known for which API
                    schema = response["content"]["application/json"]["schema"]
                    own = {"DeepL": "DeeplError", "Google": "GoogleError", "Azure": "AzureError"}
                    model = own.get(operation["tags"][0], "Error")
                    assert schema == {"$ref": f"#/components/schemas/{model}"}, (operation["operationId"], status)


@pytest.fixture
def process(tiny_model: Path) -> Iterator[tuple[ServiceProcess, str]]:
    """Run `python -m service` on a free port; yield the process and its address."""
    environment = {**os.environ, "SUB3_MODEL_DIRECTORY": str(tiny_model), "PORT": "0", "SUB3_THREADS": "1"}
    environment["SUB3_SHUTDOWN_SECONDS"] = "1"
    with ServiceProcess(environment) as started:
        try:
            yield started, started.address()
        finally:
            started.kill()


def test_the_process_serves_and_ends_well(process: tuple[ServiceProcess, str]) -> None:
    started, url = process
    reply = httpx.post(f"{url}/v1/translate", json={"text": "The secret house.", **PAIR}, timeout=60)
    assert reply.status_code == 200
    started.send_signal(signal.SIGTERM)
    log = started.log()
    assert started.wait(60) == 0
    assert "secret" not in log
    assert "Traceback" not in log


def test_work_that_takes_too_long_does_not_hold_up_the_end(process: tuple[ServiceProcess, str]) -> None:
    started, url = process
    giant = ["The big tree sees the old house near a river. " * 210] * 90  # most of a minute with this beam
    with ThreadPoolExecutor() as pool, httpx.Client(base_url=url, timeout=60) as client:
        asked = pool.submit(translate, client, giant, beam_size=8)
        until_running(client)
        started.send_signal(signal.SIGTERM)
        assert started.wait(40) == 0
        with contextlib.suppress(httpx.TransportError):
            assert asked.result(60).status_code >= 500


def test_the_service_imports_no_torch(tiny_model: Path) -> None:
    code = "import json, sys; import service.__main__; print(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(service.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not {"torch", "transformers"} & set(json.loads(finished.stdout))
