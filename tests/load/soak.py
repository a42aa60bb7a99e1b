"""`make soak`: an hour of mixed load on a server while its Redis, its disk and its clock fail in turn, and SIGTERM.

Texts, streams, files and glossaries are checked against engines apart from the server; other clients leave, cancel and
attack; two administrators swap. What a limit refuses is counted apart, as is what a fault explains while it lasts.
After each round of faults all clients pause, and the memory of the same configuration at rest is read: what the
process has allocated. Pages of the weights' files are the system's, and private only while nobody else has them.
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import secrets
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.accounts.keys import new_key
from service.stores.redis import RedisKeys
from tests.bench.bench import machine
from tests.load.figures import RESULTS
from tests.load.processes import MODEL, Server, ours, placements
from tests.load.swap import TEXTS
from tests.load.swapping import offline_answers
from tests.service.redis_server import RedisServer

FAULT_S, PAUSE_S, AFTER_S = 8.0, 12.0, 15.0  # how long one lasts, until the next, and how long it may be felt
GROWTH = 0.02
DRAIN_S = 5
DISK_BYTES = 24 << 20
DAY_S = 86_400.0
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Account:
    """What all clients saw. A failure is a sentence; what was refused is counted by its reason."""

    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, reason: str | None = None) -> None:
        """Count a good answer, or a refusal."""
        with self.lock:
            if reason is None:
                self.answered[what] += 1
            else:
                self.refused[f"{what}: {reason}"] += 1

    def fail(self, what: str, sentence: str) -> None:
        """Keep what should not have been."""
        with self.lock:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}: {sentence[:500]}")


class Faults:
    """Faults in turn, and which of them may be felt now."""

    def __init__(self, redis: RedisServer, disk: Path | None, clock: Path) -> None:
        """Know what can be broken; a disk of None is left alone."""
        self._redis, self._disk, self._clock = redis, disk, clock
        self._felt_until: dict[str, float] = {}
        self.done: Counter[str] = Counter()

    def explains(self, status: int, since: float) -> bool:
        """Tell whether a status may be a fault's doing that was felt since then."""
        kind = {503: "redis", 507: "disk"}.get(status)
        return kind is not None and self._felt_until.get(kind, 0.0) >= since

    def run(self, stop: threading.Event, after_a_round: Callable[[], None]) -> None:
        """Break one thing after the other until told to stop."""
        kinds: list[tuple[str, Callable[[threading.Event], None]]] = [("redis", self._without_redis)]
        kinds += [("disk", self._without_room)] if self._disk else []
        kinds += [("clock", self._another_day)]
        while not stop.wait(PAUSE_S):
            turn = sum(self.done.values()) % len(kinds)
            kind, broken = kinds[turn]
            self._felt_until[kind] = float("inf")
            broken(stop)
            self._felt_until[kind] = time.monotonic() + AFTER_S
            self.done[kind] += 1
            if turn == len(kinds) - 1:
                after_a_round()

    def _without_redis(self, stop: threading.Event) -> None:
        self._redis.stop()
        stop.wait(FAULT_S)
        self._redis.start()

    def _without_room(self, stop: threading.Event) -> None:
        assert self._disk is not None
        filler = self._disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        stop.wait(FAULT_S)
        filler.unlink()

    def _another_day(self, stop: threading.Event) -> None:
        for days in (40, -40, 0):
            move(self._clock, days)
            stop.wait(FAULT_S / 2)


class Gate:
    """Lets clients take their steps, or holds them back so that the server rests."""

    def __init__(self) -> None:
        """Begin open."""
        self._changed = threading.Condition()
        self._is_open, self._inside = True, 0

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Begin the block when the gate is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_open)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Begin the block when no client is within a step, and let none begin before its end."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._is_open = True
                self._changed.notify_all()


