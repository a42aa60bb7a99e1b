"""The API reference: read, and its requests sent, from this server alone."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, keep
from tests.browser.test_accessibility import RULES
from tests.service.running import TOKEN, Server


def opened(page: Page, operation: str) -> Page:
    """Go to an operation's description, as a link does."""
    page.goto(f"/docs#{operation}")
    page.locator(f"#{operation} > summary").click()
    return page


def send(page: Page, operation: str) -> str:
    """Send the operation's request, and return the reply that is shown."""
    form = page.locator(f"#{operation} form")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("200,")
    expect(form.locator("pre")).to_be_visible()
    return form.locator("pre").text_content() or ""


def test_requests_are_sent_from_it(server: Server, open_page: OpenPage) -> None:
    page = opened(open_page(server), "translate")
    body = page.locator("#translate textarea")
    asked = {**json.loads(body.input_value()), "text": "The old house."}
    body.fill(json.dumps(asked))
    (translation,) = json.loads(send(page, "translate"))["translations"]
    assert "Haus" in translation["text"]
    command = page.locator("#translate pre").first.text_content() or ""
    assert command.startswith(f'curl -s "{server.url}/v1/translate"')
    # a stream, fields in the address, a file, the token
    opened(page, "translate_stream")
    assert "event: done" in send(page, "translate_stream")
    opened(page, "deepl_translate_by_query")
    page.locator("#deepl_translate_by_query input[name=text]").fill("The old house & the river.")
    assert "Haus" in send(page, "deepl_translate_by_query")
    opened(page, "libretranslate_translate_file")
    letter = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"The old house."}
    page.locator("#libretranslate_translate_file input[type=file]").set_input_files(letter)
    assert "translatedFileUrl" in send(page, "libretranslate_translate_file")
    page.get_by_label("Token").fill(TOKEN)
    opened(page, "administration_get_model")
    page.locator("#administration_get_model input[name=name]").fill("en-de")
    assert json.loads(send(page, "administration_get_model"))["name"] == "en-de"


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (768, "dark"), (1920, "light")])
def test_it_can_be_read_by_everybody(open_server: Server, open_page: OpenPage, width: int, scheme: str) -> None:
    page = open_page(open_server, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto("/")
    page.get_by_role("link", name="API").click()
    expect(page.get_by_role("heading", name="API")).to_be_visible()
    keep(page, f"reference-{width}")
    open_only = (
        "chosen => document.querySelectorAll('details').forEach((one) => { one.open = chosen.includes(one.id); })"
    )
    page.evaluate(open_only, page.locator("details").evaluate_all("all => all.map(one => one.id)"))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.evaluate(open_only, ["translate", "deepl_document", "schema-Error"])
    violations = Axe().run(page, options=RULES).response["violations"]
    assert not [(entry["id"], [node["html"] for node in entry["nodes"]]) for entry in violations]
    keep(page, f"reference-open-{width}")
