"""Models of CTranslate2, Argos and Marian itself: the same greedy translations as CTranslate2's own runtime."""

from __future__ import annotations

import argparse
import contextlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters import OpusMTConverter, TransformersConverter, opennmt_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.codes.bit_config import find_config
from models.format.directory import open_model
from models.format.schema import SENTENCEPIECE_FILES
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.npz import read_vocabulary
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer
from models.quantize.export import Request, export
from service.translation.tokenizer import Tokenizer
from tests.models.conftest import sentences
from tests.models.marian.greedy import greedy
from tests.models.marian.test_checkpoint import save_marian

LAYERS, WIDTH, HEADS, FFN = 2, 48, 4, 80
STEPS = 12
TEXTS, MANY = sentences(40, 11), sentences(80, 11)
ESCAPED = r'"\"\xe9\u00df"'


def opennmt_variables(size: int) -> dict[str, torch.Tensor]:
    """Return random tensors by the names that OpenNMT-py gives them."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return 0.25 * torch.randn(shape, generator=generator)

    place = torch.arange(64)[:, None] * torch.exp(-np.log(10000.0) * torch.arange(0, WIDTH, 2) / WIDTH)
    table = torch.stack([place.sin(), place.cos()], 2).flatten(1)[:, None]  # sines and cosines alternate
    found: dict[str, torch.Tensor] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = random(rows, columns), random(rows)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = 1 + random(WIDTH), random(WIDTH)

    def attention(name: str) -> None:
        for part in ("linear_query", "linear_keys", "linear_values", "final_linear"):
            linear(f"{name}.{part}", WIDTH, WIDTH)
        found[f"{name}.relative_positions_embeddings.weight"] = random(17, WIDTH // HEADS)  # most models have none

    for side in ("encoder", "decoder"):
        found[f"{side}.embeddings.make_embedding.pe.pe"] = table
        found[f"{side}.embeddings.make_embedding.emb_luts.0.weight"] = random(size, WIDTH)
        norm(f"{side}.layer_norm")
        for n in range(LAYERS):
            layer = f"encoder.transformer.{n}" if side == "encoder" else f"decoder.transformer_layers.{n}"
            attention(f"{layer}.self_attn")
            norm(f"{layer}.layer_norm" if side == "encoder" else f"{layer}.layer_norm_1")
            if side == "decoder":
                attention(f"{layer}.context_attn")
                norm(f"{layer}.layer_norm_2")
            linear(f"{layer}.feed_forward.w_1", FFN, WIDTH)
            linear(f"{layer}.feed_forward.w_2", WIDTH, FFN)
            norm(f"{layer}.feed_forward.layer_norm")
    linear("generator", size, WIDTH)
    return found


def write_opennmt(path: Path, pieces: tuple[str, ...], quantization: str | None = None, **changes: Any) -> None:
    """Write a model as the converter of OpenNMT-py does."""
    vocabulary = ["<unk>", "<blank>", "<s>", "</s>", *pieces[2:-1]]
    options = {"heads": HEADS, "position_encoding": True, "pos_ffn_activation_fn": "relu"} | changes
    given = argparse.Namespace(enc_layers=LAYERS, dec_layers=LAYERS, **options)
    variables = opennmt_variables(len(vocabulary))
    spec = opennmt_py._get_model_spec_seq2seq(given, variables, [vocabulary], [vocabulary], 1)
    spec.validate()
    spec.optimize(quantization)
    path.mkdir(parents=True)
    spec.save(str(path))


def runtime(path: Path, checkpoint: Checkpoint, *, ends: bool) -> list[list[str]]:
    """Translate greedily by CTranslate2 itself."""
    translator = ctranslate2.Translator(str(path), compute_type="float32", intra_threads=1)
    reader = checkpoint.source_tokenizer()
    sources = [[checkpoint.source_pieces[row] for row in reader.encode(text)] for text in TEXTS]
    files = [path / name for name in ("shared_vocabulary.json", "target_vocabulary.json")]
    known = json.loads(next(file for file in files if file.exists()).read_text())
    pieces = checkpoint.target_pieces or checkpoint.source_pieces
    found = translator.translate_batch(
        [[*source, "</s>"] if ends else source for source in sources],
        beam_size=1,
        min_decoding_length=0,
        max_decoding_length=STEPS,
        suppress_sequences=[[pieces[row]] for row in checkpoint.ids.suppressed if pieces[row] in known],
    )
    return [each.hypotheses[0] for each in found]


def ours(checkpoint: Checkpoint) -> list[list[str]]:
    """Translate by torch in fp32."""
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    ids, pieces = checkpoint.ids, checkpoint.target_pieces or checkpoint.source_pieces
    sources = [ids.ended(checkpoint.source_tokenizer().encode(text)) for text in TEXTS]
    return [[pieces[row] for row in rows] for rows in model.greedy(sources, ids, [STEPS] * len(sources))]


def equal_where_clear(checkpoint: Checkpoint, path: Path) -> tuple[int, int]:
    """Translate by the engine with eight planes; count whole translations that are clear in fp32, and those alike."""
    request = Request("full", find_config("full-8"), (), "specialised", 8, "refined", None)
    export(checkpoint, [], request, path, notes="", overwrite=False)
    model = open_model(path)
    tokenizer, pieces = Tokenizer(model), model.vocabulary.target_pieces
    sources = [tokenizer.encode(text, "de") for text in MANY]
    found = model.engine().translate(sources, max_lengths=[STEPS] * len(sources))
    mine = [[pieces.piece(row) for row in each[0].ids] for each in found.hypotheses]
    reader, own = checkpoint.source_tokenizer(), checkpoint.target_pieces or checkpoint.source_pieces
    theirs = greedy(checkpoint, [checkpoint.ids.ended(reader.encode(text)) for text in MANY], STEPS)
    alike = [
        each == [own[row] for row in rows] for each, (rows, is_clear) in zip(mine, theirs, strict=True) if is_clear
    ]
    return len(alike), sum(alike)


@pytest.mark.parametrize("quantization", [None, "int8", "float16", "int16", "int8_bfloat16"])
def test_opennmt_translates_as_ctranslate2_does(
    tmp_path: Path, pieces: tuple[str, ...], spm: bytes, quantization: str | None
) -> None:
    path = tmp_path / "opus-mt-en-de"
    write_opennmt(path, pieces, quantization)
    (path / "sentencepiece.model").write_bytes(spm)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.architecture.norm, checkpoint.ids.ends_sources) == ("pre", False)
    theirs = runtime(path, checkpoint, ends=False)
    assert len({tuple(each) for each in theirs}) > 10
    assert ours(checkpoint) == theirs
    if quantization is None:
        clear, alike = equal_where_clear(checkpoint, tmp_path / "coded")
        assert clear >= 4
        assert alike >= 0.9 * clear


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_marians_own_files_translate_as_ctranslate2_reads_them(
    tmp_path: Path, tiny_checkpoint: Checkpoint, spm: bytes, separate: bool, pre_norm: bool
) -> None:
    path = tmp_path / "eng-deu"
    write_npz(path, tiny_checkpoint, spm, separate=separate, pre_norm=pre_norm)
    converted = tmp_path / "eng_deu"
    OpusMTConverter(str(path)).convert(str(converted))
    own = read_checkpoint(path)
    assert (own.source_languages, own.target_languages) == (("en",), ("de",))
    assert (own.beam_size, own.length_penalty) == (6, 0.6)
    # CTranslate2 reads other positions than Marian has, as transformers does, and predicts <unk>.
    assert own.architecture.positions == "tensor2tensor"
    own = replace(
        own,
        architecture=replace(own.architecture, positions="marian"),
        ids=replace(own.ids, suppressed=tuple(row for row in own.ids.suppressed if row != own.ids.unk_target)),
    )
    theirs = runtime(converted, own, ends=False)  # the converter says that eos is to be added
    assert ours(own) == theirs
    if pre_norm == separate:
        clear, alike = equal_where_clear(own, tmp_path / "coded")
        assert clear >= 4
        assert alike >= 0.9 * clear
    for name in SENTENCEPIECE_FILES:
        (converted / name).write_bytes(spm)
    assert ours(read_checkpoint(converted)) == theirs


def write_npz(path: Path, model: Checkpoint, spm: bytes, *, separate: bool, pre_norm: bool) -> None:
    """Write a random model by Marian's names."""
    generator = np.random.default_rng(5)
    vocabularies = [list(model.source_pieces[:-1]), list(model.source_pieces[:-1])]
    if separate:
        vocabularies[1] = [*vocabularies[1][2:], "</s>", "<unk>"]
    d, ffn = WIDTH, FFN
    sizes = [len(pieces) for pieces in vocabularies]
    found: dict[str, Any] = {}

    def random(name: str, *shape: int, mean: float = 0.0) -> None:
        found[name] = (mean + 0.25 * generator.standard_normal(shape)).astype(np.float32)

    def norm(name: str, suffix: str) -> None:
        random(f"{name}_ln_scale{suffix}", 1, d, mean=1.0)
        random(f"{name}_ln_bias{suffix}", 1, d)

    if separate:
        random("encoder_Wemb", sizes[0], d)
        random("decoder_Wemb", sizes[1], d)
        random("decoder_ff_logit_out_W", d, sizes[1])
    else:
        random("Wemb", sizes[0], d)
    random("decoder_ff_logit_out_b", 1, sizes[1])
    suffix = "_pre" if pre_norm else ""
    for side in ("encoder", "decoder"):
        for n in range(1, LAYERS + 1):
            for part in ("self", "context")[: 1 + (side == "decoder")]:
                for letter in "qkvo":
                    random(f"{side}_l{n}_{part}_W{letter}", d, d)
                    random(f"{side}_l{n}_{part}_b{letter}", 1, d)
                norm(f"{side}_l{n}_{part}_Wo", suffix)
            for letter, shape in (("1", (d, ffn)), ("2", (ffn, d))):
                random(f"{side}_l{n}_ffn_W{letter}", *shape)
                random(f"{side}_l{n}_ffn_b{letter}", 1, shape[1])
            norm(f"{side}_l{n}_ffn_ffn", suffix)
        if pre_norm:
            norm(f"{side}_top", "")
    options = {
        "type": "transformer",
        "enc-depth": LAYERS,
        "dec-depth": LAYERS,
        "transformer-heads": HEADS,
        "transformer-dim-ffn": ffn,
        "transformer-ffn-activation": "swish",
        "transformer-decoder-autoreg": "self-attention",
        "transformer-preprocess": "n" if pre_norm else '""',
        "transformer-postprocess": "da" if pre_norm else "dan",
        "transformer-postprocess-top": "n" if pre_norm else '""',
        "transformer-postprocess-emb": "d",
        "transformer-no-projection": "false",
        "transformer-guided-alignment-layer": "last",
    }
    yaml = "".join(f"{name}: {value}\n" for name, value in options.items()) + "dim-vocabs:\n  - 1\n  - 1\n"
    path.mkdir()
    np.savez(path / "opus.npz", **{"special:model.yml": np.frombuffer(yaml.encode() + b"\0", np.int8)}, **found)
    for name, pieces in zip(("source.yml", "target.yml"), vocabularies, strict=True):
        lines = "".join(f"{quoted(piece)}: {n}\n" for n, piece in enumerate(pieces))
        (path / name).write_text(lines, encoding="utf-8")
    names = "relative-paths: true\nmodels:\n  - opus.npz\nvocabs:\n  - source.yml\n  - target.yml\n"
    (path / "decoder.yml").write_text(f"{names}beam-size: 6\nnormalize: 0.6\n")
    for name in SENTENCEPIECE_FILES:
        (path / name).write_bytes(spm)


