"""M2M-100 and NLLB: greedy translations are those of transformers, in fp32 and in the engine at eight planes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

from models.codes.bit_config import find_config
from models.format.directory import ModelDirectory, open_model
from models.marian.batches import encode
from models.marian.checkpoint import Checkpoint, CheckpointError
from models.marian.imported import write_checkpoint
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer
from models.quantize.export import Request, export
from models.text.lines import Line
from service.live.configurations import by_name
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.models.conftest import sentences
from tests.models.marian.greedy import greedy

NLLB_LANGUAGES = ("eng_Latn", "fra_Latn", "zho_Hans", "zho_Hant")
TEXTS, MANY = sentences(5, 3), sentences(60, 3)
LONGEST = 16


def save(path: Path, spm: bytes, size: int, **changes: Any) -> M2M100ForConditionalGeneration:
    """Save a random model of transformers whose output depends on both languages."""
    torch.manual_seed(4)
    settings = {
        "vocab_size": size,
        "d_model": 48,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 80,
        "decoder_ffn_dim": 72,
        "max_position_embeddings": 64,
        "init_std": 0.2,
        **changes,
    }
    model = M2M100ForConditionalGeneration(M2M100Config(**settings)).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "shared" not in name:
                tensor.add_(0.15 * torch.randn_like(tensor))
    model.save_pretrained(path)
    (path / "sentencepiece.bpe.model").write_bytes(spm)
    return model


@pytest.fixture
def m2m(tmp_path: Path, spm: bytes) -> Path:
    processor = sentencepiece.SentencePieceProcessor(model_proto=spm)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(processor.id_to_piece(n) for n in range(3, len(processor)))]
    path = tmp_path / "m2m"
    save(path, spm, len(pieces) + 108)
    (path / "vocab.json").write_text(json.dumps({piece: n for n, piece in enumerate(pieces)}))
    tokenizer = M2M100Tokenizer(str(path / "vocab.json"), str(path / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(path)
    return path


def generated(path: Path, sources: list[list[int]], first: int, suppressed: Sequence[int]) -> list[list[int]]:
    """Translate by transformers, each source alone; ids without eos, the language's first."""
    model = M2M100ForConditionalGeneration.from_pretrained(path).eval()
    return [
        [
            token
            for token in model.generate(
                torch.tensor([source]),
                forced_bos_token_id=first,
                bad_words_ids=[[row] for row in suppressed],
                num_beams=1,
                do_sample=False,
                max_new_tokens=LONGEST,
            )[0].tolist()[1:]
            if token != model.config.eos_token_id
        ]
        for source in sources
    ]


def coded(checkpoint: Checkpoint, path: Path) -> ModelDirectory:
    request = Request("many", find_config("full-8"), (), "specialised", 8, "greedy", None)
    export(checkpoint, [], request, path, notes="", overwrite=False)
    return open_model(path)


def test_greedy_as_transformers_generates_between_any_two_languages(m2m: Path) -> None:
    tokenizer = M2M100Tokenizer.from_pretrained(m2m)
    checkpoint = read_checkpoint(m2m)
    assert {"en", "fr", "zh"} < set(checkpoint.source_languages) == set(checkpoint.target_languages)
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    found = []
    for source, target in (("en", "fr"), ("fr", "en")):
        tokenizer.src_lang = source
        theirs = [tokenizer(text)["input_ids"] for text in TEXTS]
        pair = read_checkpoint(m2m, [source], [target])
        pairs = encode(pair, [Line(text, text) for text in TEXTS])
        assert [rows for rows, _ in pairs] == theirs
        first = tokenizer.get_lang_id(target)
        assert all(rows[0] == first for _, rows in pairs)
        mine = model.greedy(theirs, pair.ids, [LONGEST] * len(theirs), [first] * len(theirs))
        assert mine == generated(m2m, theirs, first, pair.ids.suppressed)
        found.append(mine)
    assert found[0] != found[1]


