"""Which terms stand in a sentence, and translations that have what a glossary says."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format.directory import open_model
from service.live.configurations import by_name
from service.text.glossary import Glossary, GlossaryRefused, Term, are_obeyed
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

ENTRIES = {
    "tree": "Baum",
    "Sun": "Sun Microsystems",
    "old house": "Altbau",
    "old": "alt",
    "the old house of": "das alte Haus von",
    "C++": "C++",
    "GitHub": "GitHub",
    "café": "Kaffeehaus",
    "e-mail": "Mail",
}


def found(text: str, entries: dict[str, str] | None = None, *kept: tuple[int, int]) -> list[str]:
    """Return the first spelling of each term's translation."""
    glossary = Glossary(ENTRIES if entries is None else entries, "en", "de")
    return [term.spellings[0] for term in glossary.find(text, kept)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The tree.", ["Baum"]),
        ("Tree and TREE", ["Baum", "Baum"]),  # in lower case it is any casing; the second may be in capitals
        ("A treetop, a tree-house, an apple-tree, trees", []),
        ("a tree's shade", ["Baum"]),
        ("the sun and the Sun and SUN", ["Sun Microsystems"]),  # with a capital it is as written
        ("GitHub, not Github", ["GitHub"]),
        ("the old house", ["Altbau"]),  # the longest
        ("the old  \n house", ["Altbau"]),
        ("the old house of cards", ["das alte Haus von"]),
        ("the old house oF", ["das alte Haus von"]),
        ("so old a house", ["alt"]),
        ("I like C++.", ["C++"]),
        ("C and C+", []),
        ("a cafe\u0301 and a café", ["Kaffeehaus"]),  # decomposed and composed
        ("by e-mail", ["Mail"]),
        ("", []),
    ],
)
def test_terms_are_whole_words_the_longest_first(text: str, expected: list[str]) -> None:
    assert found(text) == expected


def test_a_term_is_spelt_as_its_place_asks() -> None:
    glossary = Glossary({"save": "speichern", "tree": "tree", "printer": "Drucker"}, "en", "de")
    assert glossary.find("Save the Tree", ()) == [
        Term(("speichern", "Speichern"), False, ((0, 4),)),
        Term(("Tree",), False, ((9, 13),)),  # what is not translated stands as it stood
    ]
    assert glossary.find('SAVE the "printer"', ()) == [
        Term(("speichern", "Speichern", "SPEICHERN"), False, ((0, 4),)),
        Term(("Drucker",), True, ((10, 17),)),
    ]
    assert glossary.find("tree (tree) tree", ()) == [
        Term(("tree",), True, ((0, 4), (6, 10), (12, 16)))
    ]  # several times is once


def test_what_is_kept_holds_no_term() -> None:
    assert found("the tree {tree}", None, (9, 15)) == ["Baum"]
    assert found("the {tree}", None, (4, 10)) == []
    assert found("the old house", None, (8, 13)) == ["alt"]  # the longer one is partly kept


@pytest.mark.parametrize(
    ("translation", "is_exact", "is_inflected"),
    [
        ("Der Drucker ist neu.", True, True),
        ("Des Druckers Kabel ist neu.", False, True),
        ("Den Druckern fehlt es.", False, True),
        ("Die Druckerei ist neu.", False, False),
        ("Der Druckertreiber ist neu.", False, False),
        ("Der Netzdrucker ist neu.", False, False),
        ("Der Drucker und die Drucker.", False, False),
        ("Der Drucker und des Druckers.", True, False),
        ("Des Druckers-Kabel ist neu.", False, False),
    ],
)
def test_an_ending_is_allowed_where_inflection_is_the_model_s(
    translation: str, is_exact: bool, is_inflected: bool
) -> None:
    source = "The printer is new."
    glossary = Glossary({"printer": "Drucker"}, "en", "de")
    assert are_obeyed(glossary.find(source, ()), source, translation) is is_exact
    assert are_obeyed(glossary.find(source, (), exact=False), source, translation) is is_inflected


@pytest.mark.parametrize(
    ("translation", "expected"),
    [
        ("Die Reihe der Reihe ist lang.", True),
        ("Die Reihe ist lang.", False),
        ("Die Reihe der Reihe ist eine Reihe.", False),
        ("Die Reihe der Reihen-Reihe ist lang.", False),
    ],
)
def test_terms_with_the_same_translation_are_counted_together(translation: str, expected: bool) -> None:
    source = "The range of the column is long."
    terms = Glossary({"range": "Reihe", "column": "Reihe"}, "en", "de").find(source, ())
    assert are_obeyed(terms, source, translation) is expected


