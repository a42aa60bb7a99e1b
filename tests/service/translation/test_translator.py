"""Text -> text over the real engine: structure kept, nothing dropped, alternatives joined by rank."""

import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.engine import MAX_CONSTRAINTS, BatchResult, CancelFlag, Cancelled, Engine
from models.format.directory import open_model
from service.live.configurations import by_name
from service.text.glossary import Glossary
from service.text.placeholders import same
from service.translation.cost import STAGES
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.service.tiny_model import write_tiny_model

EN_DE = Options("en", "de")


@pytest.fixture(scope="module")
def translator(tiny_model: Path) -> Translator:
    directory = open_model(tiny_model)
    return Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)


def translated(translator: Translator, text: str) -> str:
    return translator.translate([text], EN_DE).translations[0].best.text


def test_a_document_is_its_sentences_translated_in_place(translator: Translator) -> None:
    first, second = translated(translator, "The old house."), translated(translator, "A big tree sees the river.")
    assert first != second
    document = "\tThe old house.  A big tree sees the river.\r\n\n😀 The old house. 🎉\n12.5\n"
    assert translated(translator, document) == f"\t{first}  {second}\r\n\n😀 {first} 🎉\n12.5\n"


def test_a_list_is_its_texts(translator: Translator) -> None:
    texts = ["The old house.", "😀", "A big tree sees the river.", " \n "]
    translations = translator.translate(texts, EN_DE).translations
    assert [translation.best.text for translation in translations] == [translated(translator, text) for text in texts]
    assert translations[0].best.score < 0
    assert translations[1].best[:2] == ("😀", 0.0)
    assert translations[3].best[:2] == (" \n ", 0.0)


def test_batches_do_not_change_a_translation(tiny_model: Path, translator: Translator) -> None:
    directory = open_model(tiny_model)
    narrow = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=1)
    texts = ["The old house.", "A big tree sees the river. The sun was over the tree.", "Hello world."]
    assert narrow.translate(texts, EN_DE).translations == translator.translate(texts, EN_DE).translations


def test_an_engine_call_holds_no_more_tokens_than_its_budget(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = open_model(tiny_model)
    narrow = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=60)
    calls: list[list[int]] = []  # tokens times rows, of each sentence of an engine call
    translate = Engine.translate

    def counted(engine: Engine, sources: Sequence[Sequence[int]], **options: Any) -> BatchResult:
        calls.append([len(source) * options["beam_size"] for source in sources])
        return translate(engine, sources, **options)

    monkeypatch.setattr(Engine, "translate", counted)
    long = "The old house sees a big tree near the river and the sun " * 3
    narrow.translate(["The old house."] * 9 + [long], Options("en", "de", beam_size=2))
    assert len(calls) > 1
    assert max(map(len, calls)) > 1
    assert all(sum(call) <= 60 or len(call) == 1 for call in calls)
    assert max(map(sum, calls)) > 60  # one that is too long for any call goes alone


def test_the_longest_translation_leaves_room_for_forced_terms(translator: Translator) -> None:
    term = "xqz" * 20  # a piece for each letter
    ids, forced = (translator._tokenizer.encode(text, "de") for text in ("The river.", term))
    assert len(forced) > 2 * len(ids) + 20
    options = Options("en", "de", glossary=Glossary({"river": term}, "en", "de"))
    assert term in translator.translate(["The river."], options).translations[0].best.text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "the old house sees a big tree near the river, " * 60,
        "the old house sees a big tree near the river " * 60,
        "river," * 400,
    ],
    ids=["clauses", "spaces", "no spaces"],
)
def test_an_over_long_sentence_is_cut_and_nothing_is_dropped(translator: Translator, text: str) -> None:
    sentences = list(translator._sentences(text, EN_DE))
    assert "".join(sentence.piece.text for sentence in sentences) == text
    lengths = [len(sentence.engine_input.ids) for sentence in sentences if sentence.engine_input is not None]
    assert len(lengths) > 1
    assert max(lengths) <= 200
    (translation,) = translator.translate([text], EN_DE).translations
    assert translation.cut_sentences == 1
    assert translation.best.text