@dataclass
class Clients:
    """The clients of one server; each method is one step of one client."""

    url: str
    keys: dict[str, str]
    tokens: Sequence[str]
    answers: dict[str, list[str]]
    account: Account
    faults: Faults
    chance: random.Random = field(default_factory=lambda: random.Random(24))
    hostile_files: list[str] = field(default_factory=list)  # ids of those that were taken
    closes_at: float = float("inf")  # of time.monotonic: the end of the drain, up to which requests are taken

    def text(self, client: httpx.Client, kind: str = "text") -> None:
        """Translate a text; the configuration that answered says what is right."""
        chosen = self.chance.randrange(len(TEXTS))
        reply = self._asked(kind, client, "POST", "/v1/translate", json=_body(TEXTS[chosen]))
        if reply is not None:
            name, said = reply.headers["X-Sub3-Config"], reply.json()["translations"][0]["text"]
            self._judge(kind, said, {self.answers[name][chosen]})

    def hurried(self, client: httpx.Client) -> None:
        """Translate by a key with a limit of requests."""
        self.text(client, "hurried")

    def stream(self, client: httpx.Client) -> None:
        """Translate with events."""
        chosen = self.chance.randrange(len(TEXTS))
        reply = self._asked("stream", client, "POST", "/v1/translate/stream", json=_body(TEXTS[chosen]))
        if reply is not None:
            done = json.loads(reply.text.rpartition("event: done\ndata: ")[2] or "{}")
            said = done["translations"][0]["text"] if done else reply.text
            self._judge("stream", said, {self.answers[done["model"]["config"]][chosen]} if done else set())

    def file(self, client: httpx.Client) -> None:
        """Translate a file of many lines, fetch it, forget it; each line may be any configuration's."""
        lines = self.chance.choices(range(len(TEXTS)), k=20)
        data = "\n".join(TEXTS[line] for line in lines).encode() + b" " * self.chance.choice((0, 2_000_000))
        since = time.monotonic()
        sent = self._asked("file", client, "POST", "/v1/files", files={"file": ("a.txt", data)}, data=_PAIR)
        if sent is None:
            return
        job = sent.json()["id"]
        followed = self._asked("file", client, "GET", f"/v1/files/{job}/events")
        last = json.loads(followed.text.rpartition("data: ")[2]) if followed is not None else {"status": "lost"}
        if last["status"] == "failed" and "no room" in last["error"] and self.faults.explains(507, since):
            self.account.count("file", "507")
        elif last["status"] != "done" and time.monotonic() > self.closes_at:
            self.account.count("file", "it took longer than the shutdown")
            return
        elif last["status"] != "done":
            self.account.fail("file", str(last))
        elif (fetched := self._asked("file", client, "GET", f"/v1/files/{job}/result")) is not None:
            said = fetched.text.rstrip(" ").split("\n")
            wrong = [
                line
                for line, number in zip(said, lines, strict=True)
                if line not in {made[number] for made in self.answers.values()}
            ]
            self._judge("file", str(wrong), {"[]"})
        self._asked("file", client, "DELETE", f"/v1/files/{job}")

    def glossary(self, client: httpx.Client) -> None:
        """Make a glossary, translate with it, delete it."""
        made = {"name": "soak", "source": "en", "target": "de", "entries": {"coffee": "Mokka"}}
        created = self._asked("glossary", client, "POST", "/v1/glossaries", json=made)
        if created is None:
            return
        wanted = created.json()["id"]
        reply = self._asked("glossary", client, "POST", "/v1/translate", json=_body(TEXTS[0], glossary=wanted))
        if reply is not None:
            text = reply.json()["translations"][0]["text"]
            self._judge("glossary", "Mokka" if "Mokka" in text else text, {"Mokka"})
        self._asked("glossary", client, "DELETE", f"/v1/glossaries/{wanted}")

    def leaver(self, client: httpx.Client) -> None:
        """Leave before the reply, or cancel a file half-way."""
        if self.chance.random() < 0.5:
            with contextlib.suppress(httpx.TimeoutException):
                client.post("/v1/translate", json=_body(" ".join(TEXTS * 4)), timeout=self.chance.random() / 5)
            self.account.count("left")
        else:
            data = "\n".join(TEXTS * 50).encode()
            sent = self._asked("cancelled", client, "POST", "/v1/files", files={"file": ("a.txt", data)}, data=_PAIR)
            if sent is not None:
                self._asked("cancelled", client, "DELETE", f"/v1/files/{sent.json()['id']}")

    def attacker(self, client: httpx.Client) -> None:
        """Send what must be refused; the reply is a 4xx, or 503 for a share that is used up."""
        name, data = self.chance.choice(_HOSTILE_FILES)
        attacks: list[tuple[int, dict[str, Any]]] = [
            (422, {"url": "/v1/translate", "json": _body("x" * 11_000)}),
            (422, {"url": "/v1/translate", "json": _body("x", beam_size=99)}),
            (400, {"url": "/v1/translate", "content": b"{" * 5000, "headers": _JSON}),
            (413, {"url": "/v1/translate", "content": b" " * (2 << 20), "headers": _JSON}),
            (400, {"url": "/v1/translate", "content": (b"a" for _ in range(3000)), "headers": _JSON}),
            (403, {"url": "/v1/translate", "json": _body("x"), "headers": {"X-Api-Key": "a.b"}}),
            (404, {"url": "/v1/files/none/result", "method": "GET"}),
            (202, {"url": "/v1/files", "files": {"file": (name, data)}, "data": _PAIR}),
        ]
        wanted, request = self.chance.choice(attacks)
        since = time.monotonic()
        with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # cut off in mid-body
            reply = client.request(**{"method": "POST", **request})
            if reply.status_code not in (wanted, 429) and not self.faults.explains(reply.status_code, since):
                self.account.fail("attack", f"{request['url']}: {reply.status_code} {reply.text}")
            if reply.status_code == 202:
                self.hostile_files.append(reply.json()["id"])
        self.account.count("attack")

    def administrator(self, client: httpx.Client) -> None:
        """Swap, try a canary out, end it; two of these get into each other's way (409)."""
        place = f"/admin/models/{MODEL.name}"
        body = {"config": self.chance.choice(list(self.answers)), "policy": self.chance.choice(_POLICIES)}
        kind = self.chance.random()
        if kind < 0.6:
            self._asked("swap", client, "PUT", f"{place}/config", json=body)
        elif kind < 0.8:
            self._asked("canary", client, "PUT", f"{place}/config", json={**body, "canary_percent": 30})
        else:
            self._asked("canary", client, "POST", f"{place}/{self.chance.choice(('promote', 'rollback'))}")

    def settle(self, client: httpx.Client) -> None:
        """Take the server to the same state each time: no canary, one configuration just mapped, no file at work."""
        while self.hostile_files:
            client.delete(
                f"/v1/files/{self.hostile_files.pop()}", headers={"Authorization": f"Bearer {self.keys['attacker']}"}
            )
        place = f"/admin/models/{MODEL.name}"
        for path, body in (("rollback", None), ("config", "best-1"), ("config", "best-2")):
            method, json_body = ("PUT", {"config": body}) if body else ("POST", None)
            reply = client.request(method, f"{place}/{path}", json=json_body)
            if body and not reply.is_success:
                self.account.fail("settle", f"{body}: {reply.status_code} {reply.text}")

    def _asked(self, what: str, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response | None:
        since = time.monotonic()
        try:
            reply = client.request(method, path, **options)
        except httpx.HTTPError as error:
            is_cut_off = path.endswith("/events") and time.monotonic() > self.closes_at
            if since < self.closes_at and not is_cut_off:
                self.account.fail(what, f"{type(error).__name__}: {error}")
            return None
        if reply.is_success:
            if what in ("swap", "canary"):
                self.account.count(what)
            return reply
        in_the_way = what in ("swap", "canary") and reply.status_code in (409, 422) and "canary" in reply.text.lower()
        other_swap = what in ("swap", "canary") and reply.status_code == 409
        other_swap |= (
            "swap_took_too_long" in reply.text
        )  # of the policy resource, where requests took longer than it may
        if reply.status_code == 429 or in_the_way or other_swap or self.faults.explains(reply.status_code, since):
            self.account.count(what, str(reply.status_code))
        else:
            self.account.fail(what, f"{method} {path}: {reply.status_code} {reply.text}")
        return None

    def _judge(self, what: str, said: str, right: set[str]) -> None:
        if said in right:
            self.account.count(what)
        else:
            self.account.fail(what, f"{said!r} is not {right!r}")


_PAIR = {"source": "en", "target": "de"}
_JSON = {"Content-Type": "application/json"}
_POLICIES = ("availability", "resource")
_HOSTILE_FILES = [
    ("a.md", b"a " + b"<!--" * 40_000),
    ("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\n" + b"1" * 200_000),
    ("a.docx", b"PK\x03\x04" + b"\0" * 1000),
    ("a.html", b"<p>" + b"<a>" * 100_000),
    ("a.po", b'msgid "' + b'\\"' * 100_000),
]


def _body(text: str, **more: object) -> dict[str, object]:
    return {"text": text, **_PAIR, **more}


def move(clock: Path, days: float) -> None:
    """Set the clock of a server off by so many days; see moved_clock.c."""
    with clock.open("r+b") as file:
        file.write(struct.pack("d", days * DAY_S))


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path | None]:
    """Mount a small disk in memory; None where this user may not."""
    place.mkdir()
    options = f"size={DISK_BYTES}".encode()
    if LIBC.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, options) != 0:
        yield None
        return
    try:
        yield place
    finally:
        LIBC.umount2(str(place).encode(), 2)  # MNT_DETACH


