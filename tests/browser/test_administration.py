"""Swapping, budgets and canaries from the page; and what it does without the token."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, keep
from tests.service.running import TOKEN, Server, texts_of, translate

MODEL = "/admin/models/en-de"
TEXT = "The weather is nice today."


def enter(page: Page) -> None:
    """Give the token."""
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#configurations tr.active th")).to_have_text("best-2")


def active(admin: httpx.Client) -> str:
    name: str = admin.get(MODEL).json()["active"]["config"]
    return name


@pytest.mark.parametrize("known", [True, False], ids=["wrong token", "no administration"])
def test_without_the_token(server: Server, open_server: Server, open_page: OpenPage, known: bool) -> None:
    page = open_page(server if known else open_server, "administration")
    expect(page.locator("#admin")).to_be_hidden()
    page.get_by_label("Token", exact=True).fill("a-token-of-somebody-else")
    page.get_by_role("button", name="Enter").click()
    sentence = "The server does not know this token." if known else "Administration is off"
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(page.locator("#admin")).to_be_hidden()
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    assert page.evaluate("() => sessionStorage.length") == 0


def test_a_swap(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    configurations = admin.get("/v1/models").json()["models"][0]["configurations"]
    page = open_page(server, "administration")
    enter(page)
    page.get_by_role("button", name="Serve flat-4").click()
    expect(page.locator("#admin-status")).to_contain_text("flat-4 answers: 4.00 bits per weight, 6.6 MB.")
    assert active(admin) == "flat-4"
    history = page.locator("#history tbody tr")
    expect(history.first).to_contain_text("swap")
    expect(history.first).to_contain_text("flat-4")
    # what somebody else does is seen as it happens
    assert admin.put(f"{MODEL}/config", json={"config": "flat-3"}).status_code == 200
    expect(page.locator("#configurations tr.active th")).to_have_text("flat-3")
    expect(page.locator("#chart-bytes")).to_have_attribute("aria-label", re.compile(r"flat-3 \(live\)"))
    expect(page.locator("#chart-ms circle")).to_have_count(len(configurations))
    for chart in ("latency", "queue", "memory"):
        expect(page.locator(f"#live-{chart} svg")).to_be_visible()
    page.get_by_role("button", name="Forget the token").click()
    expect(page.locator("#admin")).to_be_hidden()
    assert page.evaluate("() => sessionStorage.length + localStorage.length") == 0


def test_the_budget_shows_what_it_would_choose(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    page = open_page(server, "administration")
    enter(page)
    body = {"memory_budget_bytes": 2_500_000}
    foreseen = admin.post(f"{MODEL}/config/preview", json=body).json()
    page.locator("#budget").evaluate(
        "slider => { slider.value = 2500000; slider.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    expect(page.locator("#budget-choice")).to_contain_text(f"{foreseen['config']}: 1.32 bits per weight")
    expect(page.locator("#planes caption")).to_contain_text("best-1, not served yet")
    rows = page.locator("#planes tbody tr")
    for row, block in zip(rows.all(), foreseen["blocks"], strict=True):
        assert row.locator("th").text_content() == block["block"]
        cells = row.locator("td").all_text_contents()[:-1]
        planes = [part["planes"] for part in block["layers"]] or [block["planes"]]
        assert [cell for cell in cells if cell] == [", ".join(map(str, count)) or "–" for count in planes]
    expect(page.locator("#planes td.changed").first).to_be_visible()
    assert active(admin) == "best-2"
    keep(page, "administration")

    page.get_by_role("button", name="Serve it").click()
    expect(page.locator("#configurations tr.active th")).to_have_text("best-1")
    expect(page.locator("#budget-choice")).to_contain_text("It answers already.")
    expect(page.locator("#planes td.changed")).to_have_count(0)
    assert active(admin) == "best-1"


def test_a_canary(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    page = open_page(server, "administration")
    enter(page)
    page.get_by_label("Canary’s share").fill("50")
    page.get_by_role("button", name="Canary flat-4").click()
    expect(page.locator("#canary")).to_be_visible()
    for _ in range(4):
        assert texts_of(translate(admin, TEXT))
    rows = page.locator("#canary-table tbody tr")
    for row, name in ((rows.nth(0), "best-2"), (rows.nth(1), "flat-4")):
        expect(row.locator("th")).to_have_text(name)
        expect(row.locator("td").first).to_have_text("2")
    expect(page.locator("#live-now")).to_contain_text("MB resident")
    page.get_by_role("button", name="Promote").click()
    expect(page.locator("#configurations tr.active th")).to_have_text("flat-4")
    expect(page.locator("#canary")).to_be_hidden()
    assert active(admin) == "flat-4"


def test_a_refused_swap_says_why(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    page = open_page(server, "administration")
    enter(page)
    page.get_by_role("button", name="Canary flat-4").click()
    expect(page.locator("#canary")).to_be_visible()
    page.get_by_role("button", name="Serve flat-3").click()
    expect(page.get_by_role("alert")).to_contain_text("A canary of flat-4 runs")
    assert active(admin) == "best-2"
