"""A file in, the same file translated."""

from pathlib import Path

import httpx
from playwright.sync_api import expect

from service.settings import Settings
from tests.browser.conftest import OpenPage, keep
from tests.service.running import PAIR, Server, held_steps, serve, texts_of, translate

SUBTITLES = "1\n00:00:01,000 --> 00:00:02,500\n{}\n\n2\n00:00:03,000 --> 00:00:04,000\n{}\n"


def test_a_file_is_translated(open_server: Server, open_page: OpenPage) -> None:
    lines = ["Would you like a cup of coffee?", "The weather is nice today."]
    with httpx.Client(base_url=open_server.url, timeout=60) as client:
        coffee, weather = texts_of(translate(client, lines))
    content = SUBTITLES.format(*lines)
    page = open_page(open_server)
    page.locator("#source").select_option("en")
    page.locator("#file").set_input_files(
        {"name": "film.srt", "mimeType": "application/x-subrip", "buffer": content.encode()}
    )
    link = page.get_by_role("link", name="Save film.de.srt")
    expect(link).to_be_focused()
    expect(page.locator("#file-status")).to_have_text("Done, 100 %")
    expect(page.locator("#file-progress")).to_be_hidden()
    keep(page, "file")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "film.de.srt"
    assert download.value.path().read_text() == SUBTITLES.format(coffee, weather)


def test_a_file_may_be_cancelled(tiny_model: Path, open_page: OpenPage) -> None:
    with serve(Settings(model_directory=tiny_model, threads=1)) as server, held_steps() as gate:
        page = open_page(server)
        page.locator("#source").select_option(PAIR["source"])
        content = "The old house.\n" * 2000
        page.locator("#file").set_input_files(
            {"name": "long.txt", "mimeType": "text/plain", "buffer": content.encode()}
        )
        gate.reached()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.locator("#file-status")).to_have_text("Translating, 0 %")
        with page.expect_request(lambda request: request.method == "DELETE") as deleted:
            page.get_by_role("button", name="Cancel").click()
        gate.open()
        expect(page.locator("#file-status")).to_have_text("Cancelled")
        expect(page.locator("#file-progress")).to_be_hidden()
        assert httpx.get(deleted.value.url).status_code == 404


def test_a_refused_file_says_why(open_server: Server, open_page: OpenPage) -> None:
    page = open_page(open_server)
    page.locator("#file").set_input_files({"name": "picture.png", "mimeType": "image/png", "buffer": b"\x89PNG"})
    expect(page.get_by_role("alert")).to_contain_text("Files ending in '.png' are not translated")
    expect(page.locator("#file-progress")).to_be_hidden()
