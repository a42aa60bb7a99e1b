"""The model directory: round trip, the official reader, and each way that a directory can be bad."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from models.codes.bit_config import find_config
from models.format.directory import ModelDirectory, open_model
from models.format.layout import Vectors, tensor_specs
from models.format.schema import ModelError, Segment, UnavailableConfiguration
from models.format.weights import TensorSpec, map_weights, write_weights
from models.format.write import write_config, write_model
from models.quantize.export import Request, export

CONFIGS = ("flat-3", "paper-2.5", "full-8")


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny_checkpoint) -> Path:
    """Make a folder with a progressive and a specialised model."""
    folder = tmp_path_factory.mktemp("models")
    for kind, group_size in (("progressive", None), ("specialised", 32)):
        request = Request(
            name="tiny",
            base=find_config("paper-2.5"),
            others=tuple(find_config(name) for name in CONFIGS) if kind == "progressive" else (),
            kind=kind,
            depth=8,
            solver="refined",
            group_size=group_size,
        )
        export(tiny_checkpoint, [], request, folder / kind, notes="", overwrite=False)
    return folder


@pytest.fixture
def model_dir(made, tmp_path) -> Path:
    """Copy the progressive model, for a test to spoil."""
    return Path(shutil.copytree(made / "progressive", tmp_path / "tiny"))


@pytest.fixture(scope="session")
def progressive(made) -> ModelDirectory:
    return open_model(made / "progressive")


@pytest.fixture(scope="session")
def specialised(made) -> ModelDirectory:
    return open_model(made / "specialised")


# --- what is written is what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["progressive", "specialised"])
def test_the_official_reader_sees_the_same_tensors(made, kind):
    model = open_model(made / kind)
    official = load_file(made / kind / "model.safetensors")
    assert official.keys() == model.main.tensors.keys()
    for name, tensor in official.items():
        ours = np.asarray(model.main.tensors[name])
        assert tensor.dtype == ours.dtype
        assert np.array_equal(tensor, ours)


@pytest.mark.parametrize("kind", ["progressive", "specialised"])
def test_order_and_alignment(made, kind):
    data = (made / kind / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert (8 + length) % 64 == 0
    names = sorted(header, key=lambda name: header[name]["data_offsets"][0])

    def rank(name: str) -> tuple[int, int, str]:
        for group, part in enumerate((".plane.", ".scales.")):
            if part in name:
                return group, int(name.rsplit(".", 1)[1]), name
        return 2, 0, name

    assert names == sorted(names, key=rank)
    end = 0
    for name in names:
        assert header[name]["data_offsets"][0] == end
        assert end % (64 if ".plane." in name else 32 if ".scales." in name else 2) == 0
        end = header[name]["data_offsets"][1]
    assert end == len(data) - 8 - length


def test_writing_what_was_read_gives_the_same_files(progressive, tmp_path):
    files = {name: (progressive.path / name).read_bytes() for name in ("source.spm", "target.spm", "README.md")}
    write_model(tmp_path / "again", progressive.config, progressive.main.tensors, progressive.vocabulary, files)
    for path in sorted(progressive.path.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    again = open_model(tmp_path / "again")
    assert again.config == progressive.config
    assert again.vocabulary == progressive.vocabulary


def test_tensors_are_read_only_views_of_the_file(progressive):
    tensor = np.asarray(progressive.main.tensors["embedding.plane.1"])
    assert not tensor.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        tensor[0, 0, 0] = 1


def test_a_model_in_a_cycle_can_be_collected(progressive):
    """In a process of its own: what Python 3.11 does with a memoryview there is a segmentation fault."""
    code = f"""if True:
        import gc
        from kernels.engine import _Tables
        from models.format.directory import open_model
        gc.disable()
        for _ in range(20):
            model = open_model({str(progressive.path)!r})
            tensors, _ = model.engine_inputs(model.allocation("full-8"))
            cycle = [model, _Tables(tensors, [])]
            cycle.append(cycle)
            del model, tensors, cycle
            gc.collect()
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_failed_write_leaves_nothing(progressive, tmp_path):
    tensors = dict(progressive.main.tensors)
    del tensors["encoder.0.ffn.norm.gain"]
    with pytest.raises(ModelError, match=r"encoder\.0\.ffn\.norm\.gain.*missing"):
        write_model(
            tmp_path / "bad",
            progressive.config,
            tensors,
            progressive.vocabulary,
            {"source.spm": b"", "target.spm": b""},
        )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_replaced_only_when_asked(model_dir, specialised):
    files = {"source.spm": b"a", "target.spm": b"b"}
    arguments = (model_dir, specialised.config, specialised.main.tensors, specialised.vocabulary, files)
    before = open_model(model_dir)
    with pytest.raises(ModelError, match="exists already"):
        write_model(*arguments)
    write_model(*arguments, overwrite=True)
    assert open_model(model_dir).config.codes.kind == "specialised"
    assert [path.name for path in model_dir.parent.iterdir()] == [model_dir.name]
    # what was mapped before the swap is still there
    assert np.asarray(before.main.tensors["embedding.plane.8"]).any()