def test_the_engine_and_the_service_ask_for_the_language(m2m: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(m2m, ["en", "fr"], ["de", "fr"])
    write_checkpoint(checkpoint, tmp_path / "imported")
    again = read_checkpoint(tmp_path / "imported")
    fields = [field.name for field in dataclasses.fields(checkpoint) if field.name != "tensors"]
    assert [getattr(again, name) for name in fields] == [getattr(checkpoint, name) for name in fields]
    directory = coded(again, tmp_path / "coded")
    assert (tuple(directory.config.source_tokens), directory.config.target_token_begins) == (("en", "fr"), "target")
    translator = Translator(directory, Tokenizer(directory), *by_name(directory, "full-8"), max_batch_tokens=4096)
    tokenizer, reader, writer = Tokenizer(directory), again.source_tokenizer(), again.target_tokenizer()
    alike = []
    for source, target in (("en", "de"), ("fr", "de"), ("en", "fr")):
        sources = [tokenizer.encode(text, target, source) for text in MANY]
        found = directory.engine().translate(
            sources, max_lengths=[LONGEST] * len(sources), prefixes=[tokenizer.begins(target)] * len(sources)
        )
        told = reader.row(again.source_tokens[source])
        rows = [[told, *reader.encode(text), again.ids.eos] for text in MANY]
        expected = greedy(again, rows, LONGEST, writer.row(again.target_tokens[target]))
        alike += [
            tokenizer.decode(best.ids) == writer.decode(theirs)
            for (best,), (theirs, is_clear) in zip(found.hypotheses, expected, strict=True)
            if is_clear
        ]
        options = Options(source, target, split_sentences="0", alignment=True)
        plain, marked = translator.translate([MANY[0], f">>{target}<< {MANY[0]}"], options).translations
        assert plain.best.text == marked.best.text
        assert "__" not in plain.best.text
    assert len(alike) >= 8
    assert sum(alike) >= 0.95 * len(alike)


@pytest.mark.parametrize("listed", ["tokenizer.json", "special_tokens_map.json"])
def test_nllb_numbers_its_pieces_as_fairseq_does(tmp_path: Path, spm: bytes, listed: str) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=spm)
    first = len(processor) + 1
    path = tmp_path / "nllb"
    save(path, spm, first + len(NLLB_LANGUAGES) + 1)
    tokens = {first + n: token for n, token in enumerate(NLLB_LANGUAGES)} | {first + len(NLLB_LANGUAGES): "<mask>"}
    document: dict[str, Any] = {"additional_special_tokens": list(NLLB_LANGUAGES)}
    if listed == "tokenizer.json":
        document = {"added_tokens": [{"id": row, "content": token} for row, token in tokens.items()]}
    (path / listed).write_text(json.dumps(document))
    checkpoint = read_checkpoint(path, ["eng"], ["fr", "zh_Hant"])
    assert dict(checkpoint.target_tokens) == {"fr": "fra_Latn", "zh-Hant": "zho_Hant"}
    rows, begins = checkpoint.source_tokenizer().encode_marked(">>zho_Hant<< " + TEXTS[0], checkpoint.tokens)
    assert rows == [first, *(number + 1 for number in processor.encode(TEXTS[0]))]
    assert [checkpoint.target_tokenizer().row(piece) for piece in begins] == [first + 3]
    source = [*rows, checkpoint.ids.eos]
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    ids = checkpoint.ids
    assert model.greedy([source], ids, [LONGEST], [first + 3]) == generated(path, [source], first + 3, ids.suppressed)
    with pytest.raises(CheckpointError, match="it has no source 'de'; it has en, fr, zh-Hans, zh-Hant"):
        read_checkpoint(path, ["de"])


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("tokenizer_config.json", {"legacy_behaviour": True}, "ends with its language's token"),
        ("config.json", {"activation_function": "tanh"}, "activation_function is 'tanh'"),
        ("config.json", {"encoder_layers": 1}, "has no place in this architecture"),
        ("config.json", {"vocab_size": 50}, "outside the 50 rows"),
        ("sentencepiece.bpe.model", None, "the file is missing"),
    ],
)
def test_what_can_not_be_read_is_named(m2m: Path, name: str, changes: dict[str, Any] | None, told: str) -> None:
    if changes is None:
        (m2m / name).unlink()
    else:
        (m2m / name).write_text(json.dumps({**json.loads((m2m / name).read_text()), **changes}))
    with pytest.raises(CheckpointError, match=told):
        read_checkpoint(m2m)
