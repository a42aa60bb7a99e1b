"""Back-translation: shards of monolingual text, and the pairs that are kept of them."""

from __future__ import annotations

import json
import lzma

import pytest

from models.__main__ import main
from models.text.language import reads_as
from models.text.lines import DataError
from models.train.back_translation import fault, write_shards

TEXT = "Der Zug nach München fährt heute um 10 Uhr ab."


@pytest.mark.parametrize(
    ("translation", "reason"),
    [
        ("The train to Munich leaves at 10 o'clock today.", None),
        ("", "empty"),
        ("The train\tto Munich leaves at 10 today.", "empty"),
        ("The train.", "length"),
        ("the train to Munich the train to Munich the train to Munich at 10.", "loop"),
        ("Der Zug nach München fährt heute um 10 Uhr ab.", "copied"),
        ("The train to Munich leaves at 11 o'clock today.", "numbers"),
        ("The train to Munich leaves at 10 or 11 o'clock today.", "numbers"),
        ("Ein Wagen und die Bahn sind von der Stadt 10 fort.", "language"),
        ("Le train pour la ville de Munich part à 10 heures.", "language"),
    ],
)
def test_a_translation_is_dropped_for_its_fault(translation, reason):
    assert fault(TEXT, "de", translation, "en") == reason


def test_the_language_of_a_sentence_is_told():
    assert reads_as("This is the house of my brother.", "en")
    assert not reads_as("This is the house of my brother.", "de")
    assert reads_as("Das ist das Haus von meinem Bruder.", "de")
    assert reads_as("Berlin", "en")  # nothing tells
    assert reads_as("This is the house.", "xx")


def test_shards_hold_each_sentence_once_and_pairs_put_the_translation_first(tmp_path, capsys):
    lines = [f"Satz Nummer {n} hat fünf Wörter." for n in range(5000)]
    with lzma.open(tmp_path / "text.de.xz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in [*lines, *lines[:100], "Zu kurz.", "x " * 61]))
    shards, translated, pairs = tmp_path / "in", tmp_path / "out", tmp_path / "back.tsv"
    command = ["backtranslate", "shards", str(tmp_path / "text.de.xz"), "--out", str(shards)]
    assert main([*command, "--sentences", "4500"]) == 0
    found = [json.loads(line)["text"] for path in sorted(shards.iterdir()) for line in path.read_text().splitlines()]
    assert [len(path.read_text().splitlines()) for path in sorted(shards.iterdir())] == [4000, 500]
    assert len(set(found)) == 4500
    assert set(found) <= set(lines)
    with pytest.raises(DataError, match="is not empty"):
        write_shards([tmp_path / "text.de.xz"], shards, sentences=5, seed=1)
    translated.mkdir()
    for path in shards.iterdir():
        texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
        rows = ({"text": t, "translation": f"The sentence {t.split()[2]} has five words."} for t in texts)
        (translated / path.name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["backtranslate", "pairs", str(translated), str(pairs), "--source", "en", "--target", "de"]) == 0
    assert "4,500 pairs" in capsys.readouterr().out
    first = pairs.read_text(encoding="utf-8").splitlines()[0].split("\t")
    assert first == [f"The sentence {found[0].split()[2]} has five words.", found[0]]
    assert main(["backtranslate", "pairs", str(tmp_path / "none"), str(pairs), "--source", "en", "--target", "de"]) == 2