def test_measured_quality_is_added_without_touching_the_weights(model_dir):
    model = open_model(model_dir)
    weights = (model_dir / "model.safetensors").stat()
    configurations = dict(model.config.configurations)
    measured = {"news": {"bleu": 12.5, "chrf": 40.0}}
    configurations["full-8"] = dataclasses.replace(configurations["full-8"], quality=measured)
    write_config(model_dir, dataclasses.replace(model.config, configurations=configurations))
    assert open_model(model_dir).config.configurations["full-8"].quality == measured
    after = (model_dir / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (weights.st_ino, weights.st_mtime_ns)


# --- configurations ---------------------------------------------------------------------------------------------------


def test_the_bytes_are_those_of_the_tensors(specialised):
    """A specialised file holds exactly its allocation, so its tensors are an independent count."""
    allocation = specialised.allocation("paper-2.5")
    assert specialised.model_bytes(allocation) == sum(tensor.nbytes for tensor in specialised.main.tensors.values())
    tensors, _ = specialised.engine_inputs(allocation)
    assert tensors.keys() == specialised.main.tensors.keys()


def test_progressive_codes_serve_any_planes(progressive):
    sizes = []
    for planes in range(1, 9):
        allocation = progressive.resolve({"*": planes})
        assert all(
            segments == ((0, progressive.config.matrices[n].rows, planes),) for n, segments in allocation.items()
        )
        assert progressive.bits_per_weight(allocation) > planes * 0.99
        sizes.append(progressive.model_bytes(allocation))
        tensors, segments = progressive.engine_inputs(allocation)
        assert {name for name in tensors if ".scales." in name} == {f"{s[0]}.scales.{planes}" for s in segments}
    assert sizes == sorted(set(sizes))


def test_planes_and_scales_that_allocations_share_are_counted_once(progressive):
    """Against the tensors that the engine would be handed."""
    wide, narrow = progressive.resolve({"*": 4}), progressive.resolve({"*": 2})
    mixed = progressive.resolve({"*": 3, "encoder.0.*": 1})

    def touched(allocation):
        """Count the bytes of each tensor; flat planes take whole tensors."""
        return {name: tensor.nbytes for name, tensor in progressive.engine_inputs(allocation)[0].items()}

    for group in ([wide], [narrow], [wide, wide], [wide, narrow], [narrow, mixed], [wide, narrow, mixed]):
        union = {}
        for allocation in group:
            union |= touched(allocation)
        assert progressive.union_bytes(group) == sum(union.values())
    assert progressive.union_bytes([wide]) == progressive.model_bytes(wide)
    assert progressive.union_bytes([]) == 0


def test_clusters_share_the_rows_that_both_have(progressive):
    balanced = progressive.allocation(progressive.config.default_configuration)
    assert progressive.union_bytes([balanced]) == progressive.model_bytes(balanced)
    wide = progressive.resolve({"*": 4})
    assert (
        progressive.model_bytes(wide)
        < progressive.union_bytes([balanced, wide])
        < sum(map(progressive.model_bytes, (balanced, wide)))
    )


def test_globs_apply_in_order_over_the_default(progressive):
    allocation = progressive.resolve({"encoder.*": 5, "encoder.1.ffn": 2})
    default = progressive.allocation("paper-2.5")
    assert allocation["encoder.0.ffn.inner"][0].planes == 5
    assert allocation["encoder.1.ffn.outer"][0].planes == 2
    assert allocation["embedding"] == default["embedding"]
    assert allocation["decoder.0.ffn.inner"] == default["decoder.0.ffn.inner"]


def test_segments_tell_where_their_scales_begin(progressive, specialised):
    rows = [(begin, end, planes) for begin, end, planes in progressive.allocation("paper-2.5")["embedding"]]
    of = {
        model.config.codes.kind: [
            s for s in model.engine_inputs(model.allocation("paper-2.5"))[1] if s[0] == "embedding"
        ]
        for model in (progressive, specialised)
    }
    assert [s[1:4] for s in of["progressive"]] == [s[1:4] for s in of["specialised"]] == rows
    assert [s[4:] for s in of["progressive"]] == [(0, 0)] * 4
    assert [s[4:] for s in of["specialised"]] == [(begin // 16 * 16, 32) for begin, _, _ in rows]


@pytest.mark.parametrize(
    ("planes", "sentence"),
    [
        ({"nonsense.*": 2}, "'nonsense.*' matches no matrix"),
        ({"*": 9}, "from 1 to 8, not 9"),
        ({"*": 0}, "from 1 to 8, not 0"),
        ({"*": True}, "not True"),
    ],
)
def test_impossible_planes_are_refused(progressive, planes, sentence):
    with pytest.raises(UnavailableConfiguration, match=sentence.replace("*", r"\*")):
        progressive.resolve(planes)


def test_an_unknown_configuration_lists_the_known_ones(progressive):
    with pytest.raises(UnavailableConfiguration, match=r"'x'; this model has .*full-8"):
        progressive.allocation("x")


def test_specialised_codes_serve_only_their_own_configuration(specialised):
    specialised.check(specialised.allocation("paper-2.5"))
    with pytest.raises(UnavailableConfiguration, match=r"specialised to the configuration 'paper-2\.5'"):
        specialised.resolve({"encoder.*": 1})


def test_a_deeper_allocation_than_the_codes_is_refused(specialised):
    with pytest.raises(UnavailableConfiguration, match="only 4 planes deep"):
        specialised.resolve({"encoder.*": 5})


@pytest.mark.parametrize(
    ("segments", "sentence"),
    [
        ((Segment(0, 10, 2),), "cover 10 rows of"),
        ((Segment(0, 10, 2), Segment(12, 60, 1)), "follow one another"),
        ((Segment(0, 10, 1), Segment(10, 60, 2)), "must fall"),
        ((Segment(0, 10, 2), Segment(10, 60, 2)), "must fall"),  # they would be one
        ((Segment(0, 60, 0),), "the least is 1"),
        ((), "cover 0 rows of"),
    ],
)
def test_impossible_segments_are_refused(progressive, segments, sentence):
    allocation = {**progressive.allocation("full-8"), "embedding": segments}
    with pytest.raises(UnavailableConfiguration, match=sentence):
        progressive.check(allocation)


# --- bad directories --------------------------------------------------------------------------------------------------


def _edit_config(path: Path, edit) -> None:
    document = json.loads((path / "config.json").read_text())
    edit(document)
    (path / "config.json").write_text(json.dumps(document))


def _set(*keys_and_value):
    *keys, last, value = keys_and_value

    def edit(document):
        for key in keys:
            document = document[key]
        document[last] = value

    return edit


def _delete(*keys):
    *path, last = keys

    def edit(document):
        for key in path:
            document = document[key]
        del document[last]

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            _set("format_version", 4),
            "format_version is 4, which this program does not read (2, 3); a newer release of it may",
        ),
        (_set("format_version", 1), "(2, 3); write the directory again with `python -m models quantize`"),
        (_set("format_version", "3"), "format_version must be a whole number, not '3'"),
        (_set("format_version", 2), "checksums must state model.safetensors, vocab.json, source.spm"),
        (_set("extra", 1), "the field extra is unknown"),
        (_delete("name"), "the field name is missing"),
        (_set("name", "../x"), "'../x' is not a name"),
        (_delete("architecture", "d_model"), "the field architecture.d_model is missing"),
        (_set("architecture", "d_model", "48"), "architecture.d_model must be a whole number, not '48'"),
        (_set("architecture", "d_model", True), "architecture.d_model must be a whole number, not True"),
        (_set("architecture", "d_model", -48), "outside 1 to"),
        (_set("architecture", "d_model", 50), "which encoder_heads must divide"),
        (
            lambda c: c["architecture"].update(d_model=51, encoder_heads=3, decoder_heads=3),
            "architecture.d_model must be even",
        ),
        (_set("architecture", "encoder_layers", 10**9), "outside 1 to 128"),
        (_set("architecture", "activation", "tanh"), "must be one of 'relu', 'swish', 'gelu', not 'tanh'"),
        (_set("architecture", "norm_epsilon", 0), "norm_epsilon must lie between"),
        (_set("architecture", "norm_epsilon", 10**400), "norm_epsilon must be finite"),
        (_set("architecture", "source_vocab_size", 7), "source_vocab_size and target_vocab_size differ"),
        (_set("architecture", "d_model", 96), "but the architecture makes it"),
        (_set("ids", "eos", 60), "ids.eos is 60, outside the vocabulary"),
        (_set("ids", "suppressed", [0]), "suppressed holds eos"),
        (_set("ids", "suppressed", [1.5]), "ids.suppressed[0] must be a whole number"),
        (_set("ids", "suppressed", 1), "ids.suppressed must be a list"),
        (_set("codes", "kind", "other"), "codes.kind must be one of"),
        (_set("codes", "depth", 9), "codes.depth is 9"),
        (_set("codes", "group_size", 33), "not a multiple of 32"),
        (_set("codes", "group_size", 1 << 40), "not a multiple of 32 up to 131072"),
        (_set("architecture", "norm_epsilon", 1e-300), "in single precision too"),
        (_set("architecture", "norm_epsilon", 1 - 1e-12), "in single precision too"),
        (_set("architecture", "max_positions", 1 << 20), "max_positions is 1048576, outside 1 to 65536"),
        (_set("length_penalty", 1e30), "length_penalty is 1e+30, outside 0 to 10"),
        (_set("length_penalty", -1), "length_penalty is -1.0, outside 0 to 10"),
        (_delete("matrices", "embedding"), "the field matrices.embedding is missing"),
        (_set("matrices", "x", {"rows": 1, "columns": 1, "error": []}), "the field matrices.x is unknown"),
        (_set("matrices", "embedding", "error", [1.0]), "has 1 entries instead of 8"),
        (_set("configurations", {}), "default_configuration is 'paper-2.5'"),
        (_set("configurations", "full-8", "bytes", 1), "configurations.full-8.bytes is 1, but its allocation makes"),
        (_set("configurations", "full-8", "bits_per_weight", 1.0), "bits_per_weight is 1.0, but its allocation"),
        (_set("configurations", "full-8", "allocation", "embedding", [[0, 10, 2]]), "cover 10 rows of"),
        (_set("configurations", "full-8", "allocation", "embedding", [[0, 10]]), "must be a list of 3 values"),
        (_delete("configurations", "full-8", "allocation", "embedding"), "no planes for the matrix 'embedding'"),
        (_set("target_tokens", {"fr": ">>fr<<"}), "target_tokens has 'fr'"),
        (_set("target_languages", []), "must each name a language"),
        (_delete("checksums", "source.spm"), "checksums must state"),
        (_set("checksums", "source.spm", "0" * 64), "source.spm: the sha256 differs"),
    ],
)
def test_a_bad_config_is_refused_with_a_sentence(model_dir, edit, sentence):
    _edit_config(model_dir, edit)
    with pytest.raises(ModelError) as caught:
        open_model(model_dir)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(model_dir))
    assert str(caught.value).endswith(".")


