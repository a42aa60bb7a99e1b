"""Several models in one server: found at start, added and removed while it serves, kept over restarts and replicas."""

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http as triton
from pydantic import SecretStr

from models.format.schema import ModelError, UnavailableConfiguration
from service.app import create_app
from service.settings import Settings
from tests.service.redis_server import RedisServer
from tests.service.running import AUTHORIZED, TOKEN, Server, assert_refused, held_steps, serve, until_metric
from tests.service.tiny_model import write_tiny_model

TEXT = "The old house."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make en-de, en-de-2 with other weights, de-fr, and fr-en that is bad."""
    folder = tmp_path_factory.mktemp("made")
    write_tiny_model(folder / "en-de")
    write_tiny_model(folder / "en-de-2", seed=8)
    write_tiny_model(folder / "de-fr", sources=("de",), targets=("fr",), seed=9)
    write_tiny_model(folder / "fr-en", sources=("fr",), targets=("en",), seed=10)
    with (folder / "fr-en" / "vocab.safetensors").open("ab") as file:
        file.write(b" ")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Copy `made`, for a test to change."""
    return Path(shutil.copytree(made, tmp_path / "models"))


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[tuple[Server, httpx.Client]]:
    with (
        serve(Settings(models_directory=folder, threads=1, admin_token=TOKEN, **settings)) as server,
        httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client,
    ):
        yield server, client


def ask(client: httpx.Client, source: str, target: str, text: str = TEXT, **fields: Any) -> httpx.Response:
    return client.post("/v1/translate", json={"text": text, "source": source, "target": target, **fields})


def answers(client: httpx.Client, source: str, target: str, **fields: Any) -> str:
    """Return the model that answers."""
    reply = ask(client, source, target, **fields)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["model"]["name"])


def served(client: httpx.Client) -> list[str]:
    return [model["name"] for model in client.get("/v1/models").json()["models"]]


def states(client: httpx.Client) -> dict[str, str]:
    return {model["name"]: model["state"] for model in client.get("/admin/models").json()["models"]}


def targets(client: httpx.Client) -> dict[str, list[str]]:
    """Return LibreTranslate's list."""
    return {entry["code"]: entry["targets"] for entry in client.get("/languages").json()}


def test_every_model_is_found_and_a_bad_one_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / ".new").mkdir()
    (folder / "notes.txt").write_text("not a model")
    with caplog.at_level(logging.ERROR, "sub3.models"), running(folder) as (_, client):
        assert served(client) == ["de-fr", "en-de", "en-de-2"]
        assert [record.getMessage() for record in caplog.records if "fr-en is not served" in record.getMessage()]
        ready = client.get("/health/ready").json()
        (complaint,) = ready["complaints"]
        assert (ready["status"], "fr-en is not served" in complaint) == ("ready", True)
        assert "/" not in complaint.replace("/admin/models", "")  # anybody may ask: no paths
        assert states(client) == {"de-fr": "live", "en-de": "live", "en-de-2": "live", "fr-en": "bad"}
        # the name that the directory has, whatever config.json says
        assert ask(client, "de", "fr").json()["model"]["name"] == "de-fr"
        metrics = client.get("/metrics").text
        for name in served(client):
            assert f'sub3_model_bytes{{config="full",model="{name}"}}' in metrics


def test_of_two_models_of_a_pair_the_first_by_name_answers_or_the_one_that_is_asked_for(folder: Path) -> None:
    with running(folder) as (_, client):
        assert answers(client, "en", "de") == "en-de"
        assert answers(client, "en", "de", model="en-de-2") == "en-de-2"
        first, second = (ask(client, "en", "de", model=name).json() for name in ("en-de", "en-de-2"))
        assert first["translations"] != second["translations"]
        headed = client.post(
            "/translate", json={"q": TEXT, "source": "en", "target": "de"}, headers={"X-Sub3-Model": "en-de-2"}
        )
        assert headed.headers["X-Sub3-Model"] == "en-de-2"
        assert headed.json()["translatedText"] == second["translations"][0]["text"]
        for model in ("de-fr", "none", "../en-de"):
            assert_refused(ask(client, "en", "de", model=model), 404, "en-de, en-de-2 can")
        client.put("/admin/models/en-de-2/configs/half")
        assert_refused(ask(client, "en", "de", config="half"), 404, "in en-de;")
        assert ask(client, "en", "de", config="half", model="en-de-2").json()["model"]["config"] == "half"


