"""An example of what a JSON schema describes."""

from collections.abc import Mapping
from typing import Any

FILE = "@letter.txt"  # as curl names a file
_DEEPEST = 6  # levels; schemas may refer to themselves


def example(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value that a schema allows: its own example if it has one, else the required fields.

    Args:
        schema: What is described.
        schemas: The schemas that it may refer to, by name.
        depth: The levels above it.
    """
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    allowed = schema.get("enum", ())
    for found in (*schema.get("examples", ()), *allowed):
        if not allowed or found in allowed:
            return found
    choices = [each for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())) if each.get("type") != "null"]
    if choices and "properties" not in schema:
        return example(choices[0], schemas, depth)
    kind = schema.get("type")
    if kind == "object":
        required = schema.get("required") or next((each["required"] for each in choices if "required" in each), ())
        if depth == _DEEPEST:
            return {}
        return {name: example(schema["properties"][name], schemas, depth + 1) for name in required}
    if kind == "array":
        return [example(schema.get("items", {}), schemas, depth + 1)] if schema.get("minItems") else []
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if schema.get("format") == "binary":
        return FILE
    return True if kind == "boolean" else kind or "any"
