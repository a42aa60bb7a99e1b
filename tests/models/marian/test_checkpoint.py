"""Marian directories: the same logits as transformers, and refusals by name."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MarianConfig, MarianMTModel, PegasusConfig, PegasusForConditionalGeneration

from models.format.punctuation import normalized
from models.marian.checkpoint import CheckpointError
from models.marian.imported import write_checkpoint
from models.marian.read import read_checkpoint
from models.marian.transformer import Transformer

SETTINGS = {
    "d_model": 48,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 80,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 72,
    "max_position_embeddings": 64,
    "scale_embedding": True,
    "activation_function": "swish",
    "init_std": 0.2,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
}


def save_marian(path: Path, pieces, spm: bytes, *, target_pieces=None, pre_norm: bool = False, **changes):
    """Save a random model with transformers and return it."""
    pad = len(pieces) - 1
    settings = SETTINGS | {"vocab_size": len(pieces), "pad_token_id": pad, "decoder_start_token_id": pad} | changes
    if target_pieces is not None:
        settings |= {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": len(target_pieces)}
    torch.manual_seed(1)
    if pre_norm:  # Pegasus is Marian's Transformer with the norms before, and so the reference for Marian's pre-norm
        model = PegasusForConditionalGeneration(PegasusConfig(**settings))
    else:
        model = MarianMTModel(MarianConfig(**settings))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "embed_positions" not in name:
                tensor.add_(0.1 * torch.randn_like(tensor))
        model.final_logits_bias.normal_()
    model.eval().save_pretrained(path)
    if pre_norm:
        edit(path, model_type="marian", normalize_before=True, architectures=["MarianMTModel"])
    (path / "vocab.json").write_text(json.dumps({piece: n for n, piece in enumerate(pieces)}))
    if target_pieces is not None:
        (path / "target_vocab.json").write_text(json.dumps({piece: n for n, piece in enumerate(target_pieces)}))
    for name in ("source.spm", "target.spm"):
        (path / name).write_bytes(spm)
    (path / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "de"}))
    return model


def edit(path: Path, name: str = "config.json", **changes) -> None:
    document = json.loads((path / name).read_text()) | changes
    (path / name).write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


@pytest.fixture
def marian_dir(tmp_path, pieces, spm) -> Path:
    save_marian(tmp_path / "marian", pieces, spm)
    return tmp_path / "marian"


def assert_same_logits(path: Path, reference, bound: float = 1e-4) -> None:
    """Check that logits agree at real positions, of random ids, two of three sources padded."""
    checkpoint = read_checkpoint(path)
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    architecture, ids = checkpoint.architecture, checkpoint.ids
    torch.manual_seed(2)
    source = torch.randint(architecture.source_vocab_size - 1, (3, 17))
    target = torch.randint(architecture.target_vocab_size - 1, (3, 12))
    target[:, 0] = ids.decoder_start
    mask = torch.ones(3, 17, dtype=torch.bool)
    mask[1, 9:] = mask[2, 1:] = False
    with torch.no_grad():
        mine = model(source, target, mask)
        theirs = reference(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target).logits
    assert theirs.std() > 0.05
    assert (mine - theirs).abs().max() < bound


VARIATIONS = {
    "swish": {},
    "relu": {"activation_function": "relu"},
    "gelu": {"activation_function": "gelu"},
    "unscaled": {"scale_embedding": False},
    "wide": {"d_model": 64, "encoder_layers": 1, "decoder_layers": 3, "decoder_attention_heads": 8},
    "pre-norm": {"pre_norm": True},
    "pre-norm relu": {"pre_norm": True, "activation_function": "relu"},
}


@pytest.mark.parametrize("variation", VARIATIONS)
def test_same_logits_as_transformers(tmp_path, pieces, spm, variation):
    reference = save_marian(tmp_path / "m", pieces, spm, **VARIATIONS[variation])
    assert_same_logits(tmp_path / "m", reference)


@pytest.mark.parametrize("tied", [True, False])
def test_separate_vocabularies(tmp_path, pieces, spm, tied):
    target = tuple(piece for piece in pieces if piece not in pieces[10:15])
    reference = save_marian(
        tmp_path / "m",
        pieces,
        spm,
        target_pieces=target,
        tie_word_embeddings=tied,
        pad_token_id=len(target) - 1,
        decoder_start_token_id=len(target) - 1,
    )
    checkpoint = read_checkpoint(tmp_path / "m")
    assert (checkpoint.source_pieces, checkpoint.target_pieces) == (pieces, target)
    assert ("output" in checkpoint.tensors) is not tied
    assert_same_logits(tmp_path / "m", reference)


def test_the_trained_checkpoint(checkpoint_dir):
    reference = MarianMTModel.from_pretrained(checkpoint_dir).eval()
    assert_same_logits(checkpoint_dir, reference)


def test_greedy_as_transformers_generates(checkpoint_dir):
    checkpoint = read_checkpoint(checkpoint_dir)
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    reference = MarianMTModel.from_pretrained(checkpoint_dir).eval()
    ids = checkpoint.ids
    generator = torch.Generator().manual_seed(3)
    sources = [[*torch.randint(3, 2000, (n,), generator=generator).tolist(), ids.eos] for n in (3, 11, 7, 1)]
    mine = model.greedy(sources, ids, [30] * len(sources))
    for source, tokens in zip(sources, mine, strict=True):
        theirs = reference.generate(torch.tensor([source]), num_beams=1, do_sample=False, max_length=31)[0].tolist()[1:]
        # transformers forces eos at max_length
        assert tokens[:29] == [token for token in theirs if token != ids.eos][:29]


def test_an_imported_directory_is_the_same_checkpoint(tmp_path, marian_dir):
    marian = read_checkpoint(marian_dir)
    write_checkpoint(marian, tmp_path / "ours")
    ours = read_checkpoint(tmp_path / "ours")
    assert ours.tensors.keys() == marian.tensors.keys()
    assert all(torch.equal(ours.tensors[name], marian.tensors[name]) for name in marian.tensors)
    fields = [name for name in vars(marian) if name != "tensors"]
    assert {name: getattr(ours, name) for name in fields} == {name: getattr(marian, name) for name in fields}
    with pytest.raises(CheckpointError, match="exists already"):
        write_checkpoint(marian, tmp_path / "ours")


def test_half_precision_and_pickled_weights(tmp_path, marian_dir):
    tensors = load_file(marian_dir / "model.safetensors")
    (marian_dir / "model.safetensors").unlink()
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, marian_dir / "pytorch_model.bin")
    checkpoint = read_checkpoint(marian_dir)
    expected = tensors["model.encoder.layers.0.fc1.weight"].half().float()
    assert torch.equal(checkpoint.tensors["encoder.0.ffn.inner"], expected)


class _Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("touched-by-pickle"),))


def test_a_pickle_that_runs_code_is_refused(marian_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (marian_dir / "model.safetensors").unlink()
    torch.save({"model.shared.weight": _Harmful()}, marian_dir / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: this holds Python objects"):
        read_checkpoint(marian_dir)
    assert not (tmp_path / "touched-by-pickle").exists()


def test_target_tokens_come_from_the_vocabulary(tmp_path, pieces, spm):
    multilingual = (*pieces[:-1], ">>deu<<", ">>nld<<", "<pad>")
    save_marian(tmp_path / "m", multilingual, spm)
    checkpoint = read_checkpoint(tmp_path / "m")
    assert checkpoint.target_tokens == {"de": ">>deu<<", "nl": ">>nld<<"}
    assert checkpoint.target_languages == ("de", "nl")
    assert read_checkpoint(tmp_path / "m", ["eng", "en"], ["nld"]).target_tokens == {"nl": ">>nld<<"}
    with pytest.raises(CheckpointError, match="has no target 'fr'; it has de, nl"):
        read_checkpoint(tmp_path / "m", targets=["fra"])


def test_a_group_of_languages_wants_a_list(tmp_path, marian_dir):
    edit(marian_dir, "tokenizer_config.json", source_lang="mul", target_lang="en")
    with pytest.raises(
        CheckpointError, match=r"its source languages 'mul', which is a group; list .* --source-languages"
    ):
        read_checkpoint(marian_dir)
    assert read_checkpoint(marian_dir, ["spa", "pt_br"]).source_languages == ("es", "pt-BR")
    card = "### mul-eng\n\n* source group: Multiple languages\n* source language(s): abk cmn_Hans eng spa spa\n"
    (marian_dir / "README.md").write_text(f"{card}* target language(s): eng\n")
    checkpoint = read_checkpoint(marian_dir)
    assert (checkpoint.source_languages, checkpoint.target_languages) == (("ab", "zh-Hans", "en", "es"), ("en",))
    assert read_checkpoint(marian_dir, ["es"]).source_languages == ("es",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("README.md", "* model: transformer-align\n* pre-processing: normalization + SentencePiece (spm32k)\n"),
        ("preprocess.sh", "perl normalize-punctuation.perl -l $1 | spm_encode"),
    ],
)
def test_whether_moses_made_the_punctuation_is_told_by_the_files_or_by_hand(tmp_path, marian_dir, name, said):
    assert not read_checkpoint(marian_dir).moses_punctuation
    assert read_checkpoint(marian_dir, moses_punctuation=True).moses_punctuation
    (marian_dir / name).write_text(said)
    plain = read_checkpoint(marian_dir, moses_punctuation=False)
    assert not plain.moses_punctuation
    checkpoint = read_checkpoint(marian_dir)
    write_checkpoint(checkpoint, tmp_path / "imported")
    assert read_checkpoint(tmp_path / "imported").moses_punctuation
    odd = "ba “de”, (fi) …"
    for side, language in (("source", "en"), ("target", "de")):
        by_rules, as_it_is = (getattr(each, f"{side}_tokenizer")() for each in (checkpoint, plain))
        assert by_rules.encode(odd) == as_it_is.encode(normalized(odd, language))


def test_the_search_that_a_model_was_made_for_is_kept(marian_dir, tmp_path):
    assert (read_checkpoint(marian_dir).beam_size, read_checkpoint(marian_dir).length_penalty) == (1, 1.0)
    edit(marian_dir, num_beams=4)
    (marian_dir / "generation_config.json").write_text(json.dumps({"num_beams": 6, "length_penalty": 0.8}))
    checkpoint = read_checkpoint(marian_dir)
    assert (checkpoint.beam_size, checkpoint.length_penalty) == (6, 0.8)
    write_checkpoint(checkpoint, tmp_path / "imported")
    assert read_checkpoint(tmp_path / "imported").beam_size == 6


def test_the_languages_of_a_published_name(tmp_path, marian_dir):
    (marian_dir / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="--source-languages and --target-languages"):
        read_checkpoint(marian_dir)
    named = Path(shutil.copytree(marian_dir, tmp_path / "opus-mt-en-fr"))
    assert read_checkpoint(named).target_languages == ("fr",)


def test_suppressed_tokens(marian_dir, pieces):
    (marian_dir / "generation_config.json").write_text(json.dumps({"bad_words_ids": [[5]], "suppress_tokens": [7]}))
    assert read_checkpoint(marian_dir).ids.suppressed == (5, 7, len(pieces) - 1)
    (marian_dir / "generation_config.json").write_text(json.dumps({"bad_words_ids": [[5, 6]]}))
    with pytest.raises(CheckpointError, match="a sequence of 2 tokens"):
        read_checkpoint(marian_dir)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "t5"}, "model_type is 't5'"),
        ({"activation_function": "tanh"}, "activation_function is 'tanh'"),
        ({"static_position_embeddings": False}, "learned positions"),
        ({"normalize_embedding": True}, "layer norm on the embeddings"),
        ({"d_model": ...}, "the field d_model is missing"),
        ({"d_model": "48"}, "d_model must be a whole number"),
        ({"encoder_attention_heads": 5}, "which encoder_heads must divide"),
        ({"encoder_layers": 0}, "architecture.encoder_layers is 0"),
        ({"encoder_layers": 1}, "'model.encoder.layers.1.fc1.bias' has no place"),
        ({"decoder_layers": 2}, "is missing"),
        ({"decoder_ffn_dim": 99}, "'model.decoder.layers.0.fc1.weight' is [72, 48], not [99, 48]"),
        ({"normalize_before": True}, "'model.encoder.layer_norm.weight' is missing"),
        ({"vocab_size": 70}, "'model.shared.weight' is [60, 48], not [70, 48]"),
        ({"vocab_size": 50}, "outside the 50 rows"),
        ({"decoder_start_token_id": 60}, "decoder_start_token_id is 60"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
    ],
)
def test_what_can_not_be_represented_is_refused_by_name(marian_dir, changes, sentence):
    edit(marian_dir, **changes)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(marian_dir)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")


def _with_tensor(path: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, path / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        (
            "model.encoder.layernorm_embedding.weight",
            torch.ones(48),
            "'model.encoder.layernorm_embedding.weight' has no",
        ),
        ("model.encoder.embed_positions.weight", torch.randn(64, 48), "learned positions"),
        ("model.decoder.layers.0.fc1.bias", None, "'model.decoder.layers.0.fc1.bias' is missing"),
        ("model.encoder.layers.0.fc1.bias", torch.full((80,), float("nan")), "not finite"),
        (
            "model.encoder.layers.0.fc1.bias",
            torch.ones(80, dtype=torch.int32),
            "'model.encoder.layers.0.fc1.bias' is missing",
        ),
    ],
)
def test_unexpected_tensors_are_refused_by_name(marian_dir, name, tensor, sentence):
    _with_tensor(marian_dir, name, tensor)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(marian_dir)
    assert sentence in str(caught.value)


def test_stored_sinusoids_are_accepted(tmp_path, pieces, spm):
    reference = save_marian(tmp_path / "m", pieces, spm)
    for side in ("encoder", "decoder"):
        table = getattr(reference.model, side).embed_positions.weight.detach().clone()
        _with_tensor(tmp_path / "m", f"model.{side}.embed_positions.weight", table)
    assert_same_logits(tmp_path / "m", reference)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_sinusoids_may_be_stored_in_half_precision(tmp_path, pieces, spm, kind):
    reference = save_marian(tmp_path / "m", pieces, spm)
    table = reference.model.encoder.embed_positions.weight.detach().to(kind)
    _with_tensor(tmp_path / "m", "model.encoder.embed_positions.weight", table)
    assert_same_logits(tmp_path / "m", reference)


def test_a_head_that_was_not_tied_gives_way_to_the_embedding(tmp_path, pieces, spm):
    reference = save_marian(tmp_path / "m", pieces, spm)
    size = reference.model.shared.weight.shape
    _with_tensor(tmp_path / "m", "lm_head.weight", torch.ones(size))
    with pytest.warns(UserWarning, match="the embedding is taken"):
        assert_same_logits(tmp_path / "m", reference)


@pytest.mark.parametrize("safe", [True, False])
def test_shards_are_read(tmp_path, pieces, spm, safe):
    reference = save_marian(tmp_path / "m", pieces, spm)
    whole = tmp_path / "m/model.safetensors"
    tensors, name = load_file(whole), "model.safetensors" if safe else "pytorch_model.bin"
    whole.unlink()
    stem, _, ending = name.partition(".")
    shards = {}
    for n, key in enumerate(tensors):
        shards[key] = f"{stem}-{n % 3 + 1:05}-of-00003.{ending}"
    for shard in set(shards.values()):
        part = {key: tensors[key] for key in tensors if shards[key] == shard}
        save_file(part, tmp_path / "m" / shard) if safe else torch.save(part, tmp_path / "m" / shard)
    (tmp_path / f"m/{name}.index.json").write_text(json.dumps({"weight_map": shards}))
    assert_same_logits(tmp_path / "m", reference)
    (tmp_path / "m" / max(shards.values())).unlink()
    with pytest.raises(CheckpointError, match="this shard of the weights is missing"):
        read_checkpoint(tmp_path / "m")


def test_a_marian_model_without_its_head_and_buffers_of_integers_are_read(tmp_path, pieces, spm):
    reference = save_marian(tmp_path / "m", pieces, spm)
    file = tmp_path / "m/model.safetensors"
    tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(file).items()}
    save_file({**tensors, "encoder.embed_positions.position_ids": torch.arange(64)}, file)
    assert_same_logits(tmp_path / "m", reference)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 298763\n"


def refusal(path: Path) -> str:
    """Return the sentence by which a checkpoint is refused: one line that ends once, and names the path once."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    told = str(caught.value)
    assert re.fullmatch(r"[^\n\x1b]*[^.]\.", told), told
    assert told.count(str(path)) == 1
    return told