def test_models_come_and_go_and_every_list_follows(folder: Path) -> None:
    with running(folder, served_models="en-de") as (_, client):
        assert targets(client) == {"en": ["de"], "de": []}
        assert_refused(ask(client, "de", "fr"), 422, "en -> de.")
        assert states(client)["de-fr"] == "unloaded"

        reply = client.put("/admin/models/de-fr").json()
        assert (reply["result"], reply["active"], reply["saved"]) == ("ok", "full", True)
        assert {"source": "en", "target": "fr", "via": ["de"], "models": ["en-de", "de-fr"]} in reply["pairs"]
        assert client.put("/admin/models/de-fr").json()["result"] == "unchanged"
        assert answers(client, "de", "fr") == "de-fr"
        assert targets(client) == {"de": ["fr"], "fr": [], "en": ["de", "fr"]}
        assert {entry["language"] for entry in client.get("/v2/languages").json()} == {"EN", "DE"}
        assert {entry["language"] for entry in client.get("/v2/languages?type=target").json()} == {"DE", "FR"}
        assert client.get("/v1/models").json()["pairs"] == reply["pairs"]

        assert client.put("/admin/models/en-de-2", params={"config": "half"}).json()["active"] == "half"
        assert client.delete("/admin/models/en-de").json()["result"] == "ok"
        assert answers(client, "en", "de") == "en-de-2"
        assert_refused(client.get("/admin/models/en-de"), 404, "the models are de-fr, en-de-2")
        assert_refused(client.delete("/admin/models/en-de"), 404)
        client.delete("/admin/models/de-fr")
        assert targets(client) == {"en": ["de"], "de": []}
        assert_refused(client.delete("/admin/models/en-de-2"), 409, "only model")
        client.put("/admin/models/en-de")
        history = client.get("/admin/models/en-de").json()["history"]
        assert [(event["what"], event["before"], event["after"]) for event in history] == [
            ("remove", "full", ""),
            ("add", "", "full"),
        ]
        assert 'model="de-fr"' not in client.get("/metrics").text


@pytest.mark.parametrize(
    ("part", "name", "number"),
    [
        ("codes", "group_size", 1 << 40),
        ("", "length_penalty", 1e30),
        ("architecture", "max_positions", 1 << 20),
        ("architecture", "norm_epsilon", 1e-300),
    ],
)
def test_numbers_that_the_engine_would_refuse_are_told(folder: Path, part: str, name: str, number: float) -> None:
    config = json.loads((folder / "de-fr" / "config.json").read_text())
    (config[part] if part else config)[name] = number
    (folder / "de-fr" / "config.json").write_text(json.dumps(config))
    with running(folder, served_models="en-de") as (_, client):
        assert_refused(client.put("/admin/models/de-fr"), 422, name)
        assert served(client) == ["en-de"]