def test_specialised_codes_are_as_deep_as_their_allocation(made, tmp_path):
    path = shutil.copytree(made / "specialised", tmp_path / "tiny")
    _edit_config(path, _set("codes", "depth", 5))
    with pytest.raises(ModelError, match=r"codes\.depth is 5, but the stored allocation has 4 planes at most"):
        open_model(path)


_NUMBERS = [
    *(("architecture", name) for name in ("max_positions", "norm_epsilon", "encoder_heads", "decoder_heads")),
    *(("ids", name) for name in ("eos", "pad", "unk_source", "unk_target", "decoder_start")),
    ("codes", "group_size"),
    ("codes", "depth"),
    ("length_penalty",),
]


@given(
    st.dictionaries(
        st.sampled_from(_NUMBERS),
        st.integers(-2, 70)
        | st.integers(0, 70).map(lambda bits: 1 << bits)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.none(),
        min_size=1,
        max_size=3,
    )
)
def test_what_the_reader_takes_the_engine_takes(made, tmp_path_factory, numbers):
    folder = tmp_path_factory.getbasetemp() / "numbers"
    shutil.copytree(made / "progressive", folder, dirs_exist_ok=True)
    for keys, number in numbers.items():
        _edit_config(folder, _set(*keys, number))
    try:
        model = open_model(folder)
    except ModelError:
        return
    with contextlib.closing(model.engine()) as engine:
        engine.translate(
            [[model.config.ids.eos]], max_lengths=[1], beam_size=2, length_penalty=model.config.length_penalty
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "the document must be an object"),
        ('{"name": "a", "name": "b"}', "the key 'name' occurs twice"),
        ('{"length_penalty": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_bad_json_is_refused(model_dir, text, sentence):
    (model_dir / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match=sentence):
        open_model(model_dir)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.safetensors", "source.spm", "target.spm"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_file_or_a_directory_in_its_place_is_named(model_dir, name, verify):
    (model_dir / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: the file is missing"):
        open_model(model_dir, verify=verify)
    (model_dir / name).symlink_to(model_dir / "nowhere")
    with pytest.raises(ModelError, match=f"{name}: the file is missing"):
        open_model(model_dir, verify=verify)
    (model_dir / name).unlink()
    (model_dir / name).mkdir()
    with pytest.raises(ModelError, match=f"{name}: this is not a regular file"):
        open_model(model_dir, verify=verify)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ModelError, match="no such directory"):
        open_model(tmp_path / "none")


@pytest.fixture
def version_2(model_dir) -> Path:
    """Write the progressive model in version 2: the vocabulary in JSON."""
    rows = list(open_model(model_dir).vocabulary.source)
    (model_dir / "vocab.safetensors").unlink()
    (model_dir / "vocab.json").write_text(json.dumps({"source": rows, "target": None}))

    def edit(document):
        document["format_version"] = 2
        document["checksums"]["vocab.json"] = hashlib.sha256((model_dir / "vocab.json").read_bytes()).hexdigest()
        del document["checksums"]["vocab.safetensors"]

    _edit_config(model_dir, edit)
    return model_dir


def test_version_2_is_read_and_written_again_as_the_newest(version_2, progressive, tmp_path):
    model = open_model(version_2)
    assert model.vocabulary == progressive.vocabulary
    write_config(version_2, model.config)  # as it was
    assert open_model(version_2).config == model.config
    files = {name: (version_2 / name).read_bytes() for name in ("source.spm", "target.spm", "README.md")}
    write_model(tmp_path / "again", model.config, model.main.tensors, model.vocabulary, files)
    for path in sorted(progressive.path.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda v: v["source"].pop(), "but the model has"),
        (lambda v: v["source"].__setitem__(3, v["source"][2]), "occurs twice"),
        (lambda v: v["source"][4].__setitem__(1, -1), "the count of .* is -1, negative"),
        (lambda v: v["source"][4].__setitem__(0, 7), r"source\[4\]\[0\] must be a string"),
        (lambda v: v.__setitem__("target", v["source"]), "target must be null"),
        (lambda v: v.pop("target"), "the field target is missing"),
    ],
)
def test_a_bad_vocabulary_of_version_2_is_refused(version_2, edit, sentence):
    vocabulary = json.loads((version_2 / "vocab.json").read_text())
    edit(vocabulary)
    (version_2 / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ModelError, match=sentence):
        open_model(version_2, verify=False)