def unsafe(path: Path) -> Path:
    """Leave the place of the weights to pickled ones."""
    (path / "model.safetensors").unlink()
    return path / "pytorch_model.bin"


def wrap(path: Path) -> None:
    """Put a folder into one of its name, as archives often have it."""
    path.rename(path.with_suffix(".moved"))
    path.mkdir()
    path.with_suffix(".moved").rename(path / "inner")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: (path / "model.safetensors").rename(path / "tf_model.h5"), "TensorFlow.* save_pretrained"),
        (lambda path: (path / "model.safetensors").rename(path / "flax_model.msgpack"), "Flax.* save_pretrained"),
        (lambda path: (path / "model.safetensors").rename(path / "rust_model.ot"), "rust-bert"),
        (lambda path: (path / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda path: (path / "model.safetensors").write_bytes(b"\x1b[31mnonsense"), "the weights can't be read"),
        (lambda path: torch.save(torch.nn.Linear(2, 2), unsafe(path)), r"state_dict\(\) instead"),
        (lambda path: torch.save([torch.ones(2)], unsafe(path)), r"state_dict\(\)"),
        (lambda path: (path / "config.json").unlink(), "config.json"),
        (wrap, "one in the folder inner"),
        (lambda path: (path / "config.json").rename(path / "model.npz"), "no .*vocab"),
        (lambda path: (path / "config.json").rename(path / "model.ende.intgemm.alphas.bin"), "no model of Bergamot"),
        (lambda path: (path / "config.json").rename(path / "model.ende.intgemm.alphas.bin.gz"), "gunzip"),
        (lambda path: (path / "model.safetensors").rename(path / "model.bin"), "neither shared_vocabulary"),
    ],
)
def test_what_other_programs_wrote_is_named(marian_dir, make, sentence):
    make(marian_dir)
    assert re.search(sentence, refusal(marian_dir))