def test_what_cannot_be_added_changes_nothing(folder: Path) -> None:
    with running(folder, served_models="en-de") as (_, client):
        for name in ("none", "..", ".new", "en-de%2F..%2Fde-fr", "%2e%2e"):
            assert client.put(f"/admin/models/{name}").status_code == 404
        assert_refused(client.put("/admin/models/fr-en"), 422, "sha256")
        assert_refused(client.put("/admin/models/de-fr", params={"config": "huge"}), 422, "'huge'")
        assert client.put("/admin/models/de-fr", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert served(client) == ["en-de"]
        assert client.get("/health/ready").json() == {"status": "ready"}  # nobody wanted it to be served
    with running(folder, served_models="en-de", memory_limit_bytes=1) as (_, client):
        assert_refused(client.put("/admin/models/de-fr"), 507)
        assert served(client) == ["en-de"]


def test_a_directory_that_comes_later_is_added(folder: Path, made: Path) -> None:
    shutil.rmtree(folder / "de-fr")
    with running(folder) as (_, client):
        assert_refused(client.put("/admin/models/de-fr"), 404, "en-de, en-de-2, fr-en")
        shutil.copytree(made / "de-fr", folder / ".de-fr")
        (folder / ".de-fr").rename(folder / "de-fr")
        assert client.put("/admin/models/de-fr").json()["result"] == "ok"
        # a bad one that was mended, and one that is given up
        assert len(client.get("/health/ready").json()["complaints"]) == 1
        write_tiny_model(folder / ".fr-en", sources=("fr",), targets=("en",))
        shutil.rmtree(folder / "fr-en")
        (folder / ".fr-en").rename(folder / "fr-en")
        assert client.put("/admin/models/fr-en").json()["result"] == "ok"
        assert client.get("/health/ready").json() == {"status": "ready"}


def test_requests_in_flight_finish_on_a_model_that_goes(folder: Path) -> None:
    with running(folder) as (server, client):
        expected = ask(client, "de", "fr").json()["translations"]
        replies: list[httpx.Response] = []
        with held_steps() as gate:
            thread = threading.Thread(target=lambda: replies.append(ask(client, "de", "fr")))
            thread.start()
            gate.reached()
            with httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as other:
                assert other.delete("/admin/models/de-fr").json()["result"] == "ok"
                assert_refused(ask(other, "de", "fr"), 422, "not supported")
                assert other.put("/admin/models/de-fr").status_code == 200
                gate.open()
            thread.join(60)
        assert replies[0].json()["translations"] == expected


def test_no_request_fails_while_models_come_and_go(folder: Path) -> None:
    """Of a pair that another model translates as well."""
    with running(folder) as (server, client):
        expected = {name: ask(client, "en", "de", model=name).json()["translations"] for name in ("en-de", "en-de-2")}
        ended, seen = threading.Event(), set[str]()
        wrong: list[str] = []

        def keep_asking() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as own:
                while not ended.is_set():
                    reply = ask(own, "en", "de")
                    if reply.status_code != 200:
                        wrong.append(reply.text)
                        return
                    name = reply.json()["model"]["name"]
                    seen.add(name)
                    if reply.json()["translations"] != expected[name]:
                        wrong.append(name)

        threads = [threading.Thread(target=keep_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(15):
            assert client.delete("/admin/models/en-de").status_code == 200
            assert client.put("/admin/models/en-de").status_code == 200
        ended.set()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert seen == {"en-de", "en-de-2"}


def test_what_was_added_and_removed_survives_a_restart(folder: Path, tmp_path: Path) -> None:
    state = {"state_file": tmp_path / "desired.json", "served_models": "en-de,en-de-2"}
    with running(folder, **state) as (_, client):
        client.put("/admin/models/de-fr")
        client.put("/admin/models/de-fr/config", json={"config": "half"})
        client.delete("/admin/models/en-de")
    with running(folder, **state) as (_, client):
        assert served(client) == ["de-fr", "en-de-2"]
        assert ask(client, "de", "fr").json()["model"]["config"] == "half"
        client.delete("/admin/models/en-de-2")
    shutil.rmtree(folder / "de-fr")  # what is left was removed once, but something must answer
    with running(folder, **state) as (_, client):
        assert served(client) == ["en-de", "en-de-2"]
        assert "de-fr is not served" not in client.get("/health/ready").text


def test_a_server_of_one_directory_takes_no_other(folder: Path) -> None:
    settings = Settings(model_directory=folder / "en-de", models_directory=folder, threads=1, admin_token=TOKEN)
    with serve(settings) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        assert served(client) == ["tiny"]  # the name in config.json, as ever
        assert_refused(client.put("/admin/models/de-fr"), 404, "the models are tiny")
        assert states(client) == {"tiny": "live"}


def test_a_start_without_a_good_model_is_refused(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for settings, sentence in (
        (Settings(models_directory=empty), "no model directory in it"),
        (Settings(models_directory=tmp_path / "none"), "can't be listed"),
        (Settings(models_directory=folder, served_models="fr-en"), "sha256"),
        (Settings(models_directory=folder, served_models="absent"), "the models are de-fr, en-de, en-de-2, fr-en"),
    ):
        with pytest.raises(ModelError, match=sentence):
            create_app(settings)
    with pytest.raises(UnavailableConfiguration, match="huge"):
        create_app(Settings(models_directory=folder, configuration="huge"))


def test_configurations_beside_the_active_one_are_live_from_the_start(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "desired.json"
    with running(folder, loaded_configurations="half, full,huge", state_file=state) as (_, client):
        model = client.get("/v1/models").json()["models"][0]
        assert (model["active"], sorted(model["live"])) == ("full", ["full", "half"])
        assert ask(client, "en", "de", config="half").json()["model"]["config"] == "half"
        assert client.delete("/admin/models/en-de/configs/half").status_code == 200
    with running(folder, loaded_configurations="half", state_file=state) as (_, client):
        assert_refused(ask(client, "en", "de", config="half"), 404, "half")  # what an administrator did comes first
        assert ask(client, "de", "fr", config="half").json()["model"]["config"] == "half"


def test_a_model_whose_weights_fail_at_start_is_left_out(folder: Path, tmp_path: Path) -> None:
    write_tiny_model(folder / "de-en", norm_gain=3e38, sources=("de",), targets=("en",))
    state = tmp_path / "desired.json"
    with running(folder, configuration="half", state_file=state) as (_, client):
        assert served(client) == ["de-fr", "en-de", "en-de-2"]
        assert len(client.get("/health/ready").json()["complaints"]) == 2
        assert ask(client, "de", "fr").json()["model"]["config"] == "half"
        assert client.delete("/admin/models/de-en").json()["result"] == "unchanged"  # it is given up
        assert len(client.get("/health/ready").json()["complaints"]) == 1
        client.delete("/admin/models/fr-en")
    with running(folder, state_file=state) as (_, client):
        assert client.get("/health/ready").json() == {"status": "ready"}


def test_triton_s_repository_agrees(folder: Path) -> None:
    with (
        running(folder, served_models="en-de") as (server, client),
        triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60) as repository,
    ):

        def index() -> dict[tuple[str, str], str]:
            entries = repository.get_model_repository_index(headers=AUTHORIZED)
            return {(entry["name"], entry["version"]): entry["state"] for entry in entries}

        assert index()["de-fr", ""] == index()["fr-en", ""] == "UNAVAILABLE"
        repository.load_model("de-fr", headers=AUTHORIZED)
        assert repository.is_model_ready("de-fr")
        assert index()["de-fr", "full"] == "READY"
        assert served(client) == ["de-fr", "en-de"]
        repository.load_model("en-de-2", headers=AUTHORIZED, config="half")
        assert repository.get_model_metadata("en-de-2")["versions"] == ["full", "half"]
        repository.unload_model("en-de", headers=AUTHORIZED)
        repository.unload_model("de-fr", headers=AUTHORIZED)
        assert not repository.is_model_ready("de-fr")
        assert served(client) == ["en-de-2"]
        with pytest.raises(triton.InferenceServerException, match="only model"):
            repository.unload_model("en-de-2", headers=AUTHORIZED)
        assert repository.get_model_metadata("en-de-2")["versions"] == ["full", "half"]
        with pytest.raises(triton.InferenceServerException, match="sha256"):
            repository.load_model("fr-en", headers=AUTHORIZED)


def test_replicas_add_and_remove_together(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    shared = {"redis_url": SecretStr(redis.url)}
    try:
        with running(folder, **shared, served_models="en-de") as (_, first), running(folder, **shared) as (_, second):
            assert served(second) == ["de-fr", "en-de", "en-de-2"]
            first.put("/admin/models/de-fr")  # which the second serves already
            first.put("/admin/models/en-de-2", params={"config": "half"})
            until_metric(second, 'sub3_model_bytes{config="half",model="en-de-2"} ' + figure(first, "half", "en-de-2"))
            second.delete("/admin/models/de-fr")
            until_served(first, ["en-de", "en-de-2"])
            first.delete("/admin/models/en-de")
            until_served(second, ["en-de-2"])
            (event,) = second.get("/admin/models/en-de-2").json()["history"]
            assert (event["who"], event["what"], event["after"]) == ("replica", "follow", "half")
            redis.stop()
            assert not first.put("/admin/models/de-fr").json()["saved"]
            redis.start()
            until_served(second, ["de-fr", "en-de-2"])
        with running(folder, **shared) as (_, third):
            assert served(third) == ["de-fr", "en-de-2"]
    finally:
        redis.stop()


def figure(client: httpx.Client, config: str, model: str) -> str:
    """Return the value of sub3_model_bytes, as /metrics writes it."""
    start = f'sub3_model_bytes{{config="{config}",model="{model}"}} '
    return next(line for line in client.get("/metrics").text.splitlines() if line.startswith(start)).split()[1]


def until_served(client: httpx.Client, names: list[str]) -> None:
    for _ in range(20_000):
        if served(client) == names:
            return
    raise AssertionError(f"{names} never were served; {served(client)} are")
