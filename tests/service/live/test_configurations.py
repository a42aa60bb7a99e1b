"""Which configuration an administrator gets."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.format.directory import ModelDirectory, open_model
from models.format.schema import Segment, UnavailableConfiguration
from service.live.configurations import (
    ConfigurationChoice,
    blocks,
    by_budget,
    by_name,
    by_planes,
    choose,
    unavailable,
    warning,
)


@pytest.fixture(scope="module")
def directory(tiny_model: Path) -> ModelDirectory:
    return open_model(tiny_model)


def test_the_budget_gets_the_best_measured_that_fits(directory: ModelDirectory) -> None:
    sizes = {name: configuration.bytes for name, configuration in directory.config.configurations.items()}
    assert sizes["narrow"] < sizes["half"] < sizes["clusters"] < sizes["full"]
    assert by_budget(directory, 10 * sizes["full"]).name == "full"
    assert by_budget(directory, sizes["full"]).name == "full"
    assert by_budget(directory, sizes["full"] - 1).name == "half"  # clusters is larger, but unmeasured
    assert by_budget(directory, sizes["half"] - 1).name == "narrow"
    with pytest.raises(UnavailableConfiguration, match=f"narrow, takes {sizes['narrow']}"):
        by_budget(directory, sizes["narrow"] - 1)


def test_of_equally_good_ones_the_largest_that_fits_is_chosen(directory: ModelDirectory) -> None:
    quality = directory.config.configurations["half"].quality
    equal = {name: replace(each, quality=quality) for name, each in directory.config.configurations.items()}
    directory = replace(directory, config=replace(directory.config, configurations=equal))
    for name in ("full", "clusters", "half", "narrow"):
        assert by_budget(directory, equal[name].bytes).name == name


def test_there_is_one_way_to_choose(directory: ModelDirectory) -> None:
    size = directory.config.configurations["half"].bytes
    assert choose(directory, ConfigurationChoice(name="half")) == by_name(directory, "half")
    assert choose(directory, ConfigurationChoice(memory_budget_bytes=size)) == by_name(directory, "half")
    assert choose(directory, ConfigurationChoice(planes={"*": 2})) == by_planes(directory, {"*": 2})
    with pytest.raises(ValueError, match="must be set"):
        choose(directory, ConfigurationChoice())


def test_planes_by_glob(directory: ModelDirectory) -> None:
    choice = by_planes(directory, {"decoder.*.ffn": 1, "decoder.0.ffn.outer": 2})
    assert choice.name.startswith("custom-")
    assert choice.name != by_planes(directory, {"decoder.*.ffn": 1}).name
    assert choice.allocation["decoder.0.ffn.inner"] == (Segment(0, 96, 1),)
    assert choice.allocation["decoder.0.ffn.outer"] == (Segment(0, 64, 2),)
    assert choice.allocation["encoder.1.ffn.outer"] == (Segment(0, 64, 4),)
    with pytest.raises(UnavailableConfiguration, match="nothing"):
        by_planes(directory, {"nothing": 1})
    with pytest.raises(UnavailableConfiguration, match="4 planes deep"):
        by_planes(directory, {"*": 5})


@pytest.mark.parametrize("name", ["full", "half", "narrow", "clusters"])
def test_the_blocks_add_up_to_the_model(directory: ModelDirectory, name: str) -> None:
    parts = blocks(directory, by_name(directory, name).allocation)
    assert sum(whole.bytes for whole, _ in parts.values()) == directory.config.configurations[name].bytes
    for whole, layers in parts.values():
        assert not layers or whole.bytes == sum(layer.bytes for layer in layers.values())
    assert set(parts) == {
        "embedding",
        "encoder.self_attention",
        "encoder.ffn",
        "decoder.self_attention",
        "decoder.encoder_attention",
        "decoder.ffn",
        "output",  # the output layer is tied, but its bias is not
    }
    assert parts["embedding"][0].planes == ([4, 2, 1] if name == "clusters" else parts["encoder.ffn"][0].planes)


def test_a_specialised_file_serves_only_its_own(specialised_model: Path) -> None:
    directory = open_model(specialised_model)
    assert unavailable(directory, directory.config.configurations["full"]) is None
    with pytest.raises(UnavailableConfiguration, match="specialised"):
        by_planes(directory, {"*": 2})


def test_warnings(directory: ModelDirectory) -> None:
    assert warning(directory, "full") is None
    assert warning(directory, "half") is None
    assert warning(directory, "narrow") == "narrow translates badly: 5.0 BLEU measured, where full has 30.0."
    assert warning(directory, "clusters") == "The quality of clusters has not been measured."
    assert warning(directory, "custom") == "The quality of custom has not been measured."
