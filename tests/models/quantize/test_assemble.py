"""Retrained weights in the directory of their model: each allocation is served by the codes made for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.__main__ import main
from models.codes.bit_config import find_config
from models.format.directory import open_model
from models.format.schema import ModelError
from models.marian.coded import dequantize
from models.marian.read import read_checkpoint
from models.quantize.assemble import assemble
from models.quantize.export import Request, export
from tests.models.quantize import test_export


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_checkpoint) -> Path:
    """Make a progressive model, and two of specialised codes of the same weights."""
    folder = tmp_path_factory.mktemp("models")
    for kind, config in (("progressive", "flat-4"), ("specialised", "paper-2.5"), ("specialised", "flat-2")):
        request = Request(
            name="tiny",
            base=find_config(config),
            others=(find_config("flat-3"),) if kind == "progressive" else (),
            kind=kind,
            depth=5,
            solver="alternating",
            group_size=None,
        )
        export(tiny_checkpoint, [], request, folder / config, notes="", overwrite=False)
    return folder


@pytest.fixture
def model(made, tmp_path) -> Path:
    return Path(shutil.copytree(made / "flat-4", tmp_path / "model"))


def test_each_allocation_is_served_by_the_codes_made_for_it(made, model):
    assert main(["assemble", str(model), str(made / "paper-2.5"), str(made / "flat-2"), "--default", "flat-2"]) == 0
    opened, apart = open_model(model), {name: open_model(made / name) for name in ("flat-4", "paper-2.5", "flat-2")}
    assert opened.config.default_configuration == "flat-2"
    for name in ("paper-2.5", "flat-2"):
        tensors, segments = opened.engine_inputs(opened.allocation(name))
        own, own_segments = apart[name].engine_inputs(apart[name].allocation(name))
        assert segments == own_segments
        assert tensors.keys() == own.keys()
        assert all(np.array_equal(tensors[key], own[key]) for key in own)
        assert opened.config.configurations[name].bytes == apart[name].config.configurations[name].bytes
        assert opened.version(opened.allocation(name)) == apart[name].version(apart[name].allocation(name))
    flat_3, before = opened.allocation("flat-3"), apart["flat-4"]
    assert opened.mapped(flat_3).file == "model.safetensors"
    assert opened.version(flat_3) == before.version(flat_3) != opened.version(opened.allocation("flat-2"))
    # by hand the same planes are the same codes, and other planes are those of the progressive file
    assert opened.mapped(opened.resolve({"*": 2})).file == "flat-2.safetensors"
    assert opened.mapped(opened.resolve({"encoder.*": 3})).file == "model.safetensors"
    opened.release_pages()
    assert np.array_equal(
        opened.engine_inputs(flat_3)[0]["embedding.plane.1"], before.engine_inputs(flat_3)[0]["embedding.plane.1"]
    )


def test_weights_can_be_replaced_again(made, model):
    assemble(model, [made / "flat-2"])
    first = open_model(model)
    assemble(model, [made / "flat-2", made / "paper-2.5"])
    second = open_model(model)
    assert list(second.config.specialised) == ["flat-2", "paper-2.5"]
    assert first.config.checksums["flat-2.safetensors"] == second.config.checksums["flat-2.safetensors"]
    assert (model / "README.md").read_text() == (made / "flat-4/README.md").read_text()


def test_what_is_not_of_this_model_is_refused_and_changes_nothing(made, model, tmp_path):
    other = Path(shutil.copytree(made / "flat-2", tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    config["target_languages"] = ["nl"]
    (other / "config.json").write_text(json.dumps(config))
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    with pytest.raises(ModelError, match="target_languages differs"):
        assemble(model, [made / "paper-2.5", other])
    with pytest.raises(ModelError, match="only a directory of codes that are specialised"):
        assemble(model, [made / "flat-4"])
    with pytest.raises(ModelError, match="default_configuration is 'flat-2', which configurations does not have"):
        assemble(model, [], default="flat-2")
    with pytest.raises(ModelError, match="no configuration 'flat-2' to leave out"):
        assemble(model, [], without=["flat-2"])
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_beams_of_requests_that_name_none_are_stored(made, model):
    assert main(["assemble", str(model), "--beam", "2"]) == 0
    assert open_model(model).config.beam_size == 2
    assemble(model, [made / "flat-2"])
    assert open_model(model).config.beam_size == 2
    with pytest.raises(ModelError, match="beam_size is 9, outside 1 to 8"):
        assemble(model, [], beam_size=9)


def test_a_configuration_may_be_left_out(made, model):
    assemble(model, [made / "paper-2.5", made / "flat-2"], default="flat-2", without=["flat-3", "paper-2.5"])
    opened = open_model(model)
    assert set(opened.config.configurations) == {"flat-2", "flat-4"}
    assert set(opened.specialised) == {"flat-2"}
    assert not (model / "paper-2.5.safetensors").exists()


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda c: c["specialised"].update(x=c["specialised"]["flat-2"]), "specialised has 'x'"),
        (lambda c: c["specialised"]["flat-2"]["codes"].update(kind="progressive"), "codes.kind must be 'specialised'"),
        (lambda c: c["specialised"]["flat-2"]["codes"].update(depth=3), "has 2 planes at most"),
        (lambda c: c["specialised"]["flat-2"]["matrices"].pop("embedding"), "flat-2.matrices.embedding is missing"),
        (lambda c: c["checksums"].pop("flat-2.safetensors"), "checksums must state"),
        (lambda c: c["checksums"].update({"flat-2.safetensors": "0" * 64}), "flat-2.safetensors: the sha256 differs"),
        (
            lambda c: c["configurations"]["flat-2"].update(allocation=c["configurations"]["paper-2.5"]["allocation"]),
            "two of the files in specialised are for the same allocation",
        ),
    ],
)
def test_a_contradiction_is_refused_by_name(made, model, edit, sentence):
    assemble(model, [made / "flat-2", made / "paper-2.5"])
    config = json.loads((model / "config.json").read_text())
    edit(config)
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=sentence):
        open_model(model)


@pytest.mark.parametrize("name", ["flat-4", "paper-2.5"])
def test_the_checkpoint_of_a_model_directory_is_what_its_codes_stand_for(made, name):
    model, checkpoint = open_model(made / name), read_checkpoint(made / name)
    allocation = model.allocation(model.config.default_configuration)
    if name == "flat-4":  # all its planes, one more than any configuration has
        assert (checkpoint.tensors["embedding"] != dequantize(model, allocation)["embedding"]).any()
        allocation = model.resolve({"*": 5})
    for tensor, value in dequantize(model, allocation).items():
        assert torch.equal(checkpoint.tensors[tensor], value), tensor
    assert checkpoint.source_pieces == tuple(piece for piece, _ in model.vocabulary.source)
    assert checkpoint.architecture == model.config.architecture


def test_dequantised_matrices_agree_with_the_reference(made):
    model = open_model(made / "paper-2.5")
    values = dequantize(model, model.allocation("paper-2.5"))
    for name, expected in test_export.dequantize(model, "paper-2.5").items():
        torch.testing.assert_close(values[name], expected, atol=1e-6, rtol=0)
