"""What surrounds a swap: policies and memory, canaries, who did what, and what outlives the process."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.admin_schemas import AdminModelReply, ConfigReply
from service.live.memory import limit_bytes
from service.settings import Settings
from tests.service.running import AUTHORIZED, TOKEN, assert_refused, serve, texts_of, translate, until_metric

MODEL = "/admin/models/tiny"
TEXT = "A big tree sees the river."
OTHER_TOKEN = "another-token-of-the-tests"


def swap(client: httpx.Client, **body: Any) -> ConfigReply:
    reply = client.put(f"{MODEL}/config", json=body)
    assert reply.status_code == 200, reply.text
    return ConfigReply.model_validate_json(reply.content)


def shown(client: httpx.Client) -> AdminModelReply:
    return AdminModelReply.model_validate_json(client.get(MODEL).content)


def roles(reply: ConfigReply | AdminModelReply) -> dict[str, str]:
    return {live.config: live.role for live in reply.live}


def config_of(client: httpx.Client, **fields: Any) -> str:
    reply = translate(client, TEXT, **fields)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["model"]["config"])


# --- configurations beside the active one ---------------------------------------------------------------------------


def test_configurations_are_loaded_and_unloaded_beside_the_active_one(admin: httpx.Client) -> None:
    assert_refused(translate(admin, TEXT, config="half"), 404, "full")
    loaded = ConfigReply.model_validate_json(admin.put(f"{MODEL}/configs/half").content)
    assert roles(loaded) == {"full": "active", "half": "loaded"}
    assert config_of(admin, config="half") == "half"
    assert config_of(admin) == "full"
    assert roles(swap(admin, config="half")) == {"half": "active"}
    assert_refused(admin.delete(f"{MODEL}/configs/half"), 409, "answers requests")
    assert roles(swap(admin, config="narrow")) == {"narrow": "active", "half": "loaded"}
    unloaded = ConfigReply.model_validate_json(admin.delete(f"{MODEL}/configs/half").content)
    assert roles(unloaded) == {"narrow": "active"}
    assert_refused(admin.delete(f"{MODEL}/configs/half"), 422, "not loaded", "narrow")
    assert_refused(admin.put(f"{MODEL}/configs/huge"), 422, "huge")
    assert_refused(translate(admin, TEXT, config="half"), 404, "live are narrow")


def test_the_same_again_is_unchanged(admin: httpx.Client) -> None:
    assert swap(admin, config="half").result == "ok"
    again = swap(admin, config="half", policy="resource")
    assert again.result == "unchanged"
    assert (again.before, again.bytes_before) == (again.after, again.bytes_after)
    assert [event.result for event in shown(admin).history] == ["ok", "unchanged"]
    until_metric(admin, 'sub3_swaps_total{result="unchanged"} 1.0')
    until_metric(admin, "sub3_swap_seconds_count 1.0")


@pytest.mark.parametrize("policy", ["availability", "resource"])
def test_both_policies_swap(admin: httpx.Client, policy: str) -> None:
    reply = swap(admin, config="half", policy=policy)
    assert roles(reply) == {"half": "active"}
    assert reply.rss_bytes_before > 0
    assert reply.rss_bytes_after > 0
    assert config_of(admin) == "half"
    assert_refused(admin.put(f"{MODEL}/config", json={"config": "full", "policy": "hope"}), 422, "policy")


def test_what_does_not_fit_is_507_and_changes_nothing(tiny_model: Path) -> None:
    settings = Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN, memory_limit_bytes=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        refused = client.put(f"{MODEL}/config", json={"config": "half"})
        assert_refused(refused, 507, "half", "may have 1;", 'policy "resource"')
        assert_refused(client.put(f"{MODEL}/configs/half"), 507, "unload")
        assert config_of(client) == "full"
        assert shown(client).memory.limit_bytes == 1
        assert [event.result for event in shown(client).history] == ["refused", "refused"]


def test_the_limit_is_the_smallest_that_there_is(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroups"
    (proc / "self").mkdir(parents=True)
    (cgroups / "outer/inner").mkdir(parents=True)
    assert limit_bytes(None, cgroups, proc) is None
    (proc / "self/cgroup").write_text("0::/outer/inner\n")
    assert limit_bytes(5, cgroups, proc) == 5
    (cgroups / "outer/inner/memory.max").write_text("max\n")
    (cgroups / "outer/memory.max").write_text("700\n")
    assert limit_bytes(None, cgroups, proc) == 700
    assert limit_bytes(900, cgroups, proc) == 700
    (proc / "self/cgroup").write_text("4:cpu:/x\n3:memory:/outer\n")
    (cgroups / "memory/outer").mkdir(parents=True)
    (cgroups / "memory/outer/memory.limit_in_bytes").write_text("800\n")
    assert limit_bytes(None, cgroups, proc) == 800
    (cgroups / "memory/outer/memory.limit_in_bytes").write_text("9223372036854771712\n")  # what stands for none
    assert limit_bytes(None, cgroups, proc) is None


# --- canaries -------------------------------------------------------------------------------------------------------


def test_a_canary_takes_its_share_and_is_reported_and_promoted(admin: httpx.Client) -> None:
    reply = swap(admin, config="clusters", canary_percent=25)
    assert roles(reply) == {"full": "active", "clusters": "canary"}
    answered = [config_of(admin) for _ in range(40)]
    assert answered.count("clusters") == 10
    assert config_of(admin, config="full") == "full"  # pinned: in no side's count
    report = shown(admin).canary
    assert report is not None
    assert (report.active.config, report.active.requests) == ("full", 30)
    assert (report.canary.config, report.canary.requests) == ("clusters", 10)
    for side in (report.active, report.canary):
        assert side.mean_ms is not None
        assert side.p95_ms is not None
        assert side.mean_ms > 0
        assert side.p95_ms > 0
        assert side.peak_request_bytes > 0
    assert report.canary.model_bytes < report.active.model_bytes

    promoted = ConfigReply.model_validate_json(admin.post(f"{MODEL}/promote").content)
    assert roles(promoted) == {"clusters": "active"}
    assert shown(admin).canary is None
    assert config_of(admin) == "clusters"
    assert_refused(admin.post(f"{MODEL}/promote"), 409, "no canary")


@pytest.mark.parametrize(("canary", "agreement"), [("narrow", 0.0), ("custom", 1.0)])
def test_agreement_is_of_texts_that_both_sides_translate(admin: httpx.Client, canary: str, agreement: float) -> None:
    # explicit planes that are those of `full` by another name agree in every text; one plane of random codes in none
    body = {"planes": {"embedding": 4}} if canary == "custom" else {"config": canary}
    swap(admin, **body, canary_percent=10)
    for _ in range(30):
        texts_of(translate(admin, [TEXT, "The old house."]))
    for _ in range(20_000):
        report = shown(admin).canary
        assert report is not None
        if report.texts_compared == 6:  # three requests of two texts; at 10 % each is compared
            break
    assert report.texts_compared == 6
    assert report.agreement == agreement
    assert report.texts_equal == 6 * agreement


def test_a_canary_is_rolled_back_and_stands_in_the_way_of_swaps(admin: httpx.Client) -> None:
    swap(admin, config="half", canary_percent=50)
    assert_refused(admin.put(f"{MODEL}/config", json={"config": "narrow"}), 409, "half", "promote")
    assert_refused(admin.put(f"{MODEL}/config", json={"config": "narrow", "canary_percent": 5}), 409, "half")
    assert_refused(admin.delete(f"{MODEL}/configs/half"), 409)
    swap(admin, config="half", canary_percent=100)  # another share of the same one
    assert {config_of(admin) for _ in range(5)} == {"half"}
    rolled_back = ConfigReply.model_validate_json(admin.post(f"{MODEL}/rollback").content)
    assert roles(rolled_back) == {"full": "active"}
    assert {config_of(admin) for _ in range(5)} == {"full"}
    assert_refused(admin.post(f"{MODEL}/rollback"), 409, "no canary")
    assert_refused(admin.put(f"{MODEL}/config", json={"config": "full", "canary_percent": 5}), 409, "already")
    for percent in (0, -1, 101, "5"):
        body = {"config": "half", "canary_percent": percent}
        assert_refused(admin.put(f"{MODEL}/config", json=body), 422, "canary_percent")


# --- history and events ---------------------------------------------------------------------------------------------


@pytest.fixture
def two_admins(tiny_model: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run a server with a token in a file and another one by name; the client has the other one."""
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    settings = Settings(
        model_directory=tiny_model, threads=1, admin_token_file=secret, admin_tokens=f"release-bot:{OTHER_TOKEN}"
    )
    with (
        serve(settings) as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {OTHER_TOKEN}"}, timeout=60) as client,
    ):
        yield client


