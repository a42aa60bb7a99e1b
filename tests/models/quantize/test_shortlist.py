"""The shortlist of a model: made from its attention, kept in its directory, refused whole where it is bad."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from kernels.tensor import Tensor
from models.__main__ import main
from models.codes.bit_config import find_config
from models.format.directory import open_model
from models.format.package import pack, unpack
from models.format.schema import SHORTLIST_FILE, ModelError
from models.format.weights import write_weights
from models.quantize.assemble import assemble
from models.quantize.export import Request, export
from models.quantize.shortlist import Sizes, find
from tests.models.conftest import sentences


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_checkpoint) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    request = Request("tiny", find_config("flat-4"), (), "progressive", 4, "alternating", None)
    export(tiny_checkpoint, [], request, path, notes="", overwrite=False)
    return path


@pytest.fixture(scope="module")
def listed(plain, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("listed")
    path = Path(shutil.copytree(plain, folder / "tiny"))
    (folder / "text").write_text("\n".join(sentences(120)))
    options = ["--text", str(folder / "text"), "--always", "5", "--each", "4", "--configs", "flat-4"]
    assert main(["shortlist", str(path), *options]) == 0
    return path


def test_it_is_part_of_the_directory_and_changes_no_weight(plain, listed, tmp_path):
    before, after = open_model(plain), open_model(listed)
    assert (before.config.shortlist, after.config.shortlist) == (None, ("flat-4",))
    assert {**before.config.checksums, SHORTLIST_FILE: after.config.checksums[SHORTLIST_FILE]} == after.config.checksums
    assert (before.engine().has_shortlist, after.engine().has_shortlist) == (False, True)
    pack(listed, tmp_path / "tiny.sub3.zip")
    unpack(tmp_path / "tiny.sub3.zip", tmp_path / "again")
    assert (tmp_path / "again" / SHORTLIST_FILE).read_bytes() == (listed / SHORTLIST_FILE).read_bytes()
    assemble(tmp_path / "again", [])
    assert (tmp_path / "again" / SHORTLIST_FILE).read_bytes() == (listed / SHORTLIST_FILE).read_bytes()
    after.release_pages()
    assert after.engine().translate([[5, 0]], max_lengths=[5], shortlist=True).hypotheses


def test_the_words_of_the_text_are_candidates_of_it(plain):
    """What was counted is in it: with room for all of them, each sentence translates in the same words."""
    model, texts = open_model(plain), sentences(120, seed=2)
    whole = find(model, texts, Sizes(always=5, each=60))
    some = find(model, texts, Sizes(always=5, each=1))
    assert (whole.sentences, some.sentences) == (114, 114)
    assert some.candidates <= whole.candidates <= len(model.vocabulary.source)
    assert some.same <= whole.same
    assert max(map(len, some.rows)) <= 2  # one, and the piece itself
    assert not any(model.config.ids.pad in rows for rows in (whole.always, *whole.rows))
    assert model.config.ids.eos in whole.always
    for source, rows in enumerate(whole.rows):  # names are copied piece by piece
        assert source in rows | whole.always | {*model.config.ids.suppressed} | model.config.ids.silent


def _spoilt(listed: Path, path: Path, **tensors: Tensor | None) -> None:
    """Copy the directory with another shortlist, and without its checksums."""
    shutil.copytree(listed, path)
    kept = {**open_model(listed).shortlist.tensors, **{f"shortlist.{name}": each for name, each in tensors.items()}}
    write_weights(path / SHORTLIST_FILE, {name: tensor for name, tensor in kept.items() if tensor is not None})


def _numbers(*values: int) -> Tensor:
    return Tensor("U32", (len(values),), array("I", values))


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"rows": None}, "'shortlist.rows' is missing"),
        ({"more": _numbers(1)}, "'shortlist.more' is not part"),
        ({"offsets": _numbers(0, 1)}, "'shortlist.offsets' is U32 [2]"),
        ({"offsets": _numbers(*[0] * 61)}, "'shortlist.offsets' does not divide 'shortlist.rows'"),
        ({"always": _numbers(60)}, "'shortlist.always' has the row 60 of a vocabulary of 60"),
        ({"rows": _numbers(2**32 - 1)}, "'shortlist.rows' has the row 4294967295"),
        ({"always": _numbers()}, "'shortlist.always' is empty"),
        ({"always": Tensor("F32", (1,), array("f", [1.0]))}, "'shortlist.always' is F32"),
        ({"always": Tensor("U32", (1, 1), array("I", [1]))}, "'shortlist.always' is U32 [1, 1]"),
    ],
)
def test_a_bad_one_is_refused_whole(listed, tmp_path, tensors, sentence):
    _spoilt(listed, tmp_path / "bad", **tensors)
    with pytest.raises(ModelError) as caught:
        open_model(tmp_path / "bad", verify=False)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "bad" / SHORTLIST_FILE))


def test_one_that_was_altered_lost_or_not_announced_is_refused(listed, tmp_path):
    for name, spoil, sentence in (
        ("altered", lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\1\0\0\0"), "the sha256 differs"),
        ("lost", Path.unlink, "the file is missing"),
        ("cut", lambda path: path.write_bytes(path.read_bytes()[:-4]), "sha256 differs"),
    ):
        shutil.copytree(listed, tmp_path / name)
        spoil(tmp_path / name / SHORTLIST_FILE)
        with pytest.raises(ModelError, match=sentence):
            open_model(tmp_path / name)
    config = json.loads((listed / "config.json").read_text())
    for change, sentence in (
        ({"shortlist": None}, "checksums must state"),
        ({"shortlist": ["flat-5"]}, "shortlist has 'flat-5'"),
        ({"shortlist": "flat-4"}, "shortlist must be a list"),
    ):
        path = Path(shutil.copytree(listed, tmp_path / str(len(list(tmp_path.iterdir())))))
        (path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=sentence):
            open_model(path)


def test_too_little_text_and_unknown_configurations_change_nothing(plain, tmp_path, capsys):
    (tmp_path / "one").write_text("ba de\n")
    before = {path.name: path.read_bytes() for path in plain.iterdir()}
    assert main(["shortlist", str(plain), "--text", str(tmp_path / "one")]) == 2
    assert "at least 20 sentences" in capsys.readouterr().err
    (tmp_path / "some").write_text("\n".join(sentences(25)))
    assert main(["shortlist", str(plain), "--text", str(tmp_path / "some"), "--configs", "x"]) == 2
    assert "no configuration 'x'" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in plain.iterdir()} == before


def test_the_one_command_has_it_too(tmp_path):
    command = [sys.executable, "-m", "service", "models", "shortlist", str(tmp_path), "--text", "x", "--each", "0"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "at least 1" in told.stderr
