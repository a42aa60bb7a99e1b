"""Students of Marian and Bergamot, with SSRUs: what Marian itself translates, and an independent forward pass."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.__main__ import main
from models.format.directory import open_model
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.imported import write_checkpoint
from models.marian.marian import write_marian
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer
from tests.kernels.coded_model import code
from tests.models.conftest import sentences
from tests.models.marian import student
from tests.models.marian.greedy import greedy

SIZE, STEPS = 60, 3
TIED, APART = (student.student(SIZE, student.SEED, tied=tied) for tied in (True, False))
# Of `python -m tests.models.marian.student`: greedy, at most twice as many pieces as the source has.
TRANSLATIONS = Path(__file__).with_name("golden") / "student"


@pytest.fixture(scope="module")
def spm() -> bytes:
    return (TRANSLATIONS / "vocab.spm").read_bytes()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, spm: bytes) -> Checkpoint:
    path = tmp_path_factory.mktemp("student") / "eng-deu"
    student.write_npz(path, APART, spm)
    return read_checkpoint(path)


def sources_of(checkpoint: Checkpoint, texts: list[str]) -> list[list[int]]:
    return [checkpoint.ids.ended(rows) for rows in checkpoint.source_tokenizer().encode_all(texts)]


def test_a_student_translates_as_marian_itself_does(checkpoint: Checkpoint) -> None:
    assert (checkpoint.source_languages, checkpoint.target_languages) == (("en",), ("de",))
    assert (checkpoint.beam_size, checkpoint.length_penalty) == (2, 0.6)
    shape = checkpoint.architecture
    assert (shape.autoregression, shape.encoder_layers, shape.decoder_layers) == ("ssru", 3, 2)
    theirs = json.loads((TRANSLATIONS / "translations.json").read_text(encoding="utf-8"))
    assert len(set(theirs.values())) > 10
    sources, writer = sources_of(checkpoint, list(theirs)), checkpoint.target_tokenizer()
    model = Transformer.from_tensors(shape, checkpoint.tensors)
    found = model.greedy(sources, checkpoint.ids, [2 * len(source) for source in sources])
    assert [writer.decode(rows) for rows in found] == list(theirs.values())


def test_a_student_translates_as_an_independent_forward_pass(checkpoint: Checkpoint) -> None:
    reference = student.Reference(APART)
    sources = sources_of(checkpoint, sentences(20, 31))
    found = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors).greedy(
        sources, checkpoint.ids, [20] * len(sources)
    )
    assert found == [reference.greedy(source, 20) for source in sources]


def test_the_engine_at_eight_planes_translates_as_fp32(checkpoint: Checkpoint) -> None:
    engine, rounded = code(checkpoint.architecture, checkpoint.tensors, lambda _: 8, ids=checkpoint.ids)
    sources = sources_of(checkpoint, sentences(60, 31))
    theirs = greedy(checkpoint, sources, STEPS)
    mine = [best.ids for (best,) in engine.translate(sources, max_lengths=[STEPS] * len(sources)).hypotheses]
    alike = [each == rows for each, (rows, is_clear) in zip(mine, theirs, strict=True) if is_clear]
    assert len(alike) >= 4
    assert all(alike)
    target = [checkpoint.ids.decoder_start, *theirs[0][0]]
    with torch.inference_mode():
        expected = rounded(torch.tensor([sources[0]]), torch.tensor([target]))[0].numpy()
    assert np.abs(engine.logits(sources[0], target) - expected).max() < 5e-3 * expected.std()


@pytest.mark.parametrize("tensors", [TIED, APART], ids=["tied", "apart"])
def test_bergamots_file_is_what_its_eight_bits_stand_for(tmp_path: Path, spm: bytes, tensors: student.Arrays) -> None:
    path = tmp_path / "student"
    path.mkdir()
    (path / "model.ende.intgemm.alphas.bin").write_bytes(student.bergamot_bytes(tensors))
    (path / "vocab.ende.spm").write_bytes(spm)
    (path / f"{student.LEXICON}.gz").write_bytes(b"\xf5\x17")
    with pytest.warns(UserWarning, match="it is compressed"):
        read = read_checkpoint(path)
    assert (read.source_languages, read.target_languages) == (("en",), ("de",))
    student.write_npz(tmp_path / "eng-deu", student.rounded(tensors), spm)
    plain = read_checkpoint(tmp_path / "eng-deu")
    assert read.architecture == plain.architecture
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in plain.tensors.items())


@pytest.fixture
def listed(tmp_path: Path, spm: bytes) -> Path:
    """Write a student of Bergamot with the shortlist that Marian read."""
    path = tmp_path / "listed"
    path.mkdir()
    (path / "model.ende.intgemm.alphas.bin").write_bytes(student.bergamot_bytes(APART))
    (path / "vocab.ende.spm").write_bytes(spm)
    shutil.copy(TRANSLATIONS / student.LEXICON, path)
    return path


def test_the_shortlist_of_a_student_is_that_which_marian_takes(listed: Path) -> None:
    checkpoint = read_checkpoint(listed)
    assert checkpoint.shortlist is not None
    always, of = checkpoint.shortlist
    reference, reader, writer = student.Reference(APART), checkpoint.source_tokenizer(), checkpoint.target_tokenizer()
    theirs = json.loads((TRANSLATIONS / "shortlisted.json").read_text(encoding="utf-8"))
    found = {}
    for text in theirs:
        source = checkpoint.ids.ended(reader.encode(text))
        candidates = {student.UNK, *always}.union(*(of[row] for row in source))
        more = (row for row in range(8, SIZE) if row not in candidates)
        while len(candidates) % 8:  # Marian's products want that
            candidates.add(next(more))
        found[text] = writer.decode(reference.greedy(source, 2 * len(source), candidates))
    assert found == theirs
    assert found != json.loads((TRANSLATIONS / "translations.json").read_text(encoding="utf-8"))


def test_the_shortlist_goes_with_the_model(tmp_path: Path, listed: Path) -> None:
    checkpoint = read_checkpoint(listed)
    write_checkpoint(checkpoint, tmp_path / "imported")
    assert read_checkpoint(tmp_path / "imported").shortlist == checkpoint.shortlist
    assert main(["quantize", str(listed), str(tmp_path / "out"), "--config", "flat-4", "--kind", "specialised"]) == 0
    model = open_model(tmp_path / "out")
    assert model.config.shortlist == ("flat-4",)
    places = {piece: row for row, (piece, _) in enumerate(model.vocabulary.source)}
    moved = read_checkpoint(tmp_path / "out").shortlist
    assert checkpoint.shortlist is not None
    assert moved is not None
    targets = checkpoint.source_pieces if checkpoint.target_pieces is None else checkpoint.target_pieces
    wheres = {piece: row for row, (piece, _) in enumerate(model.vocabulary.target_pieces)}
    for row, piece in enumerate(checkpoint.source_pieces):
        assert {wheres[targets[each]] for each in checkpoint.shortlist.rows[row]} == {*moved.rows[places[piece]]}
    source = [places[piece] for piece in checkpoint.source_pieces[5:9]] + [model.config.ids.eos]
    (best,) = model.engine().translate([source], max_lengths=[12], shortlist=True).hypotheses[0]
    assert {*best.ids} <= {*moved.always}.union(*(moved.rows[row] for row in source))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda content: content[:40], "unpack"),
        (lambda content: b"\0" + content[1:], "begin as one"),
        (lambda content: content[:-4], "cut short"),
        (lambda content: content[:60] + b"\7" + content[61:], "checksum"),
        (lambda _: student.lexicon_bytes(8, [[1]] * (SIZE - 1)), "59 source pieces, not 60"),
        (lambda _: student.lexicon_bytes(8, [[SIZE]] * SIZE), "row 60 of a vocabulary of 60"),
    ],
)
def test_a_shortlist_of_another_model_is_refused(listed: Path, spoil: Callable[[bytes], bytes], told: str) -> None:
    file = listed / student.LEXICON
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(CheckpointError, match=f"no shortlist of the model .*{told}"):
        read_checkpoint(listed)


def test_a_shortlist_that_lists_nothing_leaves_the_pieces_of_the_source(listed: Path) -> None:
    (listed / student.LEXICON).write_bytes(student.lexicon_bytes(0, [[]] * SIZE))
    shortlist = read_checkpoint(listed).shortlist
    assert shortlist is not None
    assert shortlist.always == (student.EOS,)
    assert shortlist.rows[:4] == ((0,), (), (2,), (3,))  # the second is never predicted


def test_what_training_writes_is_read_again(tmp_path: Path, checkpoint: Checkpoint) -> None:
    for _ in range(2):  # it replaces
        write_marian(checkpoint, tmp_path / "trained")
    back = read_checkpoint(tmp_path / "trained")
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in checkpoint.tensors.items())
    assert asdict(back) | {"tensors": 0} == asdict(checkpoint) | {"tensors": 0}


def test_a_student_is_quantised(tmp_path: Path, spm: bytes) -> None:
    student.write_npz(tmp_path / "eng-deu", APART, spm)
    assert main(["quantize", str(tmp_path / "eng-deu"), str(tmp_path / "out"), "--config", "paper-2.5"]) == 0
    model = open_model(tmp_path / "out")
    assert model.config.architecture.autoregression == "ssru"
    (found,) = model.engine().translate([[5, 9, 0]], max_lengths=[8]).hypotheses
    assert found


def test_a_student_is_compressed(tmp_path: Path, spm: bytes) -> None:
    student.write_npz(tmp_path / "eng-deu", TIED, spm)
    pairs = zip(sentences(40, 4), sentences(40, 5), strict=True)
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    arguments = [str(tmp_path / "eng-deu"), str(tmp_path / "out"), "--text", str(tmp_path / "pairs.tsv")]
    figures = tmp_path / "figures.json"
    assert (
        main(["compress", *arguments, "--bits", "3", "--minutes", "0", "--threads", "1", "--json", str(figures)]) == 0
    )
    model = open_model(tmp_path / "out")
    assert (model.config.architecture.autoregression, model.config.beam_size) == ("ssru", 2)
    (found,) = model.engine().translate([[5, 9, 0]], max_lengths=[8]).hypotheses
    assert found
    told = json.loads(figures.read_text())
    assert told["bits_per_weight"] <= 3
    assert told["quality"]["beam_size"] == 2
    card = (tmp_path / "out/README.md").read_text()
    assert f"| BLEU, beam of 2, as served | not measured | {told['quality']['served']['bleu']} |" in card


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dec-cell": "gru"}, "only 'ssru'"),
        ({"transformer-rnn-projection": "true"}, "transformer-rnn-projection"),
        ({"transformer-decoder-autoreg": "average-attention"}, "transformer-decoder-autoreg"),
    ],
)
def test_other_decoders_are_named(tmp_path: Path, spm: bytes, changes: dict[str, str], told: str) -> None:
    student.write_npz(tmp_path / "eng-deu", APART, spm, **changes)
    with pytest.raises(CheckpointError, match=told):
        read_checkpoint(tmp_path / "eng-deu")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_altered_files_of_bergamot_are_refused_or_read(tmp_path: Path, spm: bytes, data: st.DataObject) -> None:
    content = bytearray(student.bergamot_bytes(TIED))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    (tmp_path / "model.ende.intgemm.alphas.bin").write_bytes(content[:cut])
    (tmp_path / "vocab.ende.spm").write_bytes(spm)
    with contextlib.suppress(CheckpointError):
        read_checkpoint(tmp_path)
