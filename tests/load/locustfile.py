"""The users of the load tests. `make load-PROFILE` runs it headless; by hand, with locust's own page:

LOAD_PROFILE=stress locust -f tests/load/locustfile.py --host http://127.0.0.1:8080
"""

import itertools
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, LoadTestShape, constant_pacing, events, task

from tests.load.figures import Tally
from tests.load.profiles import PROFILES, broken, step_at
from tests.load.sentences import sentences

PROFILE = PROFILES[os.environ.get("LOAD_PROFILE", "load")]
SECONDS = float(os.environ.get("LOAD_SECONDS", PROFILE.seconds))
TEXTS = sentences()
PAIR = {"source": "en", "target": "de"}


class Translating(FastHttpUser):
    """Asks, reads, asks again: mostly single sentences, some lists, some texts of several sentences."""

    @task(7)
    def sentence(self) -> None:
        self._translate("sentence", random.choice(TEXTS))

    @task(2)
    def list_of_texts(self) -> None:
        self._translate("list of 4", random.choices(TEXTS, k=4))

    @task(1)
    def paragraph(self) -> None:
        self._translate("paragraph", " ".join(random.choices(TEXTS, k=5)))

    def _translate(self, name: str, text: str | list[str]) -> None:
        body = {"text": text, **PAIR}
        with self.client.post("/v1/translate", json=body, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif len(response.json()["translations"]) != (1 if isinstance(text, str) else len(text)):
                response.failure("a text has no translation")


class Administrator(FastHttpUser):
    """Swaps to the next configuration every second."""

    abstract = not PROFILE.swaps
    fixed_count = 1
    wait_time = constant_pacing(1)

    def on_start(self) -> None:
        (model,) = self.client.get("/v1/models").json()["models"]
        self._path = f"/admin/models/{model['name']}/config"
        self._names = itertools.cycle([each["name"] for each in model["configurations"] if each["available"]])

    @task
    def swap(self) -> None:
        headers = {"Authorization": f"Bearer {os.environ['LOAD_ADMIN_TOKEN']}"}
        self.client.put(self._path, json={"config": next(self._names)}, headers=headers, name="swap")


class Record:
    """The figures of each step and of everything; a request counts for the step in which it ended."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.steps: list[tuple[int, float, Tally]] = []  # users, time at which it began, requests
        self.total, self.others = Tally(), {"swap": Tally(), "GET": Tally()}

    def step(self, users: int) -> None:
        """Begin another step."""
        self.started = self.started or time.perf_counter()
        self.steps.append((users, time.perf_counter(), Tally()))

    def add(self, request_type: str, name: str, response_time: float, exception: Exception | None, **_: Any) -> None:
        """Handle Locust's event of an ended request; what an administrator asks is counted apart."""
        failure = None if exception is None else f"{name}: {exception}"
        if request_type != "POST":
            self.others["swap" if name == "swap" else "GET"].add(response_time, failure)
            return
        self.total.add(response_time, failure)
        if self.steps:
            self.steps[-1][2].add(response_time, failure)

    def last(self) -> dict[str, object]:
        """Return the figures of the running step."""
        _, started, tally = self.steps[-1]
        return tally.figures(time.perf_counter() - started)

    def report(self) -> dict[str, object]:
        """Return all figures."""
        now = time.perf_counter()
        ends = [started for _, started, _ in self.steps[1:]] + [now]
        steps = [
            {"users": users, **tally.figures(end - started)}
            for (users, started, tally), end in zip(self.steps, ends, strict=True)
        ]
        report: dict[str, object] = {"total": self.total.figures(now - (self.started or now - 1)), "steps": steps}
        if PROFILE.swaps:
            report["swaps"] = self.others["swap"].figures(now - (self.started or now - 1))
        if PROFILE.until_it_breaks:
            report["broke_at_users"] = next((step["users"] for step in steps if broken(step)), None)
        return report


record = Record()
events.request.add_listener(record.add)


@events.quitting.add_listener
def keep(**_: Any) -> None:
    """Write the figures for tests/load/profiles.py."""
    if "LOAD_RECORD" in os.environ:
        Path(os.environ["LOAD_RECORD"]).write_text(json.dumps(record.report()))


class Steps(LoadTestShape):
    """The profile's steps."""

    def __init__(self) -> None:
        super().__init__()
        self._step: int | None = None

    def tick(self) -> tuple[int, float] | None:
        """Return the users wanted and the users started a second; None ends the load."""
        step = step_at(PROFILE, self.get_run_time() / SECONDS)
        if step is None:
            return None
        users = PROFILE.steps[step][1]
        if step != self._step:
            if PROFILE.until_it_breaks and self._step is not None and broken(record.last()):
                return None
            self._step = step
            record.step(users)
            print(f"{self.get_run_time():.0f} s: {users} users", flush=True)
        return users + PROFILE.swaps, 100
