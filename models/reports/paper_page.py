"""docs/paper: our figures beside those of Chung et al. 2020, from what `models.reports.paper` has recorded."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

# --- the paper's figures ----------------------------------------------------------------------------------------------

TABLE_1 = {  # BLEU of En2De base, FP 25.4: planes 4, 3, 2, 1
    "Emb": (22.9, 22.4, 19.0, 1.0),
    "Enc": (24.6, 24.0, 20.6, 1.3),
    "Enc_ee": (25.3, 24.8, 23.7, 13.6),
    "Enc_ffn": (24.9, 24.8, 23.1, 4.3),
    "Dec": (24.7, 23.6, 11.1, 0.1),
    "Dec_dd": (25.2, 25.1, 24.8, 17.8),
    "Dec_ed": (25.1, 24.7, 20.6, 2.0),
    "Dec_ffn": (25.0, 24.9, 24.4, 17.6),
}
TABLE_1_FP = 25.4
FIGURE_3 = ((1.0, 1.22), (1.14, 15.7), (1.32, 18.02), (1.73, 20.31), (2.0, 18.15))  # bits of the embedding, BLEU
FIGURE_3_FP = 25.4
TABLE_2 = {  # retrained En2De: BLEU with beam 4, times smaller
    "flat-3": (26.9, 10.0),
    "flat-2": (24.4, 15.0),
    "paper-2.5": (27.1, 11.8),
    "paper-1.3": (25.9, 13.5),
    "paper-1.1": (26.0, 13.8),
}
TABLE_2_FP = 27.5
TABLE_4 = {"encoder": 4.4, "decoder": 49.8, "embedding": 45.1}  # per cent of the time of the FP model

Table = list[list[str]]


def render(folder: Path) -> None:
    """Write README.md and the plots from the JSON files of the folder; what was not recorded is left out."""
    parts = [HEAD]
    for name, section in SECTIONS.items():
        path = folder / f"{name}.json"
        if path.exists():
            recorded = json.loads(path.read_text())
            text = section(recorded, folder)
            parts.append(f"{text}\n\n{_provenance(recorded['conditions'])}")
    (folder / "README.md").write_text("\n\n".join(parts) + "\n")


HEAD = """# The paper's tables, on our model

Chung et al. 2020 (arXiv 2009.07453) coded Transformer base for English-German of WMT14, 60.9 M weights. Ours has 12.6 M
and another task, so the figures to compare are losses, not levels: "paper" columns are the paper's own. BLEU is
sacreBLEU's; ours is greedy unless it says beam 4. `make paper` writes this page from the JSON files beside it.

