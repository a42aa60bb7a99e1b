"""Typing, and seeing the translation as it is made."""

import threading
from dataclasses import replace
from pathlib import Path

import httpx
from playwright.sync_api import expect

from models.format.directory import open_model
from models.format.write import write_config
from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.browser.conftest import OpenPage, keep
from tests.service.api.test_stream import let_through_until_one_ended
from tests.service.running import Server, held_steps, serve, texts_of, translate, until_metric, until_noticed
from tests.service.tiny_model import write_tiny_model

TEXT = "Would you like another cup of coffee? The weather is nice today.\n\n- The old house is near the river!"


def test_a_text_is_translated(open_server: Server, open_page: OpenPage) -> None:
    page = open_page(open_server, permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.type("Would you")
    page.keyboard.insert_text(TEXT.removeprefix("Would you"))
    with httpx.Client(base_url=open_server.url, timeout=60) as client:
        (text,) = texts_of(translate(client, TEXT))
        reply = translate(client, TEXT, alternatives=2).json()
    (beam,) = reply["translations"]
    translation = page.locator("#translation")
    expect(translation).to_have_text(text)
    assert translation.text_content() == text  # white space too
    expect(translation).to_have_attribute("lang", "de")
    expect(page.locator("#progress")).to_contain_text("3 sentences in ")
    expect(page.locator("#source option").first).to_have_text("English (detected)")
    expect(page.locator("#count")).to_have_text(f"{len(TEXT)} characters")

    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#progress")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == text

    page.get_by_text("Options").click()
    page.get_by_label("Alternatives").select_option("2")
    expect(translation).to_have_text(beam["text"])
    expect(page.locator("#alternatives-list li")).to_have_count(2)
    for shown, alternative in zip(page.locator("#alternatives-list li").all(), beam["alternatives"], strict=True):
        assert (shown.text_content() or "").startswith(alternative["text"])
    page.get_by_text("What this request cost").click()
    figures = dict(zip(*(page.locator(f"#latency {tag}").all_text_contents() for tag in ("dt", "dd")), strict=True))
    assert list(figures) == ["queue", "tokenize", "encode", "decode", "detokenize", "in between", "total"]
    parts = [float(figure.removesuffix(" ms")) for figure in figures.values()]
    # they are shown rounded, and a sentence is written while others are decoded
    assert sum(parts[:-1]) >= parts[-1] - 0.5 * len(parts) - 0.01
    expect(page.locator("#memory dd").first).to_have_text(f"{reply['memory']['model_bytes'] / 1e6:.1f} MB")
    expect(page.locator("#weights")).to_contain_text("best-2")
    keep(page, "translate")

    page.locator("#text").fill(" ")
    expect(translation).to_be_empty()
    expect(page.locator("#cost")).to_be_hidden()


def test_sentences_come_as_they_are_made(tiny_model: Path, open_page: OpenPage) -> None:
    # one sentence at a time: the second can't have been begun when the first is shown
    settings = Settings(model_directory=tiny_model, threads=1, max_batch_rows=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        page = open_page(server)
        with held_steps() as gate:
            letting = threading.Thread(target=let_through_until_one_ended, args=(client, gate))
            letting.start()
            page.locator("#text").fill("The old house. The river.")
            expect(page.locator("#progress")).to_have_text("Translating … 1")
            first = page.locator("#translation").text_content()
            letting.join(60)
            gate.open()
            expect(page.locator("#progress")).to_contain_text("2 sentences in ")
        assert [first] == texts_of(translate(client, "The old house."))
        assert [page.locator("#translation").text_content()] == texts_of(translate(client, "The old house. The river."))


def test_what_is_typed_next_cancels_the_older_request(tiny_model: Path, open_page: OpenPage) -> None:
    settings = Settings(model_directory=tiny_model, threads=1)
    with serve(settings) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        page = open_page(server)
        with held_steps() as gate:
            page.locator("#text").fill("The old house.")
            gate.reached()
            with page.expect_event("requestfailed", lambda request: request.url.endswith("/v1/translate/stream")):
                page.locator("#text").fill("A big tree.")
            until_noticed(server, client)
            gate.open()
        expect(page.locator("#progress")).to_contain_text("1 sentence in ")
        until_metric(client, 'sub3_failures_total{reason="ClientClosed"} 1.0')
        assert [page.locator("#translation").text_content()] == texts_of(translate(client, "A big tree."))


def test_a_refusal_is_shown_in_the_servers_words(tiny_model: Path, open_page: OpenPage) -> None:
    with serve(Settings(model_directory=tiny_model, threads=1, max_text_characters=20)) as server:
        page = open_page(server)
        page.locator("#text").fill("The old house near the river.")
        expect(page.get_by_role("alert")).to_have_text("Text 1 has 29 characters; the limit is 20.")
        page.locator("#text").fill("The old house.")
        expect(page.locator("#translation")).not_to_be_empty()
        expect(page.locator("#translate-error")).to_be_hidden()


def test_a_server_that_asks_for_keys(tiny_model: Path, tmp_path: Path, open_page: OpenPage) -> None:
    path = tmp_path / "keys.sqlite3"
    key, record = new_key("browser", None, None)
    SqliteKeys(path).add(record)
    with serve(Settings(model_directory=tiny_model, threads=1, api_keys=True, keys_file=path)) as server:
        page = open_page(server)
        page.locator("#text").fill("The old house.")
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type(key)
        page.keyboard.press("Enter")
        expect(page.locator("#translation")).not_to_be_empty()
        assert key not in page.evaluate("() => JSON.stringify(localStorage)")


def test_words_show_where_they_come_from(open_server: Server, open_page: OpenPage) -> None:
    text = "😀 The old house is near the river.\n\nWould you like a cup of coffee?"
    with httpx.Client(base_url=open_server.url, timeout=60) as client:
        answer = translate(client, text, alignment=True).json()["translations"][0]
    pairs = [(answer["text"][slice(*link["target"])], text[slice(*link["source"])]) for link in answer["alignment"]]
    assert len(pairs) > 8
    page = open_page(open_server)
    page.locator("#text").fill(text)
    words = page.locator("#translation .word")
    expect(words).to_have_count(len(pairs))
    assert page.locator("#translation").text_content() == answer["text"]
    assert words.all_text_contents() == [target for target, _ in pairs]

    words.nth(2).hover()
    expect(page.locator("#under mark")).to_have_text(pairs[2][1])
    expect(page.locator("#attention")).to_have_text(" ← ".join(pairs[2]))
    keep(page, "attention")
    page.locator("#source").hover()
    expect(page.locator("#under mark")).to_have_count(0)

    words.first.focus()
    for target, source in pairs[1:6]:  # the keyboard goes from word to word
        page.keyboard.press("ArrowRight")
        expect(page.locator(".looking")).to_have_text(target)
        expect(page.locator("#under mark")).to_have_text(source)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_focused()
    # what is typed since has other words at these places
    page.locator("#text").press_sequentially("A", delay=0)
    expect(page.locator("#under mark")).to_have_count(0)


def test_the_languages_are_swapped(open_server: Server, tmp_path: Path, open_page: OpenPage) -> None:
    expect(open_page(open_server).get_by_role("button", name="Swap the languages")).to_be_disabled()  # no way back
    path = write_tiny_model(tmp_path / "both")
    both = replace(open_model(path).config, source_languages=("en", "de"), target_languages=("de", "en"))
    write_config(path, both)
    with serve(Settings(model_directory=path, threads=1)) as server:
        page = open_page(server)
        page.locator("#source").select_option("en")
        page.locator("#text").fill("The old house.")
        expect(page.locator("#progress")).to_contain_text("1 sentence in ")
        there = page.locator("#translation").text_content() or ""
        with page.expect_response("**/v1/translate/stream") as response:
            page.get_by_role("button", name="Swap the languages").click()
        assert response.value.request.post_data_json["source"] == "de"
        assert response.value.request.post_data_json["target"] == "en"
        assert response.value.request.post_data_json["text"] == there
        expect(page.locator("#source")).to_have_value("de")
        expect(page.locator("#target")).to_have_value("en")
        expect(page.locator("#translation")).to_have_attribute("lang", "en")
        with page.expect_response("**/v1/translate/stream"):
            page.keyboard.press("Alt+s")
        expect(page.locator("#source")).to_have_value("en")
