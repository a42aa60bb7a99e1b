"""The API reference: an OpenAPI document as a page of HTML, complete without a script.

`service/page/reference.js` adds what needs one: sending the requests.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlencode

from service.api.example import FILE, example

Schema = Mapping[str, Any]

_FORM, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>API – {title}</title>
<link rel="icon" href="page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page/page.css">
<script type="module" src="page/reference.js"></script>
</head>
<body class="reference">
<a class="skip" href="#main">To the content</a>
<header>
<h1>{title}</h1>
<nav aria-label="Views"><a href="./">Translate</a> <a href="docs" aria-current="page">API</a></nav>
</header>
<main id="main" tabindex="-1">
<h2>API</h2>
<p>{about} This page is made of <a href="openapi.json">openapi.json</a>, which generators of clients read.</p>"""
_SECRET = """<p class="row" hidden><label for="{name}">{label}</label>
<input id="{name}" type="password" autocomplete="off">
<span class="hint">It stays in this tab and goes when the tab is closed.</span></p>"""


class _Secret(NamedTuple):
    """What an operation asks for: the API key, or the administrator's token."""

    name: str  # "key" or "token"
    header: str
    prefix: str


class _Operation(NamedTuple):
    method: str
    path: str
    described: Schema


def write(document: Schema) -> str:
    """Write the page of an OpenAPI document."""
    components = document.get("components", {})
    schemas, schemes = components.get("schemas", {}), components.get("securitySchemes", {})
    operations = [
        _Operation(method.upper(), path, described)
        for path, item in document["paths"].items()
        for method, described in item.items()
    ]
    tags = [tag for tag in document["tags"] if any(tag["name"] in each.described["tags"] for each in operations)]
    info = document["info"]
    page = [_HEAD.format(title=escape(info["title"]), about=_prose(info.get("description", "")))]
    links = [f'<a href="#{name}">{name}</a>' for name in [*(escape(tag["name"]) for tag in tags), "Schemas"]]
    page.append(f'<nav class="row" aria-label="Parts">{" ".join(links)}</nav>')
    labels = {"key": "API key", "token": "Token"}
    for name in dict.fromkeys(_secret(scheme, schemes).name for scheme in schemes):
        page.append(_SECRET.format(name=name, label=labels[name]))
    for tag in tags:
        name = escape(tag["name"])
        page.append(f'<h2 id="{name}">{name}</h2>\n<p>{_prose(tag["description"])}</p>')
        for each in operations:
            if tag["name"] in each.described["tags"]:
                page += _operation(each, schemas, schemes)
    page.append('<h2 id="Schemas">Schemas</h2>')
    for name, schema in sorted(schemas.items()):
        page.append(f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>')
        page += [f"<p>{_kind(schema)}. {_prose(schema.get('description', ''))}</p>", *_fields(schema), "</details>"]
    return "\n".join([*page, "</main>", "</body>", "</html>"])


def _secret(scheme: str, schemes: Schema) -> _Secret:
    described = schemes[scheme]
    name = "token" if "administrator" in described["description"] else "key"
    if described["type"] == "http":
        return _Secret(name, "Authorization", "Bearer ")
    return _Secret(name, described["name"], "DeepL-Auth-Key " if described["name"] == "Authorization" else "")


def _operation(operation: _Operation, schemas: Schema, schemes: Schema) -> Iterator[str]:
    """Yield what an operation takes and answers, and its request."""
    method, path, described = operation
    yield f'<details id="{escape(described["operationId"])}"><summary><b>{method}</b> <code>{escape(path)}</code> '
    yield f"<span>{_prose(described['summary'])}</span></summary>"
    yield f"<p>{_prose(described['description'])}</p>" if "description" in described else ""
    parameters = described.get("parameters", [])
    if parameters:
        yield "<h3>Parameters</h3>\n<ul>"
        for each in parameters:
            schema = {**each["schema"], **{key: each[key] for key in ("description",) if each.get(key)}}
            yield _field(each["name"], schema, f"{each['in']}, " + ("" if each.get("required") else "optional, "))
        yield "</ul>"
    content = described.get("requestBody", {}).get("content", {})
    for media_type, body in content.items():
        yield f"<h3>Body: {escape(media_type)}</h3>"
        schema = body.get("schema", {})
        yield from _fields(schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema, told=True)
    yield from _request(operation, schemas, schemes)
    yield "<h3>Replies</h3>\n<ul>"
    for status, reply in described["responses"].items():
        kinds = [
            _kind(body["schema"]) if media_type == "application/json" and body.get("schema") else escape(media_type)
            for media_type, body in reply.get("content", {}).items()
        ]
        told = "" if reply["description"] == "Successful Response" else _prose(reply["description"])
        yield f"<li><b>{escape(status)}</b> {told} <span>{', '.join(kinds)}</span></li>"
    yield "</ul>"
    yield "</details>"


def _request(operation: _Operation, schemas: Schema, schemes: Schema) -> Iterator[str]:
    """Yield a request with an example of what it needs, for a shell and for the script."""
    described = operation.described
    content = described.get("requestBody", {}).get("content", {})
    media_type = next(iter(content), "")
    schema = content.get(media_type, {}).get("schema", {})
    body = example(schema, schemas) if media_type else None
    values = {
        each["name"]: example(each["schema"], schemas)
        for each in described.get("parameters", [])
        if each.get("required")
    }
    secret = next((_secret(name, schemes) for asked in described["security"] for name in asked), None)
    yield "<h3>Request</h3>"
    yield f'<pre tabindex="0">{escape(_command(operation, values, media_type, body, secret))}</pre>'
    yield from _form(operation, values, media_type, body, schema, secret)


def _command(
    operation: _Operation, values: Mapping[str, Any], media_type: str, body: Any, secret: _Secret | None
) -> str:
    """Write a request for a shell.

    Args:
        operation: What is asked for.
        values: The required parameters.
        media_type: That of the body, "" if there is none.
        body: The body's value.
        secret: The secret that it asks for.
    """
    places = {each["name"]: each["in"] for each in operation.described.get("parameters", [])}
    query = urlencode([(name, value) for name, value in _pairs(values) if places[name] == "query"])
    words = [f'curl -s "$SERVER{operation.path}{"?" * bool(query)}{query}"']
    if operation.method != ("POST" if media_type else "GET"):
        words.append(f"-X {operation.method}")
    if secret is not None:
        words.append(f'-H "{secret.header}: {secret.prefix}${secret.name.upper()}"')
    if media_type in (_FORM, _MULTIPART):
        option = "-F" if media_type == _MULTIPART else "--data-urlencode"
        words += [f"{option} " + _quoted(f"{name}={value}") for name, value in _pairs(body)]
    elif media_type:
        words += [f"-H 'Content-Type: {media_type}'", f"-d {_quoted(json.dumps(body, ensure_ascii=False))}"]
    return " \\\n  ".join(words)


def _form(
    operation: _Operation,
    values: Mapping[str, Any],
    media_type: str,
    body: Any,
    schema: Schema,
    secret: _Secret | None,
) -> Iterator[str]:
    """Yield a request as a form, which the script shows and sends; see `_command`.

    Args:
        operation: What is asked for.
        values: The required parameters.
        media_type: That of the body, "" if there is none.
        body: The body's value.
        schema: The body's schema.
        secret: The secret that it asks for.
    """
    facts = {"method": operation.method, "path": operation.path, "type": media_type}
    if secret is not None:
        facts |= secret._asdict()
    told = " ".join(f'data-{name}="{escape(value)}"' for name, value in facts.items())
    yield f"<form hidden {told}>"
    for each in operation.described.get("parameters", []):
        yield _input(each["name"], each["in"], values.get(each["name"], ""))
    if media_type in (_FORM, _MULTIPART):
        for name in schema.get("properties", {}):
            value = body.get(name, "")
            yield _input(name, "file" if value == FILE else "field", value)
    elif media_type:
        text = json.dumps(body, ensure_ascii=False, indent=1)
        rows = min(12, text.count("\n") + 1)
        yield f'<label>Body <textarea name="body" rows="{rows}" spellcheck="false">{escape(text)}</textarea></label>'
    yield '<button class="main">Send</button> <span role="status"></span>\n<pre tabindex="0" hidden></pre>\n</form>'


def _input(name: str, place: str, value: Any) -> str:
    if place == "file":
        return f'<label>{escape(name)} <input type="file" name="{escape(name)}" data-in="file"></label>'
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    given = f'data-in="{place}" value="{escape(text)}"{" required" * (place == "path")}'
    return f'<label>{escape(name)} <input name="{escape(name)}" {given} autocomplete="off"></label>'


def _pairs(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a form or a query string; a list is its name for each item."""
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            yield name, each


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# Schemas


def _fields(schema: Schema, told: bool = False) -> Iterator[str]:
    """Yield a list of an object's fields, or of those of its kinds.

    Args:
        schema: Of any type; only objects have fields.
        told: Whether to say first what it is, unless its fields do.
    """
    if "properties" in schema:
        required = schema.get("required", ())
        yield "<ul>"
        for name, field in schema["properties"].items():
            yield _field(name, field, "" if name in required else "optional, ")
        yield "</ul>"
        return
    if told:
        yield f"<p>{_kind(schema)}. {_prose(schema.get('description', ''))}</p>"
    for part in (schema.get("items"), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(part, dict):
            yield from _fields(part)


def _field(name: str, schema: Schema, about: str) -> str:
    known = f", by default {_code(schema['default'])}" if "default" in schema else ""
    inner = "".join(_fields(schema))
    told = _prose(_description(schema))
    return f"<li><code>{escape(name)}</code> <span>{about}{_kind(schema)}{known}</span> {told}{inner}</li>"


def _description(schema: Schema) -> str:
    """Return the description of a schema; that of one that may also be null is inside."""
    inner = (_description(each) for each in schema.get("anyOf", ()))
    found: str = schema.get("description") or next(filter(None, inner), "")
    return found


def _kind(schema: Schema) -> str:
    """Say what values a schema allows."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if choices and "properties" not in schema:
        return " or ".join(dict.fromkeys(map(_kind, choices)))
    if "const" in schema or "enum" in schema:
        return " or ".join(map(_code, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type", "anything")
    if kind == "array":
        items = schema.get("items", {})
        return f"list of {_kind(items)}{_range(schema, 'minItems', 'maxItems', ' items')}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_kind(values)} by name" if isinstance(values, dict) else "object"
    limits = _range(schema, "minLength", "maxLength", " characters") + _range(schema, "minimum", "maximum", "")
    return f"{schema.get('format', kind)}{limits}"


def _range(schema: Schema, least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if high is None:
        return "" if low in (None, 0) or unit else f" from {low:g}"
    return f", {f'{low:,g} to ' if low else 'up to '}{high:,g}{unit}"


def _code(value: Any) -> str:
    shown = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"<code>{escape(shown)}</code>"


def _prose(text: str) -> str:
    """Return a sentence of the document as HTML: what is in backquotes is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
