"""What beams and the length penalty buy, and what they cost: `python -m tests.bench.search_trade`.

Translates validation text by the default model with every setting, sentence by sentence on one thread. Each sentence is
translated by all settings in turns, so that their times are of the same moments: only ratios to greedy search are kept.
Writes docs/results/search.json. It needs shared/corpus.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from models.evaluate.evaluate import conditions, max_length, read_test_set, tokenizers
from models.evaluate.quality import paired_bootstrap, scores
from models.format.directory import open_model
from tests.bench.bench import ROOT

SETS = ("tatoeba", "multi30k")
BEAMS = (2, 3, 4, 6)
PENALTIES = (0.6, 1.0, 1.4)
GREEDY = (1, 1.0)
SETTINGS = (GREEDY, *itertools.product(BEAMS, PENALTIES))


def main() -> None:
    """Translate, judge, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=ROOT.parent / "shared" / "corpus")
    parser.add_argument("--limit", type=int, default=400, help="sentences of each set (default: 400)")
    arguments = parser.parse_args()
    measured_at = conditions()
    results = {}
    for name in SETS:
        path = arguments.corpus / "valid" / name
        sources, references = read_test_set(path.with_suffix(".en"), path.with_suffix(".de"), arguments.limit)
        translations, seconds = translated(sources)
        greedy = translations[GREEDY]
        results[name] = [
            {
                "beam_size": setting[0],
                "length_penalty": setting[1],
                **scores(translations[setting], references),
                "bleu_over_greedy": paired_bootstrap(translations[setting], greedy, references)._asdict(),
                "length_ratio": round(sum(map(len, translations[setting])) / sum(map(len, references)), 3),
                "time_to_greedy": round(seconds[setting] / seconds[GREEDY], 2),
            }
            for setting in SETTINGS
        ]
    path = ROOT / "docs" / "results" / "search.json"
    told = measured_at | {"command": "python -m tests.bench.search_trade", "sentences": arguments.limit}
    path.write_text(json.dumps(told | {"results": results}, indent=1) + "\n")


def translated(sources: list[str]) -> tuple[dict[tuple[int, float], list[str]], dict[tuple[int, float], float]]:
    """Return each setting's translations, and its seconds."""
    model = open_model(ROOT / "models" / "store" / "en-de")
    config = model.config
    engine = model.engine(model.allocation(config.default_configuration))
    reader, writer = tokenizers(model)
    translations: dict[tuple[int, float], list[str]] = defaultdict(list)
    seconds: dict[tuple[int, float], float] = defaultdict(float)
    turns = random.Random(0)
    for text in tqdm(sources, unit="sentence"):
        source = config.ids.ended(reader.encode(text))
        limit = max_length(len(source), config.architecture.max_positions)
        for setting in turns.sample(SETTINGS, len(SETTINGS)):
            begin = time.process_time()
            found = engine.translate([source], beam_size=setting[0], length_penalty=setting[1], max_lengths=[limit])
            seconds[setting] += time.process_time() - begin
            translations[setting].append(writer.decode(found.hypotheses[0][0].ids))
    return translations, seconds


if __name__ == "__main__":
    main()
