"""A real Chromium, and pages in it that watch for requests to other hosts and for what the policy forbids."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.settings import Settings
from tests.conftest import DEFAULT_MODEL, ROOT
from tests.service.running import AUTHORIZED, TOKEN, Server, serve
from tests.service.tiny_model import write_tiny_model

SCREENSHOTS = ROOT / "build" / "screenshots"  # not in the repository
NAMES = ("chromium", "chromium-browser", "google-chrome")
OpenPage = Callable[..., Page]
expect.set_options(timeout=60_000)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium; skip without one."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    # ends with this package: while it runs, no other test of this thread may have an event loop
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model that answers at once, in nonsense."""
    return write_tiny_model(tmp_path_factory.mktemp("browser") / "tiny")


@pytest.fixture(scope="package")
def open_server() -> Iterator[Server]:
    """Serve the default model without /admin, for the tests that change nothing."""
    with serve(Settings(model_directory=DEFAULT_MODEL, threads=1)) as running:
        yield running


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve the default model with /admin, for one test."""
    with serve(Settings(model_directory=DEFAULT_MODEL, threads=1, admin_token=TOKEN)) as running:
        yield running


@pytest.fixture
def admin(server: Server) -> Iterator[httpx.Client]:
    """Open a client of `server` with the token."""
    with httpx.Client(base_url=server.url, headers=AUTHORIZED, timeout=60) as client:
        yield client


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Open a server's page; at the end, no page may have failed, left its server, or offended its policy."""
    with watched(chromium) as opened:
        yield opened


@contextmanager
def watched(chromium: Browser) -> Iterator[OpenPage]:
    """See `open_page`."""
    faults: list[str] = []
    contexts = []

    def opened(server: Server, view: str = "translate", **options: Any) -> Page:
        context = chromium.new_context(base_url=server.url, **options)
        contexts.append(context)
        page = context.new_page()
        host = urlsplit(server.url).netloc
        page.on("request", lambda request: faults.extend(check_host(request.url, host)))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.extend([message.text] if "Security Policy" in message.text else []))
        page.goto(f"/#{view}")
        expect(page.locator(f"[data-view={view}]")).to_be_visible()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def check_host(url: str, host: str) -> list[str]:
    """Return the address if it is another host's."""
    return [] if urlsplit(url).netloc == host else [url]


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page as output of the tests."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