def quoted(piece: str) -> str:
    """Quote a piece as YAML does where it must be, and here elsewhere too."""
    return json.dumps(piece, ensure_ascii=False) if len(piece) % 2 else piece


def test_marian_vocabularies_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "vocab.yml"
    path.write_text(f"</s>: 0\n'it''s': 1\n{ESCAPED}: 2\n\":\": 3\n? long\n: 4\n\"a: 9\": 5\n", encoding="utf-8")
    assert read_vocabulary(path) == ["</s>", "it's", '"éß', ":", "long", "a: 9"]
    for wrong in ("a: 0\nb: 2\n", "a\n", "a: b\n"):
        path.write_text(wrong)
        with pytest.raises(CheckpointError):
            read_vocabulary(path)


def test_transformers_by_ctranslate2_is_read_as_the_original(
    tmp_path: Path, pieces: tuple[str, ...], spm: bytes
) -> None:
    original = tmp_path / "opus-mt-en-de"
    save_marian(original, pieces, spm)
    (original / "tokenizer_config.json").write_text(
        json.dumps({"source_lang": "en", "target_lang": "de", "tokenizer_class": "MarianTokenizer"})
    )
    path = tmp_path / "converted"
    TransformersConverter(str(original), copy_files=["source.spm", "target.spm"]).convert(str(path))
    with pytest.raises(CheckpointError, match="--source-languages"):
        read_checkpoint(path)
    checkpoint = read_checkpoint(path, ["eng"], ["pt_br"])
    assert (checkpoint.source_languages, checkpoint.target_languages) == (("en",), ("pt-BR",))
    theirs = runtime(path, checkpoint, ends=True)
    assert ours(checkpoint) == theirs
    assert checkpoint.ids.ends_sources