WORDS = st.sampled_from(["a", "b", "ab", "A", "c"])
TEXT = st.lists(st.tuples(WORDS, st.sampled_from([" ", "-", ", ", "  "])), max_size=12)


@given(TEXT, st.sets(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), max_size=6))
def test_it_finds_what_a_plain_expression_finds(parts: list[tuple[str, str]], terms: set[str]) -> None:
    """The leftmost, then the longest, by one alternation of all terms."""
    text = "".join(word + space for word, space in parts)
    alternatives = sorted(terms, key=lambda term: -len(term.split()))
    ways = [r"\s+".join(term.split()) for term in alternatives]
    ways = [way if term != term.lower() else f"(?i:{way})" for way, term in zip(ways, alternatives, strict=True)]
    pattern = rf"(?<!\w)(?<!\w-)(?:{'|'.join(ways)})(?!\w|-\w)"
    expected = [" ".join(match[0].split()) for match in re.finditer(pattern, text)] if terms else []
    assert found(text, {term: term for term in terms}) == list(dict.fromkeys(expected))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"": "a"}, "empty"),
        ({"a": "  "}, "empty"),
        ({"a" * 201: "a"}, "200 characters"),
        ({"a " * n: "a" for n in range(1, 22)}, "20 lengths"),
        ({"a": "b\x00c"}, "control"),
    ],
)
def test_what_is_no_glossary_is_refused(entries: dict[str, str], words: str) -> None:
    with pytest.raises(GlossaryRefused, match=words):
        Glossary(entries, "en", "de")


@pytest.fixture(scope="module")
def translator(tiny_model: Path) -> Translator:
    directory = open_model(tiny_model)
    return Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)


def translated(translator: Translator, text: str, entries: dict[str, str], **options: int) -> list[str]:
    asked = Options("en", "de", glossary=Glossary(entries, "en", "de"), **options)
    translation = translator.translate([text], asked).translations[0]
    return [translation.best.text, *(candidate.text for candidate in translation.alternatives)]


@pytest.mark.parametrize("alternatives", [0, 3])
def test_every_translation_has_the_terms(translator: Translator, alternatives: int) -> None:
    entries = {"house": "Baumhaus", "the river": "die Elbe", "sun": "sun"}
    texts = translated(translator, "The old house sees the river near the sun.", entries, alternatives=alternatives)
    assert 1 <= len(texts) <= alternatives + 1  # of rows that end at the same step there are fewer
    for text in texts:
        for term in ("Baumhaus", "ie Elbe", "sun"):
            assert term in text


def test_placeholders_stay_beside_terms(translator: Translator) -> None:
    (text,) = translated(translator, "The house {name} sees the tree.", {"name": "Name", "tree": "Baum"})
    assert "{name}" in text
    assert "Baum" in text
    assert "Name" not in text


def test_what_has_no_term_is_translated_as_without(translator: Translator) -> None:
    plain, wide = Options("en", "de"), Options("en", "de", beam_size=3)
    text = "The old house. A big tree sees the river."
    for options in (plain, wide):
        expected = translator.translate([text], options)
        for glossary in (Glossary({"world": "Welt"}, "en", "de"), Glossary({"tree": "Baum"}, "de", "en")):
            with_it = translator.translate([text], Options("en", "de", options.beam_size, glossary=glossary))
            assert with_it.translations == expected.translations
    # and the sentence beside one that has it
    (with_term,) = translated(translator, text, {"tree": "Baum"})
    first = translator.translate(["The old house."], plain).translations[0].best.text
    assert with_term.startswith(f"{first} ")
    assert "Baum" in with_term


def test_a_translation_that_the_vocabulary_can_not_spell_is_refused(translator: Translator) -> None:
    assert translated(translator, "The old house.", {"tree": "木"})
    with pytest.raises(GlossaryRefused, match='"木"'):
        translated(translator, "The big tree.", {"tree": "木"})
    with pytest.raises(GlossaryRefused, match="spell"):
        translated(translator, "The big tree.", {"tree": "Baum²"})
