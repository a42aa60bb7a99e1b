"""Clients in a closed loop over every live configuration while an administrator swaps: no reply may be wrong."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from models.format.directory import open_model
from service.live.configurations import by_name
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

CLIENTS = 4


@dataclass
class Outcome:
    """What the clients and the administrator saw; a failure is a sentence."""

    answered: Counter[str] = field(default_factory=Counter)  # requests by the configuration that answered
    failures: list[str] = field(default_factory=list)
    swap_ms: list[float] = field(default_factory=list)  # as the server measured
    round_trip_ms: list[float] = field(default_factory=list)  # as the administrator waited
    rss_bytes: list[int] = field(default_factory=list)  # before each swap, when the one before it has settled


def offline_answers(model: Path, texts: Sequence[str]) -> dict[str, list[str]]:
    """Translate each text alone with each configuration of a model, by engines apart from any server."""
    directory = open_model(model)
    config = directory.config
    options = Options(config.source_languages[0], config.target_languages[0])
    answers = {}
    for name in config.configurations:
        translator = Translator(directory, Tokenizer(directory), *by_name(directory, name), max_batch_tokens=4096)
        answers[name] = [translator.translate([text], options).translations[0].best.text for text in texts]
        translator.close()
    return answers


def swap_under_load(
    url: str,
    headers: Mapping[str, str],
    model: str,
    texts: Sequence[str],
    answers: Mapping[str, Sequence[str]],
    seconds: float,
    pause: Callable[[int], None],
    policies: Sequence[str] = ("availability",),
) -> Outcome:
    """Swap through all configurations for so long, `pause(n)` after the n-th swap, under load; then stop the load.

    Of the clients the first speaks DeepL's dialect, whose model types choose among what is live; the odd ones now and
    then pin what was active a moment ago: they must get that one or a 422 that says what is live.
    """
    outcome, stop, lock = Outcome(), threading.Event(), threading.Lock()

    def translate_on(number: int) -> None:
        chance = random.Random(number)
        pinned: str | None = None
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stop.is_set():
                chosen = chance.randrange(len(texts))
                try:
                    if number == 0:
                        kind = chance.choice(("latency_optimized", "quality_optimized"))
                        body = {"source_lang": "EN", "target_lang": "DE", "model_type": kind}
                        reply = client.post("/v2/translate", json={"text": [texts[chosen]], **body})
                    else:
                        body = {"source": "en", "target": "de", **({"config": pinned} if pinned else {})}
                        reply = client.post("/v1/translate", json={"text": texts[chosen], **body})
                except httpx.HTTPError as error:
                    with lock:
                        outcome.failures.append(f"{type(error).__name__}: {error}")
                    continue
                name, failure = _judge(reply, pinned, chosen, answers)
                with lock:
                    outcome.answered[name] += 1
                    if failure is not None:
                        outcome.failures.append(failure)
                pins = number % 2 == 1 and chance.random() < 0.5
                pinned = name if pins and name in answers else None

    with ThreadPoolExecutor(CLIENTS) as pool, httpx.Client(base_url=url, headers=dict(headers), timeout=60) as admin:
        clients = [pool.submit(translate_on, number) for number in range(CLIENTS)]
        try:
            ends = time.monotonic() + seconds
            for number, name in enumerate(itertools.cycle(answers)):
                if time.monotonic() >= ends:
                    break
                body = {"config": name, "policy": policies[number % len(policies)]}
                started = time.perf_counter()
                reply = admin.put(f"/admin/models/{model}/config", json=body)
                if reply.status_code != 200:
                    outcome.failures.append(f"swap to {name}: {reply.status_code} {reply.text}")
                elif reply.json()["result"] == "ok":
                    outcome.round_trip_ms.append(1e3 * (time.perf_counter() - started))
                    outcome.swap_ms.append(reply.json()["milliseconds"])
                    outcome.rss_bytes.append(reply.json()["rss_bytes_before"])
                pause(number)
        finally:
            stop.set()
        for client in clients:
            client.result(60)
    return outcome


def _judge(
    reply: httpx.Response, pinned: str | None, chosen: int, answers: Mapping[str, Sequence[str]]
) -> tuple[str, str | None]:
    """Tell who answered, and what was wrong with the answer."""
    if pinned is not None and reply.status_code == 404 and f"'{pinned}' is not live" in reply.text:
        return "not live any more", None
    if reply.status_code != 200:
        return "failed", f"{reply.status_code} {reply.text}"
    name = reply.headers["X-Sub3-Config"]
    body = reply.json()
    text = body["translations"][0]["text"]
    if {name, pinned or name, body["model"]["config"] if "model" in body else name} != {name}:
        return name, f"asked for {pinned}, got {name}: {reply.text}"
    if text != answers[name][chosen]:
        return name, f"{name} says {text!r}, offline {answers[name][chosen]!r}"
    return name, None
