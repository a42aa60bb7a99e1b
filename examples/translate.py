"""Translate with the engine, without HTTP: `python examples/translate.py "Good morning."`."""

import sys
from pathlib import Path

from models.format.directory import open_model
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

ROOT = Path(__file__).resolve().parents[1]

model = open_model(ROOT / "models/store/en-de")
configuration = model.config.default_configuration
translator = Translator(model, Tokenizer(model), configuration, model.allocation(configuration), max_batch_tokens=4096)
translated = translator.translate(sys.argv[1:], Options(source="en", target="de"))
for translation in translated.translations:
    print(translation.best.text)
