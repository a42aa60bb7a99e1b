"""Text <-> ids through the model's vocabulary."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.format.directory import open_model
from models.format.schema import ModelError
from service.translation.tokenizer import Tokenizer


@pytest.mark.parametrize("text", ["The old house sees a big tree.", "Hello world", "abc, 12!"])
def test_round_trip(tiny_model: Path, text: str) -> None:
    tokenizer = Tokenizer(open_model(tiny_model))
    assert tokenizer.decode(tokenizer.encode(text, "de")) == text


def test_ids_are_rows_and_end_with_eos(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    ids = Tokenizer(directory).encode("The old 漢 house.", "de")
    assert ids[-1] == directory.config.ids.eos
    assert directory.config.ids.unk_source in ids
    assert all(0 <= row < directory.config.architecture.source_vocab_size for row in ids)


def test_special_rows_say_nothing(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    ids, tokenizer = directory.config.ids, Tokenizer(directory)
    text = tokenizer.encode("The old house", "de")[:-1]
    assert tokenizer.decode([ids.decoder_start, *text, ids.unk_target, ids.pad, ids.eos]) == "The old house"


def test_the_target_language_s_token_comes_first(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    piece = directory.vocabulary.source[20][0]
    tagged = replace(directory, config=replace(directory.config, target_tokens={"de": piece}))
    plain = Tokenizer(directory).encode("Hello world", "de")
    assert Tokenizer(tagged).encode("Hello world", "de") == [20, *plain]


def test_punctuation_is_normalised_where_the_model_was_trained_so_and_words_are_followed(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    moses = Tokenizer(replace(directory, config=replace(directory.config, moses_punctuation=True)))
    plain = Tokenizer(directory)
    text = " The\xa0old “house”,\u200b  big (tree) …"
    normal = 'The\xa0old "house," big (tree) ...'
    assert moses.encode(text, "de") == plain.encode(normal, "de") != plain.encode(text, "de")
    spans = moses.spans(text)
    assert len(spans) == len(moses.encode(text, "de")) - 1
    for word in ("house", "big", "tree"):
        begin = text.index(word)
        assert any(start <= begin < end for start, end in spans)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)


def test_a_target_token_without_a_row_is_refused(tiny_model: Path) -> None:
    directory = open_model(tiny_model)
    tagged = replace(directory, config=replace(directory.config, target_tokens={"de": ">>deu<<"}))
    with pytest.raises(ModelError, match=">>deu<<"):
        Tokenizer(tagged)


def test_a_broken_sentencepiece_file_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "source.spm").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"source\.spm"):
        Tokenizer(replace(open_model(tiny_model), path=tmp_path))