@pytest.mark.parametrize("name", ["model.safetensors", "source.spm", "vocab.json", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named(marian_dir, name):
    if name == "pytorch_model.bin":
        (marian_dir / "model.safetensors").unlink()
    (marian_dir / name).write_text(POINTER)
    assert re.search(f"{re.escape(name)}: this is a pointer of Git LFS.*`git lfs pull`", refusal(marian_dir))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tf_model.h5"])
def test_a_pointer_that_is_not_read_is_none_of_the_model(marian_dir, name):
    (marian_dir / name).write_text(POINTER)
    assert read_checkpoint(marian_dir)


def test_a_name_of_the_hub_is_one_to_download():
    told = "huggingface-cli download Helsinki-NLP/opus-mt-en-de --local-dir opus-mt-en-de"
    with pytest.raises(CheckpointError, match=told):
        read_checkpoint(Path("Helsinki-NLP/opus-mt-en-de"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("opus-mt-en-de.zip", "archive; unpack it"),
        ("opus-mt-en-de.tar.gz", "archive; unpack it"),
        ("opus-mt-en-de.tgz", "archive; unpack it"),
        ("model.safetensors", "this is a file; give the folder"),
        ("en_de.argosmodel", "no package of Argos"),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, name, sentence):
    (tmp_path / name).write_bytes(b"x" * 2000)
    assert sentence in refusal(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path):
    assert "there is no such directory" in refusal(tmp_path / "opus-mt-en-de")


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "source.spm", "target.spm", "model.safetensors"])
def test_a_missing_file_is_named(marian_dir, name):
    (marian_dir / name).unlink()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        read_checkpoint(marian_dir)


def test_two_pieces_of_one_id_are_refused(marian_dir, pieces):
    edit(marian_dir, "vocab.json", **{pieces[5]: 6})
    with pytest.raises(CheckpointError, match="have the same id 6"):
        read_checkpoint(marian_dir)


def test_spoilt_weights_are_refused(marian_dir):
    (marian_dir / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="the weights can't be read"):
        read_checkpoint(marian_dir)