def test_a_package_of_argos(tmp_path: Path, pieces: tuple[str, ...], spm: bytes) -> None:
    inner = tmp_path / "en_de"
    write_opennmt(inner / "model", pieces, "int8")
    (inner / "sentencepiece.model").write_bytes(spm)
    (inner / "metadata.json").write_text(json.dumps({"from_code": "en", "to_code": "de", "package_version": "1.0"}))
    package = tmp_path / "translate-en_de.argosmodel"
    with zipfile.ZipFile(package, "w") as archive:
        for file in sorted(inner.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
        archive.writestr("en_de/../../evil", b"x")
        archive.writestr("en_de/stanza/en/tokenize.pt", b"x")
    checkpoint = read_checkpoint(package)
    assert (checkpoint.source_languages, checkpoint.target_languages) == (("en",), ("de",))
    assert ours(checkpoint) == ours(read_checkpoint(inner / "model"))
    assert not (tmp_path.parent / "evil").exists()
    (tmp_path / "text.argosmodel").write_text("no zip")
    with pytest.raises(CheckpointError, match="no package of Argos"):
        read_checkpoint(tmp_path / "text.argosmodel")


def test_what_cannot_be_read_is_named(tmp_path: Path, pieces: tuple[str, ...], spm: bytes) -> None:
    path = tmp_path / "opus-mt-en-de"
    write_opennmt(path, pieces)
    with pytest.raises(CheckpointError, match=r"neither source\.spm"):
        read_checkpoint(path)
    (path / "bpe.model").write_text("#version: 0.2")
    with pytest.raises(CheckpointError, match="splits text by BPE"):
        read_checkpoint(path)
    (path / "sentencepiece.model").write_bytes(spm)
    content = (path / "model.bin").read_bytes()
    key = b"decoder/layer_1/ffn/linear_0/weight"
    for changed, told in (
        (b"\x03" + content[1:], "its version is 3"),
        (content.replace(b"TransformerSpec", b"TransformerXpec"), "this is a TransformerXpec"),
        (content.replace(key, key.replace(b"weight", b"wright")), "is missing"),
        (content.replace(b"decoder/alibi\0", b"decoder/xlibi\0"), None),
        (content[:-100], "cut short"),
    ):
        (path / "model.bin").write_bytes(changed)
        if told is None:
            read_checkpoint(path)
            continue
        with pytest.raises(CheckpointError, match=told):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"position_encoding": False, "max_relative_positions": 8}, "relative positions"),
        ({"pos_ffn_activation_fn": "fast_gelu"}, "activation has the number 1"),
    ],
)
def test_other_architectures_are_named(
    tmp_path: Path, pieces: tuple[str, ...], spm: bytes, changes: dict[str, Any], told: str
) -> None:
    path = tmp_path / "en_de"
    write_opennmt(path, pieces, **changes)
    (path / "sentencepiece.model").write_bytes(spm)
    with pytest.raises(CheckpointError, match=told):
        read_checkpoint(path)


@pytest.fixture(scope="module")
def opennmt(tmp_path_factory: pytest.TempPathFactory, pieces: tuple[str, ...], spm: bytes) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "opus-mt-en-de"
    write_opennmt(path, pieces)
    (path / "sentencepiece.model").write_bytes(spm)
    return path


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_altered_files_are_refused_or_read(opennmt: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "opus-mt-en-de"
    path.mkdir(exist_ok=True)
    for file in opennmt.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    content = bytearray((path / "model.bin").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 4000) - 1))] = data.draw(st.integers(0, 255))
    (path / "model.bin").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(CheckpointError):
        read_checkpoint(path)
