"""What a visitor finds without help: languages, other wordings, history, code, addresses, files, errors, pictures."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect
from selectolax.lexbor import LexborHTMLParser

from service.settings import Settings
from tests.browser.conftest import OpenPage, keep
from tests.conftest import ROOT
from tests.service.running import TOKEN, Server, serve, texts_of, translate
from tests.service.tiny_model import write_tiny_model

PAGE = ROOT / "service/page"
ENGLISH = "Would you like another cup of coffee? The weather is nice today."
GERMAN = "Das Wetter ist heute schön. Möchten Sie noch eine Tasse Kaffee?"
FRENCH = "Je voudrais encore une tasse de café, s'il vous plaît. Il fait beau aujourd'hui."
STORE = ROOT / "models/store"
# texts that the modules look up by a value
LOOKED_UP = {"queue", "tokenize", "encode", "decode", "detokenize", "active", "loaded", "canary"}


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory: pytest.TempPathFactory) -> Server:  # type: ignore[misc]
    """Serve the models that ship, both ways."""
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(models_directory=STORE, threads=1, glossaries_file=folder / "glossaries.sqlite3")
    with serve(settings) as running:
        yield running


def fill(page: Page, text: str) -> None:
    """Type a text, and wait for the end of its translation."""
    page.locator("#text").fill(text)
    quoted = json.dumps(text, ensure_ascii=False).replace("'", "'\\''")
    expect(page.locator("#curl")).to_contain_text(f'"text":{quoted}')  # set when the reply is there


# Languages of the text


def test_another_language_than_the_chosen_one_is_offered(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    page.locator("#source").select_option("en")
    fill(page, GERMAN)
    expect(page.locator("#guess")).to_contain_text("This looks like German.")
    page.get_by_role("button", name="Translate from German").click()
    expect(page.locator("#source")).to_have_value("de")
    expect(page.locator("#target")).to_have_value("en")
    expect(page.locator("#guess")).to_be_hidden()
    expect(page.locator("#translation")).to_contain_text("weather")


def test_a_language_of_no_model_is_said(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    fill(page, FRENCH)
    expect(page.locator("#guess")).to_contain_text("This looks like French, which no model here translates")
    fill(page, ENGLISH)
    expect(page.locator("#guess")).to_be_hidden()
    page.locator("#source").select_option("en")
    fill(page, FRENCH)  # where English is chosen, too
    expect(page.locator("#guess")).to_contain_text("This looks like French, which no model here translates")


def test_the_detected_language_stays_named(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    fill(page, GERMAN)
    named = page.locator("#source option").first
    expect(named).to_have_text("German (detected)")
    page.get_by_role("link", name="Compare").click()
    with page.expect_response("**/v1/glossaries"):  # asked for last, when the view has its languages
        page.get_by_role("link", name="Translate").click()
    expect(named).to_have_text("German (detected)")


def test_languages_are_remembered_and_the_address_has_them(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    page.locator("#source").select_option("de")
    fill(page, GERMAN)
    address = page.url
    assert "?" not in address.split("#")[0]  # the server never sees the text
    page.goto("/")
    expect(page.locator("#source")).to_have_value("de")
    other = open_page(both_ways)  # another browser, which remembers nothing
    other.goto(address)
    other.reload()
    expect(other.locator("#text")).to_have_value(GERMAN)
    expect(other.locator("#source")).to_have_value("de")
    expect(other.locator("#translation")).to_contain_text("weather")
    other.goto(f"/?text={ENGLISH}&source=en&target=de")  # as LibreTranslate's page has it
    expect(other.locator("#text")).to_have_value(ENGLISH)
    expect(other.locator("#translation")).to_contain_text("Kaffee")


# What can be done with a translation


def test_a_word_has_other_wordings(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    fill(page, f"The old house is near the river.\n\n{ENGLISH}")
    asked = {"source": "en", "target": "de", "alternatives": 4, "prefix": "Möchten Sie noch eine"}
    with httpx.Client(base_url=both_ways.url, timeout=60) as client:
        (best,) = translate(client, "Would you like another cup of coffee?", **asked).json()["translations"]
    assert all(one["text"].startswith(asked["prefix"]) for one in (best, *best["alternatives"]))
    before = page.locator("#translation").text_content() or ""
    assert best["text"] in before
    word = page.locator("#translation .word", has_text="Tasse")
    word.focus()
    page.keyboard.press("Enter")
    choices = page.locator("#choices button")
    expect(choices).to_have_count(len({a["text"] for a in best["alternatives"]} - {best["text"]}))
    assert sorted(choices.all_text_contents()) == sorted({a["text"] for a in best["alternatives"]} - {best["text"]})
    expect(choices.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(choices.nth(1)).to_be_focused()
    keep(page, "wordings")
    chosen = choices.nth(1).text_content() or ""
    page.keyboard.press("Enter")
    expect(page.locator("#choices")).to_be_hidden()
    assert page.locator("#translation").text_content() == before.replace(best["text"], chosen)
    page.locator("#translation .word", has_text="Haus").click()  # the other sentences can still be changed
    expect(page.locator("#choices button").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#choices")).to_be_hidden()
    page.locator("#translation .word", has_text="Möchten").click()  # the changed one too, also back
    expect(page.locator("#choices button", has_text=re.compile(f"^{re.escape(best['text'])}$"))).to_be_visible()


def test_the_request_as_code_is_the_request(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    fill(page, 'It\'s $HOME; `the` "old" house\\.')
    page.get_by_text("As code").click()
    command = shlex.split((page.locator("#curl").text_content() or "").replace("\\\n", " "))
    assert command[0] == "curl"
    done = subprocess.run(command, capture_output=True, text=True, check=True) if _has_curl() else None
    if done is not None:
        assert '"translations"' in done.stdout
        assert texts_of(httpx.Response(200, text=done.stdout)) == [page.locator("#translation").text_content()]
    expect(page.locator("#reply")).to_contain_text('"latency_ms"')


def _has_curl() -> bool:
    return subprocess.run(["which", "curl"], capture_output=True).returncode == 0


def test_the_history_is_in_this_browser_only(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    page.get_by_text("History", exact=True).first.click()
    fill(page, ENGLISH)
    fill(page, f"{ENGLISH} The old")  # typed on: one entry
    fill(page, "A big tree.")
    expect(page.locator("#past li")).to_have_count(2)
    page.reload()
    page.get_by_text("History", exact=True).first.click()
    expect(page.locator("#past li")).to_have_count(2)
    page.locator("#past button").nth(1).click()
    expect(page.locator("#text")).to_have_value(f"{ENGLISH} The old")
    expect(page.locator("#source")).to_have_value("en")
    expect(page.locator("#curl")).to_contain_text("The old")  # translated again, and remembered
    page.get_by_role("button", name="Clear the history").click()
    expect(page.locator("#past li")).to_have_count(0)
    page.get_by_label("Keep it").uncheck()
    fill(page, "A big tree.")
    page.reload()
    expect(page.locator("#past li")).to_have_count(0)
    assert "tree" not in page.evaluate("() => JSON.stringify(localStorage)")


def test_a_stored_glossary_may_be_chosen(both_ways: Server, open_page: OpenPage) -> None:
    with httpx.Client(base_url=both_ways.url, timeout=60) as client:
        body = {"name": "drinks", "source": "en", "target": "de", "entries": {"coffee": "Tee"}}
        assert client.post("/v1/glossaries", json=body).status_code == 201
    page = open_page(both_ways)
    page.locator("#source").select_option("en")
    page.get_by_text("Options").click()
    fill(page, ENGLISH)
    expect(page.locator("#translation")).to_contain_text("Kaffee")
    page.get_by_label("Glossary").select_option(label="drinks (1)")
    expect(page.locator("#translation")).to_contain_text("Tee")


def test_the_text_may_be_cleared(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    fill(page, ENGLISH)
    page.get_by_role("button", name="Clear the text").click()
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#translation")).to_be_empty()
    expect(page.locator("#cost")).to_be_hidden()
    expect(page.get_by_role("button", name="Clear the text")).to_be_hidden()


# Files and errors


@pytest.mark.parametrize("view", ["translate", "compare"])
def test_a_file_may_be_dropped_anywhere(both_ways: Server, open_page: OpenPage, view: str) -> None:
    page = open_page(both_ways, view)
    made = """text => {
      const data = new DataTransfer();
      data.items.add(new File([text], 'a.txt', { type: 'text/plain' }));
      return data;
    }"""
    data = page.evaluate_handle(made, ENGLISH)
    page.dispatch_event("main", "dragover", {"dataTransfer": data})
    expect(page.get_by_text("Drop the file to translate it")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": data})
    expect(page.get_by_text("Drop the file to translate it")).to_be_hidden()
    expect(page.get_by_role("link", name="Save a.")).to_be_visible()


def test_an_error_takes_the_place_of_the_old_translation(tmp_path: Path, open_page: OpenPage) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    with serve(Settings(model_directory=model, threads=1, max_text_characters=20)) as server:
        page = open_page(server)
        fill(page, "The old house.")
        expect(page.locator("#translation")).not_to_be_empty()
        page.locator("#text").fill("The old house near the river.")
        expect(page.get_by_role("alert")).to_have_text("Text 1 has 29 characters; the limit is 20.")
        expect(page.locator("#translation")).to_be_empty()
        expect(page.locator("#cost")).to_be_hidden()
        page.set_viewport_size({"width": 360, "height": 640})
        expect(page.get_by_role("alert")).to_be_in_viewport()
        page.context.set_offline(True)
        page.locator("#text").fill("The river.")
        expect(page.get_by_role("alert")).to_have_text("The server does not answer; is it running?")
        expect(page.locator("#translation")).to_be_empty()
        page.context.set_offline(False)


def test_on_a_phone_the_translation_is_on_the_first_screen(both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways, viewport={"width": 320, "height": 640})
    fill(page, ENGLISH)
    expect(page.locator("#translation .word").first).to_be_in_viewport()


# Compare


def test_compare_opens_where_there_is_something_to_compare(
    server: Server, admin: httpx.Client, open_page: OpenPage
) -> None:
    page = open_page(server)
    fill(page, ENGLISH)
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("#compare-text")).to_have_value(ENGLISH)
    expect(page.locator("#compare-hint")).to_contain_text("Only best-2 is live here")
    for own in ("#compare-run", "#compare-how", "#compare-text", "#compare-table input"):  # nothing that leads nowhere
        expect(page.locator(own).first).to_be_hidden()
    expect(page.locator("#chart-cost circle")).to_have_count(page.locator("#compare-table tbody tr").count())
    assert admin.put("/admin/models/en-de/configs/best-1").status_code == 200
    page.get_by_role("link", name="Translate").click()
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("#compare-table input:checked")).to_have_count(2)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compare-progress")).to_have_text("2 translations")


@pytest.mark.parametrize("width", [360, 768, 1440, 1920])
def test_no_name_in_a_chart_is_cut_or_covers_another(both_ways: Server, open_page: OpenPage, width: int) -> None:
    page = open_page(both_ways, "compare", viewport={"width": width, "height": 900})
    expect(page.locator("#compare-source")).to_have_value("en")  # the pair with the most configurations
    expect(page.locator("#chart-cost circle").first).to_be_visible()
    boxes = page.locator("#chart-cost text").evaluate_all(
        "all => all.map(one => { const b = one.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; })"
    )
    left, top, right, bottom = page.locator("#chart-cost").evaluate(
        "one => { const b = one.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }"
    )
    names = page.locator("#chart-cost text:not(.tick)").all_text_contents()
    assert {"best-1", "best-2"} <= set(names)
    for box in boxes:
        assert left <= box[0] < box[2] <= right
        assert top <= box[1] < box[3] <= bottom
    named = page.locator("#chart-cost text:not(.tick)").evaluate_all(
        "all => all.map(one => { const b = one.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; })"
    )
    for n, one in enumerate(named):
        for other in named[:n]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


# The page in other languages


def texts_of_the_page() -> set[str]:
    """Return every English text of the page: what is in its HTML, and what its modules look up."""
    tree = LexborHTMLParser((PAGE / "index.html").read_text())
    assert tree.body is not None
    found = set(LOOKED_UP)
    for node in tree.body.traverse(include_text=True):
        if node.tag == "-text":
            found.add((node.text_content or "").strip())
        else:
            found |= {node.attributes.get(name) or "" for name in ("aria-label", "title", "placeholder")}
    for module in PAGE.glob("*.js"):
        source = module.read_text()
        found |= set(re.findall(r"\bt\('((?:[^'\\]|\\.)*)'", source))
        for one, other in re.findall(r"\bt\([^()']*\? '([^']*)' : '([^']*)'", source):
            found |= {one, other}
        found |= set(re.findall(r"button\('(\w+)'", source))
    return {text for text in found if re.search(r"[A-Za-z]{2}", text)}


@pytest.mark.parametrize("code", ["de", "fr"])
def test_every_text_is_translated(code: str, both_ways: Server, open_page: OpenPage) -> None:
    page = open_page(both_ways)
    translations = page.evaluate(f"async () => (await import('/page/{code}.js')).default")
    own = {"sub3", "English", "Deutsch", "Français"}
    assert texts_of_the_page() - own - set(translations) == set()
    for english, other in translations.items():  # the same values go into both
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", other)), english


@pytest.mark.parametrize(
    ("locale", "words"), [("de-AT", "Datei übersetzen"), ("fr-CA", "Traduire un fichier"), ("ja", "Translate a file")]
)
def test_the_page_speaks_the_browser_s_language(
    both_ways: Server, open_page: OpenPage, locale: str, words: str
) -> None:
    page = open_page(both_ways, locale=locale)
    expect(page.locator("#choose-file")).to_have_text(words)
    expect(page.locator("html")).to_have_attribute("lang", locale[:2] if locale != "ja" else "en")
    fill(page, ENGLISH)
    expect(page.locator("#cost-short")).to_contain_text(re.compile(r"\d\.\d MB" if locale == "ja" else r"\d,\d MB"))
    page.locator("#language").select_option("fr")
    expect(page.locator("#choose-file")).to_have_text("Traduire un fichier")
    page.reload()
    expect(page.locator("#choose-file")).to_have_text("Traduire un fichier")


# Pictures of every view, to be looked at: build/screenshots


@pytest.mark.parametrize(("width", "locale"), [(320, "de-DE"), (768, "fr-FR"), (1920, "en-GB")])
def test_pictures(server: Server, admin: httpx.Client, open_page: OpenPage, width: int, locale: str) -> None:
    assert admin.put("/admin/models/en-de/configs/best-1").status_code == 200
    page = open_page(server, locale=locale, viewport={"width": width, "height": 900})
    keep(page, f"empty-{width}")
    fill(page, ENGLISH)
    keep(page, f"translate-{width}")
    page.locator("#translation .word", has_text="Tasse").click()
    expect(page.locator("#choices button").first).to_be_visible()
    keep(page, f"wordings-{width}")
    page.keyboard.press("Escape")
    for more in ("options", "cost", "code", "history-box"):
        page.locator(f"#{more} > summary").click()
    keep(page, f"details-{width}")
    page.goto("/#compare")
    expect(page.locator("#compare-table input:checked")).to_have_count(2)
    page.locator("#compare-form button.main").click()
    expect(page.locator(".card")).to_have_count(2)
    keep(page, f"compare-{width}")
    page.goto("/#administration")
    page.locator("#token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#live-memory svg")).to_be_visible()
    keep(page, f"administration-{width}")
    for view in ("translate", "compare", "administration"):
        page.goto(f"/#{view}")
        expect(page.locator(f"[data-view={view}]")).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
