"""The card of a compressed model: what it costs, how near it is to fp32, and how it was made."""

from collections.abc import Mapping
from typing import Any


def card(name: str, languages: str, figures: Mapping[str, Any], notes: str) -> str:
    """Write README.md of the directory.

    Args:
        name: of the model.
        languages: from what to what.
        figures: as `models.compress.road.compress` returns them.
        notes: text on data and licences.
    """
    rows = [
        ("bytes", f"{figures['fp32_bytes']:,}", f"{figures['bytes']:,}"),
        ("bits a weight", "32", f"{figures['bits_per_weight']:.3f}"),
        ("KL to fp32, nats a word piece", "0", f"{figures['kl']:.4f}"),
        ("same likeliest piece as fp32", "100 %", f"{100 * figures['agreement']:.1f} %"),
    ]
    if quality := figures["quality"]:
        rows += [(f"{title}, greedy", f"{quality['fp32'][key]}", f"{quality['coded'][key]}") for title, key in _SCORES]
        if served := quality.get("served"):
            beam = f"beam of {quality['beam_size']}, as served"
            rows += [(f"{title}, {beam}", "not measured", f"{served[key]}") for title, key in _SCORES]
    table = "\n".join(f"| {title} | {plain} | {coded} |" for title, plain, coded in rows)
    trained = (
        f"then {figures['trained_tokens']:,} tokens of training against fp32, " if figures["trained_tokens"] else ""
    )
    return f"""# {name}

Translates {languages}. Made by `{figures["conditions"]["command"]}`.

| on {figures["held_out"]} held-out sentences | fp32 | this model |
| --- | ---: | ---: |
{table}

Codes fitted to {figures["calibration_tokens"]:,} tokens (KL {figures["calibrated_kl"]:.4f}), {trained}in
{figures["minutes"]:.1f} minutes ({figures["processor_minutes"]:.1f} of processors) on {figures["conditions"]["cpu"]},
{figures["conditions"]["date"]}. {_WORDS[figures["referenced"]]}

{notes or "## Data and licences" + chr(10) + chr(10) + "Not stated."}
"""


_SCORES = (("BLEU", "bleu"), ("chrF", "chrf"))
_WORDS = {
    True: "The held-out sentences have references by people.",
    False: "The held-out sentences have no references; KL and agreement are after the fp32 model's own words.",
}
