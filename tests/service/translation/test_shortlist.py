"""The shortlist of a model in the service: by configuration, by request, and with kept units and glossaries."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from kernels.engine import Engine
from models.format.directory import ModelDirectory, open_model
from models.format.shortlist import shortlist_tensors
from models.format.write import write_model
from service.live.configurations import by_name
from service.settings import Settings
from service.text.glossary import Glossary
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator
from tests.service.running import assert_refused, serve, texts_of, translate

EN_DE = Options("en", "de")
FEW = 12  # rows that every sentence may choose: eos and what is met most


@pytest.fixture(scope="module")
def listed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelDirectory:
    """Write the tiny model with a shortlist that `half` uses, of the pieces of the sentence and a few more."""
    model = open_model(tiny_model)
    path = tmp_path_factory.mktemp("listed") / "tiny"
    files = {name: (tiny_model / name).read_bytes() for name in ("source.spm", "target.spm")}
    rows = [[row] for row in range(model.config.architecture.source_vocab_size)]
    config = replace(model.config, shortlist=("half",))
    shortlist = shortlist_tensors(range(FEW), rows)
    write_model(path, config, model.main.tensors, model.vocabulary, files, shortlist=shortlist)
    return open_model(path)


def translator(directory: ModelDirectory, configuration: str) -> Translator:
    return Translator(directory, Tokenizer(directory), *by_name(directory, configuration), max_batch_tokens=4096)


def test_the_configuration_says_and_a_request_may_say_otherwise(
    listed: ModelDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    translate = Engine.translate

    def seen(engine: Engine, sources: object, **options: bool) -> object:
        asked.append(options["shortlist"])
        return translate(engine, sources, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "translate", seen)
    for configuration, by_default in (("full", False), ("half", True)):
        for wish in (None, False, True):
            options = replace(EN_DE, shortlist=wish)
            translator(listed, configuration).translate(["The old house."], options)
            assert asked.pop() == (by_default if wish is None else wish)
            assert set(asked) <= {by_default if wish is None else wish}
            asked.clear()


def test_a_model_without_one_ignores_the_wish(tiny_model: Path) -> None:
    plain = translator(open_model(tiny_model), "full")
    wishes = (None, False, True)
    found = [plain.translate(["The old house."], replace(EN_DE, shortlist=wish)).translations for wish in wishes]
    assert found[0] == found[1] == found[2]


def test_kept_units_and_terms_stand_where_they_are_no_candidates(listed: ModelDirectory) -> None:
    half = translator(listed, "half")
    glossary = Glossary({"house": "river sun"}, "en", "de")
    options = replace(EN_DE, glossary=glossary)
    for text, kept in (
        ("The old house sees {name} near %1$s.", ("{name}", "%1$s", "river sun")),
        ("A tree near https://example.org/a sees the house.", ("https://example.org/a", "river sun")),
    ):
        translation = half.translate([text], options).translations[0].best.text
        assert all(translation.count(unit) == 1 for unit in kept), translation


def test_it_is_a_field_of_the_native_api(listed: ModelDirectory) -> None:
    text = "A big tree sees the river near the old house."
    full = translator(listed, "full")
    expected = {
        wish: full.translate([text], replace(EN_DE, shortlist=wish)).translations[0].best.text for wish in (True, False)
    }
    assert expected[True] != expected[False]
    with (
        serve(Settings(model_directory=listed.path, threads=1)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        for extra, wish in (({}, False), ({"shortlist": True}, True), ({"shortlist": False}, False)):
            assert texts_of(translate(client, text, **extra)) == [expected[wish]]
        assert_refused(translate(client, text, shortlist="often"), 422, "shortlist")