def test_the_history_says_who_did_what(two_admins: httpx.Client) -> None:
    swap(two_admins, config="half")
    two_admins.put(f"{MODEL}/config", json={"config": "huge"}, headers=AUTHORIZED)
    two_admins.put(f"{MODEL}/configs/narrow", headers=AUTHORIZED)
    first, second, third = shown(two_admins).history
    assert (first.who, first.what, first.result, first.before, first.after) == (
        "release-bot",
        "swap",
        "ok",
        "full",
        "half",
    )
    assert first.milliseconds > 0
    assert (second.who, second.result, second.before, second.after) == ("admin", "refused", "half", "half")
    assert "huge" in (second.detail or "")
    assert (third.who, third.what, third.result) == ("admin", "load", "ok")
    assert first.id < second.id < third.id


def test_events_are_streamed_and_replayed(two_admins: httpx.Client) -> None:
    swap(two_admins, config="half")
    first = shown(two_admins).history[0].id
    lines: list[str] = []
    with two_admins.stream("GET", f"{MODEL}/events", headers={"Last-Event-ID": str(first - 1)}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            lines.append(line)
            if line.startswith("data:") and '"half"' in line and len(lines) < 9:
                with httpx.Client(base_url=two_admins.base_url, headers=AUTHORIZED, timeout=60) as other:
                    swap(other, config="narrow")
            if line.startswith("data:") and '"narrow"' in line:
                break
    ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id:")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data:")]
    assert ids == [first, first + 1]
    assert [(event["who"], event["after"]) for event in events] == [("release-bot", "half"), ("admin", "narrow")]
    assert_refused(two_admins.get("/admin/models/other/events"), 404)
    assert_refused(two_admins.get(f"{MODEL}/events", headers={"Last-Event-ID": "x"}), 422)


