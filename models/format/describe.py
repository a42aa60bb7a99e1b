"""Contents of a model directory, as a table for people."""

from collections.abc import Mapping

from models.format.directory import ModelDirectory
from models.format.layout import matrix_bytes
from models.format.schema import Allocation


def _planes(segments: Allocation, name: str) -> str:
    """Show the planes: `4` for a flat matrix, `4x386 3x1542 ...` for one with clusters of rows."""
    parts = segments[name]
    if len(parts) == 1:
        return str(parts[0].planes)
    return " ".join(f"{part.planes}x{part.end - part.begin}" for part in parts)


def _error(model: ModelDirectory, allocation: Allocation, name: str) -> str:
    """Show the relative squared error; for clusters of progressive codes the mean over rows at their planes."""
    weights = model.mapped(allocation).weights
    errors, segments = weights.matrices[name].error, allocation[name]
    if weights.codes.kind == "specialised":
        return f"{errors[0]:.5f}"
    mean = sum((s.end - s.begin) * errors[s.planes - 1] for s in segments) / segments[-1].end
    return f"{'' if len(segments) == 1 else '~'}{mean:.5f}"


def describe(model: ModelDirectory, configuration: str, rules: Mapping[str, str] | None = None) -> str:
    """Return a table of all matrices: shape, planes, bytes and error, and the rule of each where rules are given.

    Raises:
        UnavailableConfiguration: the model has no such configuration.
    """
    config, allocation = model.config, model.allocation(configuration)
    codes = model.mapped(allocation).weights.codes
    rows = [("matrix", "shape", "planes", "bytes", "error", "" if rules is None else "rule")]
    for name, matrix in config.matrices.items():
        rule = "" if rules is None else rules.get(name, "-")
        cost = f"{matrix_bytes(allocation[name], matrix.columns, codes.group_size):,}"
        shape = f"{matrix.rows}x{matrix.columns}"
        rows.append((name, shape, _planes(allocation, name), cost, _error(model, allocation, name), rule))
    widths = [max(len(row[n]) for row in rows) for n in range(6)]
    right = (False, True, False, True, True, False)
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in rows
    ]
    chosen = config.configurations[configuration]
    summary = (
        f"{config.name}: {codes.kind} codes, {codes.depth} planes deep ({codes.solver}); "
        f"configuration {configuration}: {chosen.bits_per_weight:.3f} bits per weight, {chosen.bytes:,} bytes"
    )
    others = ", ".join(config.configurations)
    return "\n".join([summary, f"configurations: {others}", "", *lines])