def run(seconds: float, work: Path) -> dict[str, object]:
    """Run the load and the faults for so long, and return the report."""
    redis = RedisServer(work)
    redis.start()
    keys, store = {}, RedisKeys(redis.url, None)
    for name in ("text", "hurried", "stream", "file", "glossary", "leaver", "attacker"):
        keys[name], record = new_key(name, 120 if name == "hurried" else None, None)
        store.add(record)
    tokens = [secrets.token_hex(16) for _ in range(2)]
    answers = offline_answers(MODEL, TEXTS)
    clock, library = work / "clock", work / "moved_clock.so"
    clock.write_bytes(bytes(8))
    source = Path(__file__).with_name("moved_clock.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    with small_disk(work / "disk") as disk:
        settings = {
            "SUB3_API_KEYS": "true",
            "SUB3_REDIS_URL": redis.url,
            "SUB3_ADMIN_TOKENS": f"anna:{tokens[0]},ben:{tokens[1]}",
            "SUB3_DRAIN_SECONDS": str(DRAIN_S),
            "SUB3_REQUEST_TIMEOUT_MS": "120000",
            "TMPDIR": str(disk or work),
            "LD_PRELOAD": str(library),
            "MOVED_CLOCK": str(clock),
        }
        faults = Faults(redis, disk, clock)
        with ours("best-2", placements()["shared"], settings) as server:
            clients = Clients(server.url, keys, tokens, answers, Account(), faults)
            memory, exit_status = _under_load(server, clients, seconds)
    redis.stop()
    account = clients.account
    growth = _growth(memory.at_rest["anonymous"])
    return {
        "passed": not account.failures and growth is not None and abs(growth) <= GROWTH and exit_status == 0,
        "command": f"make soak MINUTES={seconds / 60:g}",
        "machine": machine(),
        "seconds": seconds,
        "answered": dict(sorted(account.answered.items())),
        "refused": dict(sorted(account.refused.items())),
        "wrong_or_failed": len(account.failures),
        "failures": account.failures[:50],
        "faults": dict(faults.done),
        "exit_status_after_sigterm": exit_status,
        "growth_at_rest_from_second_to_last_quarter": growth,
        **{f"{kind}_mb_at_rest": [round(value / 1e6, 2) for value in read] for kind, read in memory.at_rest.items()},
        "anonymous_mb_under_load": [round(value / 1e6, 1) for value in memory.busy[:: max(1, len(memory.busy) // 60)]],
        "growth_under_load_from_second_to_last_quarter": _growth(memory.busy),
    }


def _growth(values: Sequence[int]) -> float | None:
    """Compare the medians of the second and the last quarter; None if there are too few values."""
    if len(values) < 8:
        return None
    early, late = values[len(values) // 4 : len(values) // 2], values[3 * len(values) // 4 :]
    return round(statistics.median(late) / statistics.median(early) - 1, 4)


@dataclass
class Memory:
    """Bytes that the server has allocated: every five seconds under load, and after each round of faults at rest.

    At rest those that are private are read, too: with them are pages of files that nobody else has mapped.
    """

    server: Server
    busy: list[int] = field(default_factory=list)
    at_rest: dict[str, list[int]] = field(default_factory=lambda: {"anonymous": [], "private": []})

    def now(self, kind: str = "anonymous") -> int:
        """Return the bytes now."""
        return self.server.memory().get(f"{kind}_bytes", 0)

    def rest(self) -> None:
        """Wait until the server has given back what it frees when it idles, and note what is left."""
        before, now = 0, self.now()
        for _ in range(15):
            time.sleep(2)
            before, now = now, self.now()
            if abs(now - before) < 1 << 16:
                break
        for kind, read in self.at_rest.items():
            read.append(self.now(kind))


def _under_load(server: Server, clients: Clients, seconds: float) -> tuple[Memory, int | None]:
    """Return the memory and the exit status; SIGTERM comes while the load goes on."""
    stop, memory, gate = threading.Event(), Memory(server), Gate()

    def go_on(name: str, headers: dict[str, str], pause_s: float) -> None:
        step = getattr(clients, name)
        with httpx.Client(base_url=server.url, headers=headers, timeout=180) as client:
            while not stop.is_set():
                try:
                    with gate.step():
                        step(client)
                except Exception as error:  # a reply that could not be read is a failure, too
                    clients.account.fail(name, f"{type(error).__name__}: {error}")
                stop.wait(pause_s * clients.chance.uniform(0.5, 1.5))

    def rest() -> None:
        headers = {"Authorization": f"Bearer {clients.tokens[0]}"}
        with gate.closed(), httpx.Client(base_url=server.url, headers=headers, timeout=180) as client:
            clients.settle(client)
            memory.rest()

    threads = [
        threading.Thread(target=go_on, args=(name, {"X-Api-Key": key}, 0.2)) for name, key in clients.keys.items()
    ] + [
        threading.Thread(target=go_on, args=("administrator", {"Authorization": f"Bearer {token}"}, 1.5))
        for token in clients.tokens
    ]
    ended = threading.Event()
    faults = threading.Thread(target=clients.faults.run, args=(ended, rest))
    for thread in (*threads, faults):
        thread.start()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(5)
        memory.busy.append(memory.now())
    ended.set()
    faults.join()
    time.sleep(AFTER_S)
    clients.closes_at = time.monotonic() + DRAIN_S - 1
    os.kill(server.pid, signal.SIGTERM)
    time.sleep(DRAIN_S / 2)
    stop.set()
    for thread in threads:
        thread.join()
    _, status = os.waitpid(server.pid, 0)
    return memory, os.waitstatus_to_exitcode(status)


def main() -> int:
    """Return 1 if a reply was wrong, something failed or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--output", type=Path, default=RESULTS / "soak.json")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="sub3-soak-"))
    try:
        report = run(60 * arguments.minutes, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