def test_streams_of_events_are_few(two_admins: httpx.Client) -> None:
    opened, close = threading.Semaphore(0), threading.Event()

    def follow() -> None:
        with (
            httpx.Client(base_url=two_admins.base_url, headers=AUTHORIZED, timeout=60) as client,
            client.stream("GET", f"{MODEL}/events") as stream,
        ):
            lines = stream.iter_lines()  # kept: httpx closes the stream with its iterator
            next(lines)
            opened.release()
            close.wait(60)

    threads = [threading.Thread(target=follow) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert opened.acquire(timeout=60)
        refused = two_admins.get(f"{MODEL}/events")
        assert_refused(refused, 429, "16")
    finally:
        close.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "tokens",
    ["short:abc", "no-colon-but-long-enough", f"a:{TOKEN},a:{OTHER_TOKEN}", f"admin:{TOKEN}", f" :{TOKEN}"],
)
def test_bad_lists_of_tokens_are_refused(tiny_model: Path, tokens: str) -> None:
    with pytest.raises(ValueError, match="SUB3_ADMIN_TOKENS"):
        Settings(model_directory=tiny_model, admin_token=TOKEN, admin_tokens=tokens)


# --- what outlives the process --------------------------------------------------------------------------------------


@pytest.fixture
def kept(tiny_model: Path, tmp_path: Path) -> Settings:
    """Make settings whose desired state outlives a server."""
    state = tmp_path / "state" / "desired.json"
    return Settings(model_directory=tiny_model, threads=1, admin_token=TOKEN, state_file=state)


def test_the_desired_state_survives_a_restart(kept: Settings) -> None:
    with serve(kept) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        custom = swap(client, planes={"embedding": 2}).after.config
        client.put(f"{MODEL}/configs/narrow")
        assert swap(client, config="half", canary_percent=50).saved
        before = roles(shown(client))
        text = texts_of(translate(client, TEXT, config=custom))
    with serve(kept) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        assert roles(shown(client)) == before == {custom: "active", "narrow": "loaded", "half": "canary"}
        assert texts_of(translate(client, TEXT, config=custom)) == text
        assert sorted(config_of(client) for _ in range(4)) == [custom, custom, "half", "half"]
        assert [(event.who, event.what) for event in shown(client).history] == [("start", "restore")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"models": []}',
        b'{"models": {}, "more": 1}',
        b'{"models": {"tiny": {"generation": -1, "desired": {}}}}',
        b'{"models": {"tiny": {"generation": 1, "desired": {}}}}',
        b'{"models": {"other": 5, "tiny": 5}}',
        b'{"models": {"tiny": {"generation": 1, "desired": {"active": {"config": "huge", "allocation": null}, '
        b'"loaded": [], "canary": null, "canary_percent": 0}}}}',
        b"\xff" * 10,
        b" " * (2 << 20),
    ],
    ids=lambda content: str(content[:60]),
)
def test_a_bad_state_is_refused_whole_with_a_line_in_the_log(
    kept: Settings, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept.state_file is not None
    kept.state_file.parent.mkdir()
    kept.state_file.write_bytes(content)
    with serve(kept) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        assert roles(shown(client)) == {"full": "active"}
        (record,) = [record for record in caplog.records if record.name == "sub3.swaps"]
        assert record.levelname == "ERROR"
        assert "default is served" in record.getMessage()
        assert swap(client, config="half").saved
    with serve(kept) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        assert roles(shown(client)) == {"half": "active"}


def test_a_state_that_cannot_be_written_is_said(kept: Settings, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    with serve(kept) as server, httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        reply = swap(client, config="half")
        assert (reply.result, reply.saved) == ("ok", False)
        assert config_of(client) == "half"
        assert not shown(client).saved
        until_metric(client, "sub3_state_store_up 0.0")
        (tmp_path / "state").unlink()
        assert swap(client, config="narrow").saved
        until_metric(client, "sub3_state_store_up 1.0")