All of it is of the model that shipped on 2026-11-26 (commit 79d96ef); its fp32 is here what the six planes of
models/store/en-de stand for. What ships since has codes of a later fp32 model: docs/history/training-log.md."""


def _provenance(conditions: Mapping[str, Any]) -> str:
    return f"Recorded {conditions['date']}, commit {conditions['commit']}: `{conditions['command']}`."


def _markdown(rows: Table) -> str:
    header, *body = rows
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, axes: Any, path: Path) -> str:
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return f"![{axes.get_title()}]({path.name})"


# --- sections ---------------------------------------------------------------------------------------------------------


def _sensitivity(recorded: Mapping[str, Any], folder: Path) -> str:
    fp32, tables = recorded["fp32"], recorded["bleu"]
    header = ["block", *(f"{p} bit" for p in (4, 3, 2, 1)), "mean loss", "paper's mean loss"]
    parts = ["## Table 1: one block at a time, without retraining"]
    for solver, blocks in tables.items():
        rows: Table = [header]
        for block, by_planes in blocks.items():
            ours = [by_planes[str(planes)] for planes in (4, 3, 2, 1)]
            theirs = sum(TABLE_1_FP - bleu for bleu in TABLE_1[block]) / 4
            mean = sum(fp32 - bleu for bleu in ours) / 4
            rows.append([block, *(f"{bleu:.1f}" for bleu in ours), f"{mean:.1f}", f"{theirs:.1f}"])
        parts.append(f"{solver.capitalize()} codes; the rest in fp32, {fp32:.1f} BLEU.\n\n{_markdown(rows)}")
    figure, axes = _axes("BLEU lost by block, greedy codes (dashed: the paper)", "bits", "BLEU lost")
    for number, block in enumerate(TABLE_1):
        colour = f"C{number}"
        losses = [fp32 - tables["greedy"][block][str(planes)] for planes in (1, 2, 3, 4)]
        axes.plot((1, 2, 3, 4), losses, color=colour, marker="o", label=block)
        theirs_by_bits = [TABLE_1_FP - bleu for bleu in reversed(TABLE_1[block])]
        axes.plot((1, 2, 3, 4), theirs_by_bits, color=colour, linestyle="--", linewidth=0.8)
    axes.set_xticks((1, 2, 3, 4))
    return "\n\n".join([*parts, _save(figure, axes, folder / "sensitivity.png")])


def _embedding(recorded: Mapping[str, Any], folder: Path) -> str:
    rows: Table = [["words", "bits", *(f"BLEU, {solver}" for solver in recorded["curves"])]]
    curves = recorded["curves"]
    for points in zip(*curves.values(), strict=True):
        rows.append([points[0]["name"], f"{points[0]['bits']:.2f}", *(f"{p['bleu']:.1f}" for p in points)])
    figure, axes = _axes("Embedding alone, without retraining", "bits a weight of the embedding", "BLEU lost")
    for number, (solver, points) in enumerate(curves.items()):
        for kind, mark in (("r", "o-"), ("flat", "s--")):
            chosen = sorted((p["bits"], recorded["fp32"] - p["bleu"]) for p in points if p["name"].startswith(kind))
            label = f"{solver}, {'by frequency' if kind == 'r' else 'flat'}"
            axes.plot(*zip(*chosen, strict=True), mark, color=f"C{number}", label=label)
    axes.plot(*zip(*((b, FIGURE_3_FP - bleu) for b, bleu in FIGURE_3), strict=True), "k^:", label="paper, greedy")
    return "\n\n".join(
        [
            "## Figure 3: the embedding by word frequency",
            "Four clusters, each r times as large as the one before, against flat planes; "
            f"fp32 {recorded['fp32']:.1f}.",
            _markdown(rows),
            _save(figure, axes, folder / "embedding.png"),
        ]
    )


def _models(recorded: Mapping[str, Any], folder: Path) -> str:
    fp32 = recorded["fp32"]
    sets = list(fp32)
    first = sets[0]
    full = fp32[first]["1"]["model_bytes"]
    header = ["model", "codes", "bits Emb, Dec, Enc", "bits", "MB", "smaller by"]
    header += [f"{name}{beam}" for name in sets for beam in ("", ", beam 4")]
    header += ["ms a sentence", "memory MB", "paper's loss (beam 4), size"]
    head = ["fp32", "", "32, 32, 32", "32", f"{full / 1e6:.1f}", "1.0x"]
    rows: Table = [
        header,
        [*head, *(cell for name in sets for cell in (f"{fp32[name]['1']['bleu']:.1f}", "")), "", "", ""],
    ]
    for model in sorted(recorded["models"], key=lambda row: -row["sets"][first]["1"]["model_bytes"]):
        figures = model["sets"][first]["1"]
        bits = model["bits"]
        theirs = TABLE_2.get(model["configuration"])
        quality = [f"{model['sets'][name][beam]['bleu']:.1f}" for name in sets for beam in ("1", "4")]
        rows.append(
            [
                model["configuration"],
                model["method"],
                f"{bits['Emb']:.1f}, {bits['Dec']:.1f}, {bits['Enc']:.1f}",
                f"{bits['all']:.2f}",
                f"{figures['model_bytes'] / 1e6:.2f}",
                f"{full / figures['model_bytes']:.1f}x",
                *quality,
                f"{figures['ms_per_sentence']:.2f}",
                f"{figures['engine_peak_bytes'] / 1e6:.1f}",
                f"{TABLE_2_FP - theirs[0]:.1f}, {theirs[1]}x" if theirs else "",
            ]
        )
    figure, axes = _axes(f"BLEU lost on {first} by size (crosses: the paper, beam 4)", "times smaller", "BLEU lost")
    for method in dict.fromkeys(model["method"] for model in recorded["models"]):
        chosen = [m["sets"][first]["1"] for m in recorded["models"] if m["method"] == method]
        points = sorted((full / f["model_bytes"], fp32[first]["1"]["bleu"] - f["bleu"]) for f in chosen)
        axes.plot(*zip(*points, strict=True), "o-", label=method)
    axes.plot(*zip(*((size, TABLE_2_FP - bleu) for bleu, size in TABLE_2.values()), strict=True), "kx", label="paper")
    axes.set_ylim(-1, 12)
    return "\n\n".join(
        [
            "## Tables 2 and 3: size, quality, time and memory of whole models",
            "Engine output, one sentence at a time on one thread. MB are 10^6 bytes of all that is needed to "
            "translate, tokenizer aside. The paper's Table 2 is retrained (pnr); its memory and time are 8.3x and "
            "3.5x better than its fp32's at 2.5, 1.8, 3.7 bits.",
            _markdown(rows),
            _save(figure, axes, folder / "models.png"),
        ]
    )


def _blocks(recorded: Mapping[str, Any], folder: Path) -> str:
    rows: Table = [["configuration", *TABLE_4, "total, ms"]]
    for name, figures in recorded["models"].items():
        shares = [f"{figures[b]:.2f} ms ({100 * figures[b] / figures['total']:.0f} %)" for b in TABLE_4]
        rows.append([name, *shares, f"{figures['total']:.2f}"])
    rows.append(["paper, fp32", *(f"{share:.0f} %" for share in TABLE_4.values()), "825.1"])
    return "\n\n".join(
        [
            "## Table 4: where the time goes",
            "30 tokens in and out, one thread, greedy, median of 100; `embedding` is the output layer: what the "
            "decoding stage takes longer than with a vocabulary of 32 pieces.",
            _markdown(rows),
        ]
    )


def _runs(recorded: Mapping[str, Any], folder: Path) -> str:
    rows: Table = [["run", "target tokens", "hours", "loss at its begin", "at its end", "BLEU at its end"]]
    figure, axes = _axes("Validation loss against target tokens", "million target tokens", "nats a piece")
    axes.set_prop_cycle(color=[mpl.colormaps["tab20"](n) for n in range(20)])
    for name, run in recorded["runs"].items():
        for version in dict.fromkeys(point["version"] for point in run["validation"]):
            points = [p for p in run["validation"] if p["version"] == version]
            label = f"{name} {version}".strip()
            axes.plot([p["tokens"] / 1e6 for p in points], [p["loss"] for p in points], marker=".", label=label)
            bleu = f"{points[-1]['bleu']:.1f}" if "bleu" in points[-1] else ""
            losses = [f"{points[0]['loss']:.3f}", f"{points[-1]['loss']:.3f}"]
            rows.append([label, f"{run['tokens']:,}", f"{run['hours']:.2f}", *losses, bleu])
    return "\n\n".join(
        [
            "## Trainings",
            "Validation on held-out Tatoeba sentences. Hours are those of the steps, on a part of two busy cores.",
            _markdown(rows),
            _save(figure, axes, folder / "runs.png"),
        ]
    )


def _allocation(recorded: Mapping[str, Any], folder: Path) -> str:
    rows: Table = [["part", *(f"{planes} planes" for planes in (4, 3, 2, 1))]]
    for part, options in recorded["options"].items():
        flat = {o["rule"].rpartition("planes ")[2]: o["loss"] for o in options if "planes " in o["rule"]}
        rows.append([part, *(f"{flat[str(planes)]:+.3f}" for planes in (4, 3, 2, 1))])
    together: Table = [["configuration", "loss", "BLEU"]]
    together += [[name, f"{f['loss']:.3f}", f"{f['bleu']:.1f}"] for name, f in recorded["together"].items()]
    return "\n\n".join(
        [
            "## Bit allocation: chosen by hand, searched, learned",
            "Rise of the validation loss, nats a piece, with one part alone in the best codes "
            "(`models/quantize/allocate.py`).",
            _markdown(rows),
            "What the search and the training through noise (`models/train/allocation.py`) found for the same bytes, "
            "beside configurations chosen by hand; whole models, nothing retrained:",
            _markdown(together),
        ]
    )


SECTIONS: Mapping[str, Callable[[Mapping[str, Any], Path], str]] = {
    "sensitivity": _sensitivity,
    "embedding": _embedding,
    "allocation": _allocation,
    "models": _models,
    "blocks": _blocks,
    "runs": _runs,
}