def _rewrite(path: Path, edit_header=None, edit_data=None, pad: int = 64) -> None:
    """Write model.safetensors again with another header or data, and its checksum into config.json."""
    file = path / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    if edit_header:
        edit_header(header)
    if edit_data:
        data = edit_data(header, data)
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % pad)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    _state_checksum(path)


def _state_checksum(path: Path) -> None:
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    _edit_config(path, _set("checksums", "model.safetensors", digest))


def _rename(old: str, new: str):
    return lambda header: header.__setitem__(new, header.pop(old))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (_rename("embedding.plane.8", "embedding.plane.9"), "'embedding.plane.8' is missing"),
        (_rename("output.bias", "output.bias2"), "'output.bias2' is not part of this model"),
        (lambda h: h["embedding.plane.1"].__setitem__("dtype", "F32"), "is F32"),
        (lambda h: h["encoder.0.ffn.norm.gain"].update(dtype="F16", shape=[96]), "but the model needs F32"),
        (lambda h: h["encoder.0.ffn.norm.bias"].update(dtype="F16", shape=[96]), "but the model needs F16"),
        (lambda h: h["embedding.plane.1"]["shape"].reverse(), "but the model needs U32"),
        (lambda h: h["embedding.plane.1"]["shape"].__setitem__(0, 3), "not a safetensors file"),
        (lambda h: h["embedding.plane.1"]["data_offsets"].reverse(), "not a safetensors file"),
        (lambda h: h["output.bias"]["data_offsets"].__setitem__(1, 4), "not a safetensors file"),
        (lambda h: h["embedding.plane.1"].__setitem__("data_offsets", [0, 10**12]), "not a safetensors file"),
        (lambda h: h["embedding.plane.1"].pop("dtype"), "not a safetensors file"),
        (lambda h: h["embedding.plane.1"].__setitem__("data_offsets", [-1, 1]), "not a safetensors file"),
    ],
)
def test_a_bad_tensor_table_is_refused(model_dir, edit, sentence):
    _rewrite(model_dir, edit)
    with pytest.raises(ModelError) as caught:
        open_model(model_dir)
    assert sentence in str(caught.value)


