"""Several models: which languages the page offers, the way back, ways through a third language, adding models."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.settings import Settings
from tests.browser.conftest import OpenPage, keep
from tests.browser.test_accessibility import RULES
from tests.service.running import AUTHORIZED, TOKEN, Server, serve
from tests.service.tiny_model import write_tiny_model

ENGLISH = "The weather is really nice in London today."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Serve en-de, de-en and de-fr: from English to French it takes two."""
    folder = tmp_path_factory.mktemp("models")
    for seed, (source, target) in enumerate((("en", "de"), ("de", "en"), ("de", "fr"))):
        write_tiny_model(folder / f"{source}-{target}", sources=(source,), targets=(target,), seed=seed)
    return folder


@pytest.fixture
def several(folder: Path) -> Iterator[Server]:
    with serve(Settings(models_directory=folder, threads=1, admin_token=TOKEN)) as running:
        yield running


def offered(page: Page, side: str, count: int) -> list[str]:
    """Return the languages, once there are so many: the page asks for its models after it is shown."""
    options = page.locator(f"#{side} option")
    expect(options).to_have_count(count)
    return [option.get_attribute("value") or "" for option in options.all()]


def test_the_languages_follow_the_models(several: Server, open_page: OpenPage) -> None:
    page = open_page(several)
    assert offered(page, "source", 3) == ["auto", "de", "en"]
    assert offered(page, "target", 3) == ["en", "fr", "de"]
    page.locator("#source").select_option("en")
    assert sorted(offered(page, "target", 2)) == ["de", "fr"]
    page.locator("#target").select_option("de")
    page.locator("#text").fill(ENGLISH)
    expect(page.locator("#progress")).to_contain_text("1 sentence in ")
    with page.expect_response("**/v1/translate/stream") as response:
        page.get_by_role("button", name="Swap the languages").click()
    body = response.value.request.post_data_json
    assert (body["source"], body["target"]) == ("de", "en")

    # through German, for which there is no way back
    page.locator("#source").select_option("en")
    page.locator("#target").select_option("fr")
    page.locator("#text").fill(ENGLISH)
    expect(page.locator("#progress")).to_contain_text(", by way of German")
    expect(page.locator("#weights")).to_contain_text("en-de, de-fr")
    expect(page.get_by_role("button", name="Swap the languages")).to_be_disabled()
    expect(page.locator("#config option").first).to_have_text("as served (full)")
    keep(page, "pivot")

    with httpx.Client(base_url=several.url, headers=AUTHORIZED) as client:
        client.put("/admin/models/en-de/configs/half")
        client.put("/admin/models/de-fr/configs/half")
        client.put("/admin/models/de-fr/configs/narrow")  # of one of them only: it can't be pinned
    page.get_by_role("link", name="Compare").click()
    page.get_by_role("link", name="Translate").click()
    expect(page.locator("#target")).to_have_value("fr")
    expect(page.locator("#config option")).to_have_text(["as served (full)", "full", "half"])


def test_what_was_detected_is_where_a_swap_leads(several: Server, open_page: OpenPage) -> None:
    page = open_page(several)
    page.locator("#target").select_option("de")
    page.locator("#text").fill(ENGLISH)
    expect(page.locator("#source option").first).to_have_text("English (detected)")
    page.get_by_role("button", name="Swap the languages").click()
    expect(page.locator("#source")).to_have_value("de")
    expect(page.locator("#target")).to_have_value("en")


def test_a_text_in_the_target_s_language_goes_into_another(several: Server, open_page: OpenPage) -> None:
    page = open_page(several)
    expect(page.locator("#target")).to_have_value("en")
    page.locator("#text").fill(ENGLISH)
    expect(page.locator("#source option").first).to_have_text("English (detected)")
    expect(page.locator("#target")).to_have_value("de")
    expect(page.locator("#weights")).to_contain_text("en-de")


def test_models_are_compared_on_the_way_through_both(several: Server, open_page: OpenPage) -> None:
    page = open_page(several)
    page.evaluate("token => sessionStorage.setItem('sub3.token', token)", TOKEN)
    page.get_by_role("link", name="Compare").click()
    page.locator("#compare-source").select_option("en")
    page.locator("#compare-target").select_option("fr")
    page.locator("#compare-text").fill("The old house.")
    page.locator("#compare-table").get_by_label("narrow").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compare-progress")).to_contain_text("3 translations")
    with httpx.Client(base_url=several.url) as client:
        live = {model["name"]: model["live"] for model in client.get("/v1/models").json()["models"]}
    assert {"full", "half", "narrow"} == set(live["en-de"]) == set(live["de-fr"])


def test_a_model_is_removed_and_added(several: Server, open_page: OpenPage) -> None:
    page = open_page(several)
    page.get_by_role("link", name="Administration").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Enter").click()
    page.get_by_label("Model").select_option("de-fr")
    expect(page.locator("#admin-status")).to_contain_text("full answers")
    page.get_by_role("button", name="Remove it").click()
    expect(page.locator("#admin-status")).to_contain_text("de-fr is not served.")
    expect(page.locator("#model")).to_contain_text("de-fr (unloaded)")
    expect(page.locator("#configurations")).to_be_hidden()
    assert Axe().run(page, options=RULES).violations_count == 0
    keep(page, "removed")
    page.get_by_role("link", name="Translate").click()
    assert sorted(offered(page, "target", 2)) == ["de", "en"]
    page.get_by_role("link", name="Administration").click()
    page.get_by_role("button", name="Add it").click()
    expect(page.locator("#admin-status")).to_contain_text("full answers")
    expect(page.locator("#history")).to_contain_text("remove")

    # somebody else removes what is looked at
    with httpx.Client(base_url=several.url, headers=AUTHORIZED) as client:
        assert client.delete("/admin/models/de-fr").status_code == 200
    expect(page.locator("#model")).to_contain_text("de-fr (unloaded)")
    expect(page.locator("#token-form")).to_be_hidden()
