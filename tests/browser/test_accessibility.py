"""WCAG AA by axe in light and dark, the width of a phone, and the keyboard."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, keep
from tests.service.running import TOKEN, Server

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
PHONE = {"width": 360, "height": 740}
TEXT = "The weather is nice today. Would you like another cup of coffee?"


def visit(page: Page, view: str) -> None:
    """Go to a view and bring all of it on the screen."""
    page.goto(f"/#{view}")
    if view == "translate":
        for more in ("options", "history-box"):
            page.locator(f"#{more}[open], #{more}:not([open]) > summary").first.click()
        page.get_by_label("Alternatives").select_option("1")
        page.locator("#text").fill(TEXT)
        expect(page.locator("#alternatives-list li")).to_have_count(1)
        for more in ("cost", "code"):
            page.locator(f"#{more} > summary").click()
    elif view == "compare":
        page.locator("#compare-text").fill(TEXT)
        page.get_by_role("checkbox", name="best-1").check()
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".card")).to_have_count(2)
        expect(page.locator(".card ins").first).to_be_visible()
    else:
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Canary flat-4").click()
        expect(page.locator("#canary")).to_be_visible()
        page.locator("#budget").press("Home")
        expect(page.locator("#planes td.changed").first).to_be_visible()
        expect(page.locator("#live-memory svg")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_in_every_light(server: Server, admin: httpx.Client, open_page: OpenPage, scheme: str) -> None:
    assert admin.put("/admin/models/en-de/configs/best-1").status_code == 200
    page = open_page(server, color_scheme=scheme)
    for view in ("translate", "compare", "administration"):
        visit(page, view)
        violations = Axe().run(page, options=RULES).response["violations"]
        assert not [(entry["id"], [node["html"] for node in entry["nodes"]]) for entry in violations]
        keep(page, f"{view}-{scheme}")
        page.set_viewport_size(PHONE)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
        keep(page, f"{view}-{scheme}-phone")
        page.set_viewport_size({"width": 1280, "height": 720})


def test_light_and_dark_may_be_chosen(open_server: Server, open_page: OpenPage) -> None:
    page = open_page(open_server, color_scheme="light")
    colour = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(colour) == light


def test_the_keyboard_is_enough(open_server: Server, open_page: OpenPage) -> None:
    page = open_page(open_server)
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.insert_text(TEXT)
    expect(page.locator("#translation")).not_to_be_empty()
    expect(page.locator("#translation .word").first).to_be_visible()
    for name in ("Clear the text", "Translate a file"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#translation .word").first).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_focused()
    seen = []
    page.locator(".skip").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("() => document.activeElement.textContent"))
    assert seen == ["Translate", "Compare", "Administration"]
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