def test_data_that_is_not_aligned_is_refused(model_dir):
    _rewrite(model_dir, lambda h: h.__setitem__("__metadata__", {"x": ""}), pad=1)
    length = struct.unpack("<Q", (model_dir / "model.safetensors").read_bytes()[:8])[0]
    assert (8 + length) % 64
    with pytest.raises(ModelError, match="multiple of 64"):
        open_model(model_dir)


def test_a_tensor_that_is_not_aligned_is_refused(tmp_path):
    write_weights(tmp_path / "file", {"a": np.zeros(1, np.float16), "b": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="'b' must start at a multiple of 4 bytes, not at 2"):
        map_weights(tmp_path / "file").tensors({"a": TensorSpec("F16", (1,), 2), "b": TensorSpec("F32", (3,), 4)})


@pytest.mark.parametrize("name", ["embedding.scales.3", "encoder.0.ffn.norm.gain"])
def test_numbers_that_are_not_finite_are_refused(model_dir, name):
    def spoil(header, data):
        begin, _ = header[name]["data_offsets"]
        width = 2 if header[name]["dtype"] == "F16" else 4
        data[begin : begin + width] = np.array([np.nan], dtype=f"<f{width}").tobytes()
        return data

    _rewrite(model_dir, edit_data=spoil)
    with pytest.raises(ModelError, match=f"{name}.*not finite"):
        open_model(model_dir)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_a_truncated_file_is_refused(model_dir, keep):
    file = model_dir / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="sha256 differs"):
        open_model(model_dir)
    with pytest.raises(ModelError, match=r"truncated|not a safetensors file"):
        open_model(model_dir, verify=False)


