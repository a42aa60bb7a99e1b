"""All configurations on the corpus test sets: JSON files, the README's table, a plot, the quality in config.json."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.evaluate.evaluate import read_test_set
from models.evaluate.quality import paired_bootstrap
from models.format.directory import ModelDirectory, open_model
from models.format.schema import RESULTS_BEGIN, RESULTS_END, Configuration
from models.format.write import write_config

# The table shows these where they were measured; the JSON files have all.
TABLE_SETS = ("tatoeba", "multi30k_2016_flickr")
Results = dict[str, dict[str, dict[str, Any]]]  # configuration or "fp32" -> test set -> figures


class ReportError(ValueError):
    """A report that can't be made. One sentence."""


def find_test_sets(model: ModelDirectory, corpus: Path) -> dict[str, tuple[Path, Path]]:
    """Return name -> source and reference file, for every pair in `corpus`/test of the model's languages.

    Raises:
        ReportError: there is no pair.
    """
    source, target = model.config.source_languages[0], model.config.target_languages[0]
    pairs = {
        path.stem: (path, path.with_suffix(f".{target}")) for path in sorted((corpus / "test").glob(f"*.{source}"))
    }
    pairs = {name: pair for name, pair in pairs.items() if pair[1].exists()}
    if not pairs:
        raise ReportError(f"{corpus / 'test'}: there are no pairs of .{source} and .{target} files.")
    return pairs


def measure(
    model: ModelDirectory,
    configurations: Sequence[str],
    sets: Mapping[str, tuple[Path, Path]],
    checkpoint: Path | None,
    limit: int | None,
    results_dir: Path,
    times: Results,
) -> Results:
    """Run `evaluate` for each configuration and set in a process of its own, so that memory figures are its own.

    Args:
        model: the model directory.
        configurations: of the model, the first one with the fp32 checkpoint beside it.
        sets: test set -> source and reference file.
        checkpoint: the fp32 model; None for no comparison.
        limit: sentences of each set; None = all.
        results_dir: gets a JSON file for each configuration.
        times: figures of an earlier report, whose milliseconds stay; empty for none.

    Raises:
        ReportError: a measurement failed.
    """
    results: Results = {}
    baseline: dict[str, list[str]] = {}  # test set -> translations of the fp32 model
    results_dir.mkdir(parents=True, exist_ok=True)
    for number, configuration in enumerate(configurations):
        measured = {}
        for name, (source, reference) in sets.items():
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "result.json"
                command = [sys.executable, "-m", "models", "evaluate", str(model.path), "--config", configuration]
                command += ["--source", str(source), "--reference", str(reference), "--json", str(out)]
                command += ["--limit", str(limit)] if limit else []
                if number == 0 and checkpoint:
                    command += ["--checkpoint", str(checkpoint)]
                if subprocess.run(command, check=False).returncode:
                    raise ReportError(f"Measuring {configuration} on {name} failed; the reason is above.")
                measured[name] = json.loads(out.read_text())
        for name, result in measured.items():
            shared = {"sentences": result["sentences"], "conditions": result["conditions"]}
            translations = result["engine"].pop("translations")
            if result["fp32"]:
                baseline[name] = result["fp32"].pop("translations")
                results.setdefault("fp32", {})[name] = result["fp32"] | shared | recorded_times(times, "fp32", name)
            if name in baseline:
                _, references = read_test_set(*sets[name], limit)
                shared["bleu_against_fp32"] = paired_bootstrap(translations, baseline[name], references)._asdict()
            kept = recorded_times(times, configuration, name)
            results.setdefault(configuration, {})[name] = result["engine"] | shared | kept
        _write_json(results_dir / f"{configuration}.json", model.config.name, configuration, results[configuration])
    if "fp32" in results:
        _write_json(results_dir / "fp32.json", model.config.name, "fp32", results["fp32"])
    return results


def _write_json(path: Path, model: str, configuration: str, sets: Mapping[str, Any]) -> None:
    document = {"model": model, "configuration": configuration, "sets": sets}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _recorded(path: Path) -> dict[str, dict[str, Any]]:
    """Read the figures by test set of an earlier report, empty if there are none."""
    return json.loads(path.read_text())["sets"] if path.exists() else {}


def recorded_times(times: Results, configuration: str, name: str) -> dict[str, Any]:
    """Return the milliseconds of an earlier report for a test set, with the conditions of that measurement."""
    if (figures := times.get(configuration, {}).get(name)) is None:
        return {}
    kept = {name: figures[name] for name in ("ms_per_sentence", "ms_median") if name in figures}
    return kept | {"conditions_of_times": figures.get("conditions_of_times", figures["conditions"])}


