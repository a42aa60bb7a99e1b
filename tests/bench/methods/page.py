"""The table of docs/methods.md, from docs/results/methods.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.reports.report import put_between_markers


def render(report: Mapping[str, Any], page: Path) -> None:
    """Write the tables between the markers of the page, one for each budget."""
    fp32 = report["fp32"]["tatoeba"]
    parts = [f"The model in fp32: {fp32['bleu']} BLEU, {fp32['chrf']} chrF."]
    for budget in sorted({row["budget"] for row in report["rows"]}):
        rows = [row for row in report["rows"] if row["budget"] == budget]
        parts.append(
            "\n".join(
                [
                    f"**{budget:g} planes a weight**",
                    "",
                    "| method | bits | MB | KL | agreement | BLEU | chrF | loss of BLEU, 95 % | minutes |",
                    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
                    *(_line(row) for row in sorted(rows, key=lambda row: row["loss"])),
                ]
            )
        )
    put_between_markers(page, "\n\n".join(parts))


def _line(row: Mapping[str, Any]) -> str:
    quality = row["sets"]["tatoeba"]
    loss = quality["loss"]
    cells = [
        f"`{row['method']}`",
        f"{row['bits']:.2f}",
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['loss']:.3f}",
        f"{100 * row['agreement']:.1f} %",
        f"{quality['bleu']:.1f}",
        f"{quality['chrf']:.1f}",
        f"{-loss['difference']:.1f} ({-loss['high']:.1f} to {-loss['low']:.1f})",
        f"{row['minutes']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"