@pytest.mark.parametrize("verify", [True, False])
def test_bytes_after_the_last_tensor_are_refused(model_dir, verify):
    with (model_dir / "model.safetensors").open("ab") as file:
        file.write(bytes(64))
    _state_checksum(model_dir)
    with pytest.raises(ModelError, match=r"not a safetensors file \(its tensors have \d+ bytes, its data \d+\)"):
        open_model(model_dir, verify=verify)


def test_a_header_that_repeats_a_tensor_is_refused(model_dir):
    file = model_dir / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length].rstrip()
    entry = header[1 : header.index(b"}") + 1]
    text = b"{" + entry + b"," + header[1:]
    text += b" " * (-(8 + len(text)) % 64)
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    with pytest.raises(ModelError, match=r"occurs twice|not a safetensors file"):
        open_model(model_dir, verify=False)


@given(st.data())
def test_what_our_reader_takes_the_official_one_takes(made, tmp_path_factory, data):
    """A changed header: of what it lets pass, both see the same tensors at the same places."""
    content = (made / "specialised" / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    text = bytearray(content[8 : 8 + length].rstrip())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place : place + data.draw(st.integers(0, 3))] = data.draw(
        st.sampled_from(
            [b"", b"0", b"1", b"-", b" ", b'"', b"[", b"]", b",", b"{", b"}", b"F16", b"null", b"1.0", b"\xff"]
        )
    )
    path = tmp_path_factory.mktemp("header") / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    try:
        ours = map_weights(path).entries
    except ValueError:
        return
    with safetensors.safe_open(path, framework="numpy") as official:
        assert set(official.keys()) == set(ours)
        for name, entry in ours.items():
            assert tuple(official.get_slice(name).get_shape()) == entry.shape


