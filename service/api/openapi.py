"""OpenAPI descriptions of bodies that a route reads itself, made from the types of their fields."""

from typing import Any

from pydantic import TypeAdapter

# Of a route that takes texts in its query string. The connection itself may refuse it, which knows no dialect's errors.
LARGE_ADDRESS: dict[int | str, dict[str, Any]] = {
    431: {
        "description": "The address and the headers are too large; send the texts in a body.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
_FORM, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


def link(operation: str, fields: tuple[str, ...] = (), **parameters: str) -> dict[str, Any]:
    """Describe how a reply leads to another operation.

    Args:
        operation: Its id.
        fields: Those of the reply that go into its body, by the same names.
        parameters: Of the operation -> the reply's field.
    """
    described: dict[str, Any] = {"operationId": operation}
    described["parameters"] = {name: f"$response.body#/{field}" for name, field in parameters.items()}
    if fields:
        described["requestBody"] = {name: f"$response.body#/{name}" for name in fields}
    return described


def json_body(fields: type) -> dict[str, Any]:
    """Describe a JSON body.

    Args:
        fields: A pydantic model or TypedDict, or a list of one.
    """
    return _json_body(_schema(fields))


def fields_body(fields: type) -> dict[str, Any]:
    """Describe a JSON body that `read_fields` reads: null stands for a field that is missing."""
    return _json_body(_nullable(_schema(fields)))


def form_body(fields: type, form: type | None = None) -> dict[str, Any]:
    """Describe a body that `read_fields` reads: JSON or a form of either kind.

    Args:
        fields: A TypedDict. In JSON, null stands for a field that is missing.
        form: The same for forms, where they differ.
    """
    described = fields_body(fields)
    described["requestBody"]["content"] |= _body(form or fields, _FORM, _MULTIPART)["requestBody"]["content"]
    return described


def upload_body(fields: type) -> dict[str, Any]:
    """Describe a form with a file, which `read_upload` reads."""
    described = _body(fields, _MULTIPART)
    described["requestBody"]["required"] = True
    name = {"schema": {"type": "string"}, "example": 'form-data; name="file"; filename="letter.txt"'}
    encoding = {"file": {"contentType": "text/plain", "headers": {"Content-Disposition": name}}}
    described["requestBody"]["content"][_MULTIPART]["encoding"] = encoding
    return described


def query_fields(fields: type) -> dict[str, Any]:
    """Describe a query string that `read_fields` reads."""
    schema = _schema(fields)
    required = schema.get("required", ())
    return {
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in schema["properties"].items()
        ]
    }


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"content": {"application/json": {"schema": schema}}}
    if schema["type"] == "array" or schema.get("required"):
        body["required"] = True
    return {"requestBody": body}


def _body(fields: type, *media_types: str) -> dict[str, Any]:
    schema = _schema(fields)
    return {"requestBody": {"content": {kind: {"schema": schema} for kind in media_types}}}


def _nullable(node: Any) -> Any:
    """Return a schema where null stands for a field that is missing, at every depth."""
    if isinstance(node, list):
        return list(map(_nullable, node))
    if not isinstance(node, dict):
        return node
    inner = {key: value if key == "not" else _nullable(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict):
        required = node.get("required", ())
        inner["properties"] = {
            name: field if name in required else {"anyOf": [field, {"type": "null"}]}
            for name, field in inner["properties"].items()
        }
    return inner


def _schema(fields: type) -> dict[str, Any]:
    """Return the JSON schema of a type, with nested definitions in their places.

    FastAPI collects the definitions of bodies that it reads itself, but not those of `openapi_extra`.
    """
    schema = TypeAdapter(fields).json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inlined(definitions[node["$ref"].rpartition("/")[2]])
            return {key: inlined(value) for key, value in node.items()}
        return [inlined(item) for item in node] if isinstance(node, list) else node

    result: dict[str, Any] = inlined(schema)
    return result