def table(results: Results) -> str:
    """Return a Markdown table, one row a configuration, smallest first."""
    measured = list(dict.fromkeys(name for sets in results.values() for name in sets))
    shown = [name for name in TABLE_SETS if name in measured] or measured[:2]
    titles = [f"{name} {metric}" for name in shown for metric in ("BLEU", "to fp32 (95 %)", "chrF")]
    header = ["configuration", "bits per weight", "MB", *titles, "ms per sentence", "memory MB"]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for name, sets in sorted(results.items(), key=lambda item: next(iter(item[1].values()))["model_bytes"]):
        first = sets.get(shown[0]) or next(iter(sets.values()))
        quality = [cell for s in shown for cell in _quality(sets.get(s))]
        memory = first.get("engine_peak_bytes")
        lines.append(
            [
                name if name != "fp32" else "fp32 (torch, batch 64)",
                f"{first['bits_per_weight']:.2f}",
                f"{first['model_bytes'] / 1e6:.1f}",
                *quality,
                f"{first['ms_per_sentence']:.1f}",
                f"{memory / 1e6:.1f}" if memory else "",
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _quality(figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return ["", "", ""]
    loss = figures.get("bleu_against_fp32")
    interval = f"{loss['difference']:+.1f} ({loss['low']:+.1f} to {loss['high']:+.1f})" if loss else ""
    return [f"{figures['bleu']:.1f}", interval, f"{figures['chrf']:.1f}"]


def put_between_markers(path: Path, text: str) -> None:
    """Replace the text between the markers of a Markdown file; a file without them gets them at its end."""
    content = path.read_text() if path.exists() else ""
    if RESULTS_BEGIN not in content or RESULTS_END not in content:
        content = f"{content.rstrip()}\n\n{RESULTS_BEGIN}\n{RESULTS_END}\n".lstrip()
    before, _, rest = content.partition(RESULTS_BEGIN)
    _, _, after = rest.partition(RESULTS_END)
    path.write_text(f"{before}{RESULTS_BEGIN}\n{text}\n{RESULTS_END}{after}")


def plot(results: Results, path: Path) -> None:
    """Plot BLEU against megabytes, one line a test set, the fp32 model as a dashed level."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    names = list(dict.fromkeys(name for sets in results.values() for name in sets))
    labelled = names[0] if TABLE_SETS[0] not in names else TABLE_SETS[0]
    for name in names:
        points = sorted(
            (sets[name]["model_bytes"] / 1e6, sets[name]["bleu"], configuration)
            for configuration, sets in results.items()
            if configuration != "fp32" and name in sets
        )
        (line,) = axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=name)
        if name in results.get("fp32", {}):
            axes.axhline(results["fp32"][name]["bleu"], color=line.get_color(), linestyle="--", linewidth=0.8)
        if name == labelled:
            for megabytes, bleu, configuration in points:
                axes.annotate(configuration, (megabytes, bleu), xytext=(4, 6), textcoords="offset points", fontsize=8)
    axes.set(xlabel="model, MB (10^6 bytes)", ylabel="BLEU", ylim=(0, None), xlim=(0, None))
    axes.set_title("Quality against size; dashed: fp32")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def store_quality(model: ModelDirectory, results: Results) -> None:
    """Write the measured BLEU, chrF and milliseconds a sentence into config.json; the weights stay untouched."""

    def with_quality(name: str, configuration: Configuration) -> Configuration:
        kept = ("bleu", "chrf", "ms_per_sentence")
        measured = {s: {figure: f[figure] for figure in kept} for s, f in results.get(name, {}).items()}
        return replace(configuration, quality={**configuration.quality, **measured})

    configurations = {name: with_quality(name, c) for name, c in model.config.configurations.items()}
    write_config(model.path, replace(model.config, configurations=configurations))


def report(
    path: Path,
    corpus: Path,
    checkpoint: Path | None,
    *,
    sets: Sequence[str],
    configurations: Sequence[str],
    limit: int | None,
    results_dir: Path,
    readme: Path,
    keeps_times: bool = False,
) -> None:
    """Measure and write everything.

    Args:
        path: the model directory; its config.json and its card get the measured quality.
        corpus: folder with test/<set>.<language>.
        checkpoint: the fp32 model to compare with.
        sets: names of test sets; none = all.
        configurations: those to measure, the figures of the others are as recorded in `results_dir`; none = all.
        limit: sentences of each set; None = all.
        results_dir: where the JSON files and the plot go.
        readme: Markdown file whose table is replaced.
        keeps_times: milliseconds stay as recorded: for codes that changed while their shape did not, on another machine
            than the one that measured the other configurations.
    """
    model = open_model(path)
    found = find_test_sets(model, corpus)
    if unknown := [name for name in sets if name not in found]:
        raise ReportError(f"There is no test set {unknown[0]!r}; {corpus / 'test'} has {', '.join(found)}.")
    chosen = {name: pair for name, pair in found.items() if not sets or name in sets}
    for name in configurations:
        model.allocation(name)  # refuses a name that the model does not have
    known = list(model.config.configurations)
    names = [*known, "fp32"] if configurations or keeps_times else []
    recorded = {name: _recorded(results_dir / f"{name}.json") for name in names}
    times = recorded if keeps_times else {}
    measured = measure(model, configurations or known, chosen, checkpoint, limit, results_dir, times)
    results = {name: figures for name, figures in (recorded | measured).items() if figures}
    plot(results, results_dir / "quality.png")
    put_between_markers(readme, table(results))
    put_between_markers(path / "README.md", table(results))
    store_quality(model, results)