def test_an_oversized_header_is_refused_unread(model_dir):
    file = model_dir / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", 17 << 20))
        stream.truncate(20 << 20)
    with pytest.raises(ModelError, match="the header is larger"):
        open_model(model_dir, verify=False)


def test_a_flipped_bit_is_found(model_dir):
    file = model_dir / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: the sha256 differs"):
        open_model(model_dir)


def test_the_reader_needs_no_torch():
    code = "import sys, models.format.directory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_specs_cover_the_file(progressive):
    vectors = Vectors(output_bias=True, half=False)
    specs = tensor_specs(progressive.config.architecture, progressive.config.codes, None, vectors)
    assert specs.keys() == progressive.main.tensors.keys()
    with safetensors.safe_open(progressive.path / "model.safetensors", framework="numpy") as file:
        for name, spec in specs.items():
            assert tuple(file.get_slice(name).get_shape()) == spec.shape


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.safetensors"])
def test_a_file_that_is_written_to_in_place_is_told(model_dir, name):
    model, copy = open_model(model_dir), open_model(model_dir, in_memory=True)
    assert model.altered_file() is None
    whole = (model_dir / name).read_bytes()
    shutil.copy(model_dir / name, model_dir / "new")
    (model_dir / "new").replace(model_dir / name)  # what is mapped stays as it was
    assert model.altered_file() is None
    model = open_model(model_dir)
    with (model_dir / name).open("r+b") as file:
        file.truncate(len(whole) // 2)
    assert model.altered_file() == model_dir / name
    assert copy.altered_file() is None
    for held, expected in zip(copy.main.tensors.values(), open_model_again(model_dir, name, whole), strict=True):
        assert bytes(held.data) == bytes(expected.data)
    with contextlib.closing(copy.engine()) as engine:
        engine.translate([[copy.config.ids.eos]], max_lengths=[2])


def open_model_again(model_dir, name, whole):
    (model_dir / name).write_bytes(whole)
    return open_model(model_dir).main.tensors.values()
