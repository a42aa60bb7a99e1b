"""A tiny model in each version of the format, opened and translated with for ever.

The directories of golden/ are never written again. When the format changes, the newest one, written by `write_model`
under the new version's name, joins them; it is the same model, and expected.json holds of all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece

from models.format.directory import open_model
from models.format.schema import FORMAT_VERSION, SENTENCEPIECE_FILES, VOCABULARY_FILES
from models.format.write import write_model

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "expected.json").read_text())


def test_every_version_that_is_read_has_a_model():
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == {f"v{version}" for version in VOCABULARY_FILES}


@pytest.mark.parametrize("version", VOCABULARY_FILES)
def test_a_model_of_this_version_translates_as_ever(version):
    model = open_model(GOLDEN / f"v{version}")
    assert model.config.format_version == version
    pieces = model.vocabulary
    source, target = (sentencepiece.SentencePieceProcessor(str(model.path / name)) for name in SENTENCEPIECE_FILES)
    assert {case["configuration"] for case in CASES} == set(model.config.configurations)
    for case in CASES:
        ids = [pieces.source.find(piece) for piece in source.encode(case["text"], out_type=str)]
        assert [*ids, model.config.ids.eos] == case["source"]
        engine = model.engine(model.allocation(case["configuration"]))
        found = engine.translate([case["source"]], max_lengths=[10], beam_size=2, num_hypotheses=2).hypotheses[0]
        assert [hypothesis.ids for hypothesis in found] == [expected["ids"] for expected in case["hypotheses"]]
        for hypothesis, expected in zip(found, case["hypotheses"], strict=True):
            assert hypothesis.score == pytest.approx(expected["score"], rel=1e-6)
            assert target.decode(list(map(pieces.target_pieces.piece, hypothesis.ids))) == expected["text"]


@pytest.mark.parametrize("version", VOCABULARY_FILES)
def test_each_of_them_is_written_again_as_the_newest(tmp_path, version):
    model, newest = open_model(GOLDEN / f"v{version}"), GOLDEN / f"v{FORMAT_VERSION}"
    files = {name: (model.path / name).read_bytes() for name in SENTENCEPIECE_FILES}
    specialised = {name: mapped.tensors for name, mapped in model.specialised.items()}
    write_model(tmp_path / "new", model.config, model.main.tensors, model.vocabulary, files, specialised=specialised)
    assert sorted(path.name for path in newest.iterdir()) == sorted(path.name for path in (tmp_path / "new").iterdir())
    for path in newest.iterdir():
        assert path.read_bytes() == (tmp_path / "new" / path.name).read_bytes(), path.name
