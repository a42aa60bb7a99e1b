"""One text under several configurations, and the differences of words."""

from collections.abc import Sequence
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage, keep, watched
from tests.service.running import TOKEN, Server, texts_of, translate

TEXT = "The weather is nice today. Would you like another cup of coffee? A man in a hat sits on a horse."
DIFFERENCE = "async ([a, b]) => (await import('/page/diff.js')).difference(a, b)"


def test_live_configurations_side_by_side(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    assert admin.put("/admin/models/en-de/configs/flat-3").status_code == 200
    page = open_page(server, "compare")
    expect(page.get_by_role("checkbox", name="flat-4")).to_be_disabled()  # not live, and there is no token
    page.locator("#compare-text").fill(TEXT)
    for name in ("best-2", "flat-3"):
        page.get_by_role("checkbox", name=name).check()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#compare-progress")).to_have_text("2 translations")
    cards = page.locator(".card")
    answers = {name: texts_of(translate(admin, TEXT, config=name))[0] for name in ("best-2", "flat-3")}
    assert cards.nth(1).locator(".text").text_content() == answers["flat-3"]
    parts = cards.nth(0).locator(".text > *").evaluate_all("all => all.map(one => [one.tagName, one.textContent])")
    assert "".join(text for tag, text in parts if tag != "DEL").split() == answers["best-2"].split()
    assert "".join(text for tag, text in parts if tag != "INS").split() == answers["flat-3"].split()
    assert {tag for tag, _ in parts} == {"SPAN", "INS", "DEL"}
    # one table has all figures, the test sets in one order
    configurations = {entry["name"]: entry for entry in admin.get("/v1/models").json()["models"][0]["configurations"]}
    titles = page.locator("#compare-table thead th").all_text_contents()
    assert page.locator("#compare-table tbody tr").count() == len(configurations)
    for name in ("flat-3", "best-2"):
        row = page.locator("#compare-table tbody tr", has=page.get_by_role("checkbox", name=name))
        figures = dict(zip(titles, row.locator("th, td").all_text_contents(), strict=True))
        assert figures["BLEU tatoeba"] == f"{configurations[name]['quality']['tatoeba']['bleu']:.1f}"
        assert figures["MB"] == f"{configurations[name]['bytes'] / 1e6:.1f}"
        assert figures["This request"].endswith(" ms")


def test_the_token_loads_what_is_not_live(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    page = open_page(server, "administration")
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#admin")).to_be_visible()
    page.get_by_role("link", name="Compare").click()
    page.locator("#compare-text").fill(TEXT)
    wanted = ("best-2", "flat-3", "paper-2.5", "flat-4")
    for name in ("best-1", *wanted):
        page.get_by_role("checkbox", name=name).set_checked(name in wanted)
    expect(page.get_by_role("checkbox", name="best-1")).to_be_disabled()  # four are enough
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".card")).to_have_count(4)
    expect(page.locator("#compare-progress")).to_have_text("4 translations")
    live = {entry["config"] for entry in admin.get("/admin/models/en-de").json()["live"]}
    assert live == {"best-2", "flat-3", "paper-2.5", "flat-4"}
    keep(page, "compare")


def test_too_few_configurations_are_refused(server: Server, admin: httpx.Client, open_page: OpenPage) -> None:
    assert admin.put("/admin/models/en-de/configs/flat-4").status_code == 200
    page = open_page(server, "compare")
    page.locator("#compare-text").fill(TEXT)
    page.locator("#compare-table input:checked").last.uncheck()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_have_text("Choose 2 to 4 configurations; live are best-2, flat-4.")


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        last = row
        row = [0]
        for column, other in enumerate(b):
            row.append(last[column] + 1 if word == other else max(last[column + 1], row[column]))
    return row[-1]


def test_the_difference_is_exact_and_the_least(chromium: Browser, open_server: Server) -> None:
    words = st.lists(st.sampled_from(["das", "Haus", "ist", "alt", "ein"]), max_size=12)

    with watched(chromium) as open_page:
        page = open_page(open_server)

        @settings(max_examples=100, deadline=None)
        @given(words, words)
        def holds(a: list[str], b: list[str]) -> None:
            parts: list[dict[str, Any]] = page.evaluate(DIFFERENCE, [" ".join(a), " ".join(b)])
            same = [w for part in parts if part["kind"] == "same" for w in part["text"].split()]
            assert [w for part in parts if part["kind"] != "removed" for w in part["text"].split()] == b
            assert [w for part in parts if part["kind"] != "added" for w in part["text"].split()] == a
            assert len(same) == longest_common(a, b)

        holds()
