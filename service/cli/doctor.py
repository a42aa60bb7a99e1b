"""`sub3 doctor`: what is wrong with a set-up, in sentences."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kernels.engine import EngineError, isa
from models import __version__
from models.format import store
from models.format.directory import open_model
from models.format.schema import ModelError
from service.process import memory_limits, usable_cores

if TYPE_CHECKING:
    from service.settings import Settings

HELP = "say what is wrong with a set-up: CPU, memory, models, port, stores, clock"
DESCRIPTION = (
    "Looks at this machine and this environment as `sub3 serve` would, and changes nothing. Its exit status is 1 if "
    "the server would not start or not work."
)
EPILOG = """\
examples:
  sub3 doctor                                   before the first start
  SUB3_PORT=80 REDIS_URL=redis://r sub3 doctor  as a service would start"""
_PROCESS_BYTES = 80_000_000  # of a server with its packages and no model, and what requests need beside it
_SKEW_S = 2  # of the clocks of two machines, beyond which rate limits go wrong
_NOT_BEFORE = 1_764_000_000  # 2025-11-24: a clock that says less was never set


class _Finding(NamedTuple):
    """A sentence, and whether it is a fault, something to know (a warning), or good news."""

    level: str
    sentence: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the environment says what to look at."""


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each thing looked at; return 1 if one is a fault."""
    faults = 0
    for level, sentence in _findings():
        print(f"{level:<5} {sentence}", flush=True)
        faults += level == "FAULT"
    print("\nThe server would work." if not faults else f"\n{faults} of these must be mended.", file=sys.stdout)
    return 1 if faults else 0


def _findings() -> Iterator[_Finding]:
    yield _Finding("ok", f"This is sub3 {__version__} on Python {platform.python_version()}, {platform.machine()}.")
    yield from _cpu()
    needed = yield from _models()
    yield from _memory(needed)
    yield from _clock(time.time())
    from pydantic import ValidationError

    from service.settings import Settings, problems

    try:
        settings = Settings()
    except ValidationError as error:
        yield from (_Finding("FAULT", f"A setting is refused: {line}.") for line in problems(error).splitlines())
        return
    yield from _port(settings)
    yield from _stores(settings)


def _cpu() -> Iterator[_Finding]:
    try:
        name = isa()
    except EngineError as error:
        yield _Finding("FAULT", str(error))
        return
    cores = usable_cores()
    if name == "scalar":
        yield _Finding(
            "warn", "The CPU has none of the instruction sets that make the engine fast; AVX2 or NEON would."
        )
    else:
        yield _Finding("ok", f"The engine uses {name} on {cores} {'core' if cores == 1 else 'cores'}.")
    threads = os.environ.get("SUB3_THREADS", "")
    if threads.isdecimal() and int(threads) > cores:
        yield _Finding(
            "warn", f"SUB3_THREADS is {threads}, but there are {cores} cores to use; more threads only wait."
        )


def _models() -> Generator[_Finding, None, int]:
    """Open each model; return the bytes of their weights."""
    needed = 0
    try:
        found = store.found()
    except ModelError as error:
        yield _Finding("FAULT", str(error))
        return needed
    good = 0
    for name, path in found.items():
        try:
            config = open_model(path).config
        except ModelError as error:
            yield _Finding("warn", f"The model {name} is bad: {error}")
            continue
        good += 1
        size = config.configurations[config.default_configuration].bytes
        needed += size
        pairs = f"{'/'.join(config.source_languages)} -> {'/'.join(config.target_languages)}"
        yield _Finding(
            "ok", f"The model {name} translates {pairs} by {config.default_configuration}, {size / 1e6:.1f} MB."
        )
    if not good:
        yield _Finding("FAULT", f"No model can be served; {store.ADVICE}.")
    return needed


def _memory(needed: int) -> Iterator[_Finding]:
    wanted = needed + _PROCESS_BYTES
    setting = os.environ.get("SUB3_MEMORY_LIMIT_BYTES", "")
    limits = [*memory_limits(), *([int(setting)] if setting.isdecimal() else [])]
    if not limits:
        yield _Finding("ok", f"Nothing limits the memory; the server needs about {wanted / 1e6:.0f} MB.")
    elif min(limits) < wanted:
        yield _Finding(
            "warn",
            f"The memory limit is {min(limits) / 1e6:.0f} MB, and the server needs about {wanted / 1e6:.0f} MB; "
            "raise it or serve fewer models.",
        )
    else:
        yield _Finding("ok", f"The memory limit is {min(limits) / 1e6:.0f} MB; about {wanted / 1e6:.0f} MB are needed.")


def _clock(now: float) -> Iterator[_Finding]:
    if now < _NOT_BEFORE:
        told = time.strftime("%Y-%m-%d", time.gmtime(now))
        yield _Finding("FAULT", f"The clock says {told}; set it, since quotas are by month and logs by time.")
    else:
        yield _Finding("ok", f"The clock says {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC.")


def _port(settings: "Settings") -> Iterator[_Finding]:
    from service.http.listening import Taken, bound

    try:
        for opened in bound(settings.host, settings.port):
            opened.close()
    except Taken as error:
        yield _Finding("FAULT", str(error))
    else:
        yield _Finding("ok", f"Port {settings.port} of {settings.host} is free.")
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.api_keys:
        yield _Finding("warn", f"Everyone who reaches {settings.host} may translate: SUB3_API_KEYS=true asks for keys.")


def _stores(settings: "Settings") -> Iterator[_Finding]:
    if settings.redis_url is None:
        files = [settings.state_file] if settings.state_file else []
        for path in [*files, settings.glossaries_file, *([settings.keys_file] if settings.api_keys else [])]:
            yield _writable(path)
        return
    from service.accounts.unavailable import StoreUnavailable
    from service.stores.redis import RedisState

    try:
        client = RedisState(settings.redis_url.get_secret_value(), settings.redis_password)
        skew = client.time() - time.time()
        client.close()
    except StoreUnavailable as error:
        yield _Finding("FAULT", f"Redis does not answer: {error}")
        return
    if abs(skew) > _SKEW_S:
        yield _Finding(
            "warn", f"The clock of Redis is {skew:+.0f} s off this one; rate limits of keys go by the clock."
        )
    else:
        yield _Finding("ok", "Redis answers, and its clock is right.")


def _writable(path: Path) -> _Finding:
    place = path if path.exists() else path.absolute().parent
    if os.access(place, os.W_OK):
        return _Finding("ok", f"{path} can be written.")
    return _Finding("FAULT", f"{place} can't be written; name another file by its setting, or give the rights.")