def test_no_sentence_is_longer_than_the_model_s_positions(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    architecture = replace(directory.config.architecture, max_positions=40)
    directory = replace(directory, config=replace(directory.config, architecture=architecture))
    short = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)
    (translation,) = short.translate(["the old house sees a big tree near the river, " * 9], EN_DE).translations
    assert (translation.cut_sentences, translation.best.text == "") == (1, False)


def test_a_sentence_has_as_many_terms_as_the_engine_takes(translator: Translator) -> None:
    words = [*string.ascii_letters, *string.digits, "ab", "cd", "ef", "gh"]
    options = replace(EN_DE, glossary=Glossary(dict.fromkeys(words, "house"), "en", "de"))
    (sentence,) = translator._sentences(" ".join(words), options)
    assert sentence.engine_input is not None
    assert len(words) > len(sentence.engine_input.constraints) == MAX_CONSTRAINTS


def test_only_what_is_cut_counts_as_cut(translator: Translator) -> None:
    long = "the old house sees a big tree near the river, " * 60
    translations = translator.translate(["The old house.", f"{long}\n{long}\nThe sun."], EN_DE).translations
    assert [translation.cut_sentences for translation in translations] == [0, 2]


@pytest.mark.parametrize("alternatives", [0, 2])
def test_the_first_sentence_begins_with_the_prefix(default_model_dir: Path, alternatives: int) -> None:
    directory = open_model(default_model_dir)
    translator = Translator(directory, Tokenizer(directory), *by_name(directory, "best-2"), max_batch_tokens=4096)
    options = replace(EN_DE, alternatives=alternatives)
    for text, prefix in (
        ("The old house.", "Das"),
        ("The old house.", "Der Baum und ein Haus"),
        ("  Open {name} and the 12 files! The river is old.", "Öffnen Sie bitte {name}"),
        ("  Open {name} and the 12 files! The river is old.", "Die 12 Dateien"),
    ):
        free, found = (
            translator.translate([text], replace(options, prefix=begin)).translations[0] for begin in ("", prefix)
        )
        assert len(found.alternatives) == alternatives
        for candidate in (found.best, *found.alternatives):
            assert candidate.text.strip().startswith(prefix)
            assert same(candidate.text, text)  # a unit is there once, in the prefix or behind it
        if "! " in text:  # the second sentence is as it was
            assert found.best.text.endswith(free.best.text.rpartition("! ")[2])
    translator.close()


@pytest.mark.parametrize("prefix", ["", " ", "漢字", "a " * 500])
def test_a_prefix_that_can_not_be_spelt_changes_nothing(translator: Translator, prefix: str) -> None:
    assert translator.translate(["The old house."], replace(EN_DE, prefix=prefix)).translations == (
        translator.translate(["The old house."], EN_DE).translations
    )


@pytest.mark.parametrize("beam", [Options("en", "de"), Options("en", "de", alternatives=2)], ids=["greedy", "beam"])
def test_what_a_model_loses_is_copied_from_the_source(translator: Translator, beam: Options) -> None:
    # this one knows no stand-in, so each sentence is cut at what is kept
    texts = ["The {old} house %s sees https://example.org/a.", "{a}{b}", "The <b>big</b> tree.", "%s: the sun"]
    for text, translation in zip(texts, translator.translate(texts, beam).translations, strict=True):
        for candidate in (translation.best, *translation.alternatives):
            assert same(candidate.text, text)
            assert (candidate.text == text) == (text == "{a}{b}")  # what is between is translated


def test_alternatives_are_the_hypotheses_of_a_rank_joined(translator: Translator) -> None:
    options = Options("en", "de", beam_size=1, alternatives=2)
    (one,) = translator.translate(["The old house."], options).translations
    (two,) = translator.translate(["A big tree sees the river."], options).translations
    (both,) = translator.translate(["The old house. A big tree sees the river."], options).translations
    assert len(one.alternatives) == len(two.alternatives) == len(both.alternatives) == 2
    for first, second, joined in zip(
        (one.best, *one.alternatives), (two.best, *two.alternatives), (both.best, *both.alternatives), strict=True
    ):
        assert joined.text == f"{first.text} {second.text}"
        assert joined.score == pytest.approx((first.score + second.score) / 2, abs=1e-5)


