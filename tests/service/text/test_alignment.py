"""Word links: where they may point, what they must join, and spans through masks and normalisation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format.directory import ModelDirectory, open_model
from service.text import placeholders
from service.text.alignment import Link, best_layer, links
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.linear import growth


def character_tokens(text: str) -> list[tuple[int, int]]:
    return [(place, place + 1) for place in range(len(text))]


@given(st.lists(st.sampled_from(["ab", "c", "de"]), min_size=1, max_size=8), st.randoms())
def test_words_are_linked_where_the_attention_is(words, choose):
    """Each word of a shuffled copy in other letters looks at one word only."""
    order = list(range(len(words)))
    choose.shuffle(order)
    source, target = " ".join(words), " ".join(words[place].upper() + "x" for place in order)
    source_spans, target_spans = character_tokens(source), character_tokens(target)
    begins = np.cumsum([0, *(len(word) + 1 for word in words)])
    attention = np.zeros((len(target_spans), len(source_spans)))
    position = 0
    expected = []
    for place in order:
        length = len(words[place]) + 1
        attention[position : position + length, begins[place]] = 1
        expected.append(Link((begins[place], begins[place + 1] - 1), (position, position + length)))
        position += length + 1
    assert links(attention, source, source_spans, target, target_spans) == expected


def test_time_grows_with_the_pairs_of_words():
    """On the event loop, where nothing may hold it for long: no sum of a row for each of its values."""

    def work(words: int) -> Callable[[], object]:
        text = "a " * words
        spans = [(2 * place, 2 * place + 1) for place in range(words)]
        attention = [[1 / words] * words] * words
        return lambda: links(attention, text, spans, text, spans)

    assert growth(work, 16) < 5.5  # 4 by the pairs of words, 8 by their triples


def test_names_numbers_and_marks_join_their_like():
    source, target = "Tom paid 20 euros, Ann 30.", "20 Euro zahlte Tom, 30 Ann."
    flat = np.full((len(target), len(source)), 1 / len(source))
    found = {
        target[slice(*link.target)]: source[slice(*link.source)]
        for link in links(flat, source, character_tokens(source), target, character_tokens(target))
    }
    assert {word: found[word] for word in ("Tom", "Ann", "20", "30", ",", ".")} == {
        word: word for word in ("Tom", "Ann", "20", "30", ",", ".")
    }


def words_of(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def linked(source: str, target: str, attention: list[list[float]]) -> dict[str, str]:
    """Return the source word of each target word, where each word is a token."""
    found = links(attention, source, words_of(source), target, words_of(target))
    return {target[slice(*link.target)]: source[slice(*link.source)] for link in found}


def test_a_word_that_nothing_looks_at_wins_no_link_by_the_little_that_it_has():
    attention = [[0.05, 0.9, 0.05], [0.0, 0.05, 0.95]]
    assert linked("the dog sleeps", "Hunde schlafen", attention) == {"Hunde": "dog", "schlafen": "sleeps"}


@pytest.mark.parametrize(
    ("source", "target", "place", "looks_at", "expected"),
    [
        ("Click here now", "Klicken Sie hier", 1, 1, "Click"),
        ("Open the page", "Öffnen Sie Seite", 1, 1, "Open"),
        ("He hides well", "Er versteckt sich", 2, 2, "hides"),
        ("When you ask", "Wenn Sie fragen", 1, 1, "you"),
        ("You asked him", "Sie fragten ihn", 0, 0, "You"),
        ("It opened itself", "Es öffnete sich", 2, 2, "itself"),
        ("Trees open late", "Bäume sie spät", 1, 2, "late"),
    ],
)
def test_a_pronoun_that_the_source_leaves_out_goes_with_the_word_before(
    source: str, target: str, place: int, looks_at: int, expected: str
):
    """The decoder looks ahead when it writes one, and a pair of tags would begin before it."""
    attention = [[float(row == column) for column in range(3)] for row in range(3)]
    attention[place] = [float(column == looks_at) for column in range(3)]
    assert linked(source, target, attention)[target.split()[place]] == expected


def test_of_two_words_that_are_alike_the_nearer_one_is_linked():
    source, target = "She saw the dog and THE cat in her garden", "Sie sah den Hund und die Katze in ihrem Garten"
    attention = [[float(row == column) for column in range(10)] for row in range(10)]
    attention[2][2], attention[2][5], attention[5][5] = 0.15, 0.85, 0.0
    assert linked(source, target, attention)["den"] == "the"
    attention[2][2], attention[2][5] = 0.05, 0.95
    assert linked(source, target, attention)["den"] == "THE"  # but not whatever the attention


@given(st.text("ab %s1{}_", max_size=20), st.data())
def test_spans_follow_what_is_hidden_and_restored(text, data):
    spans = placeholders.find(text)
    hidden, moves = placeholders.hide(text, spans), placeholders.hidden(text, spans)
    for (stand_in, span), kept in zip([move for move in moves if move[1][0] < move[1][1]], spans, strict=True):
        assert span == kept
        assert placeholders.followed(stand_in, moves) == span
    assert placeholders.followed((0, len(hidden)), moves) == (0, len(text))
    begin = data.draw(st.integers(0, len(hidden)))
    end = data.draw(st.integers(begin, len(hidden)))
    new_begin, new_end = placeholders.followed((begin, end), moves)
    assert 0 <= new_begin <= new_end <= len(text)
    if not any(first < end and begin < last for (first, last), _ in moves):
        assert text[new_begin:new_end] == hidden[begin:end]


@pytest.fixture(scope="module")
def directory(default_model_dir: Path) -> ModelDirectory:
    return open_model(default_model_dir)


@pytest.fixture(scope="module")
def tokenizer(directory: ModelDirectory) -> Tokenizer:
    return Tokenizer(directory)


@pytest.fixture(scope="module")
def translator(directory: ModelDirectory, tokenizer: Tokenizer) -> Translator:
    default = directory.config.default_configuration
    return Translator(directory, tokenizer, default, directory.allocation(default), 4096)


@given(st.text("abc xyz.,!?äé\u0301\u00ad²\u2029漢\n%s{}1<>", max_size=60))
def test_the_pieces_of_a_text_stand_in_order_and_cover_it(tokenizer, text):
    spans = tokenizer.spans(text)
    assert len(spans) == len(tokenizer.encode(text, "de")) - 1
    assert all(begin <= end for begin, end in spans)
    assert [begin for begin, _ in spans] == sorted(begin for begin, _ in spans)
    assert all(end <= len(text) for _, end in spans)


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize(
    "text",
    [
        "I like Berlin. Do you like it?\n\n- Yes, 42 times!",
        "Press {key} to open http://a.b/c, then %s. The cafe\u0301 costs $HOME.",
        "12345 ... 🙂",
        "漢字 is unknown, x² is not.",
        "word " * 300,
    ],
)
def test_links_lie_within_the_texts_in_order_and_change_nothing(translator, text, beam_size):
    plain = translator.translate([text], Options("en", "de", beam_size)).translations[0]
    best = translator.translate([text], Options("en", "de", beam_size, alignment=True)).translations[0].best
    assert (best.text, best.score, plain.best.alignment) == (plain.best.text, plain.best.score, ())
    position = 0
    for link in best.alignment:
        assert 0 <= link.source[0] < link.source[1] <= len(text)
        assert position <= link.target[0] < link.target[1] <= len(best.text)
        position = link.target[1]
    for kept in ("{key}", "http://a.b/c", "%s", "$HOME"):
        if kept in text:
            assert (kept, kept) in [(text[slice(*a)], best.text[slice(*b)]) for a, b in best.alignment]


def test_the_layer_is_one_of_the_decoder_s():
    assert all(1 <= best_layer(layers) <= layers for layers in range(1, 13))


def test_the_reply_has_links_if_they_are_asked_for(client: httpx.Client):
    body = {"text": "The old house.", "source": "en", "target": "de"}
    plain = client.post("/v1/translate", json=body).json()["translations"][0]
    aligned = client.post("/v1/translate", json=body | {"alignment": True}).json()["translations"][0]
    assert "alignment" not in plain
    assert aligned["text"] == plain["text"]
    assert aligned["alignment"]
    assert all(link.keys() == {"source", "target"} for link in aligned["alignment"])