def test_a_model_is_searched_by_its_own_beam_unless_asked_otherwise(tmp_path: Path) -> None:
    directory = open_model(write_tiny_model(tmp_path / "wide", beam_size=6))
    wide = Translator(directory, Tokenizer(directory), *by_name(directory, "full"), max_batch_tokens=4096)

    def cache_bytes(**options: Any) -> int:
        return wide.translate(["The old house."], Options("en", "de", **options)).cost.memory.kv_cache_peak_bytes

    by_width = {width: cache_bytes(beam_size=width) for width in (1, 2, 6, 7)}
    assert len(set(by_width.values())) == 4
    assert cache_bytes() == by_width[6]
    assert cache_bytes(alternatives=6) == by_width[7]
    assert cache_bytes(max_beam_size=2) == by_width[2]
    assert cache_bytes(max_beam_size=2, beam_size=1) == by_width[1]


@pytest.mark.parametrize("mark", [">>fra<< ", ">>fr<<", " >>FR<<\n"])
@pytest.mark.parametrize(
    "text",
    ["The old house.", "- The old house.\n  A big {tree} sees 12 rivers.", "The {a} old {b} house {c}.", "😀", ""],
)
def test_a_text_may_name_its_target_language(tiny_model: Path, mark: str, text: str) -> None:
    directory = open_model(tiny_model)
    tokens = {"de": "▁old", "fr": "▁big"}  # any piece will do
    several = replace(directory, config=replace(directory.config, target_tokens=tokens))
    translator = Translator(several, Tokenizer(several), *by_name(directory, "full"), max_batch_tokens=4096)
    [french, german, marked, unmarked] = [
        translator.translate([each], Options("en", target, alignment=True, **others)).translations[0].best
        for each, target, others in (
            (text, "fr", {}),
            (text, "de", {}),
            (mark + text, "de", {}),
            (mark + text, "de", {"obeys_marks": False}),
        )
    ]
    assert marked[:2] == french[:2]
    assert unmarked[:2] == german[:2]
    moved = [(link.source[0] - len(mark), link.target) for link in marked.alignment if link.source[0] >= len(mark)]
    assert moved == [(link.source[0], link.target) for link in french.alignment]


def test_what_names_no_language_of_the_model_is_text(translator: Translator) -> None:
    assert translated(translator, ">>fr<< The old house.") != translated(translator, "The old house.")


def test_the_costs_are_counted(translator: Translator) -> None:
    cost = translator.translate(["The old house."], EN_DE).cost
    assert cost.weights == {translator.identity: translator.model_bytes}
    assert cost.memory.workspace_peak_bytes > 0
    assert cost.memory.kv_cache_peak_bytes > 0
    assert cost.latency_ms.decode > 0
    assert cost.latency_ms.total == pytest.approx(sum(getattr(cost.latency_ms, stage) for stage in STAGES), abs=1e-9)
    nothing = translator.translate(["😀"], EN_DE).cost
    assert nothing.weights == cost.weights
    assert (nothing.memory.workspace_peak_bytes, nothing.memory.kv_cache_peak_bytes) == (0, 0)
    assert nothing.latency_ms.decode == 0


def test_a_set_flag_ends_the_work(translator: Translator) -> None:
    cancel = CancelFlag()
    cancel.set()
    with pytest.raises(Cancelled):
        translator.translate(["The old house."], EN_DE, cancel)


def test_the_identity_is_the_directory_s(tiny_model: Path, translator: Translator) -> None:
    directory = open_model(tiny_model)
    configuration = directory.config.configurations["full"]
    assert translator.identity.version == directory.config.checksums["model.safetensors"][:12]
    assert translator.identity.bits_per_weight == round(configuration.bits_per_weight, 4)
    assert translator.model_bytes == configuration.bytes
