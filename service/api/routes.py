"""Routers whose operations have short names in the OpenAPI document."""

from functools import partial

from fastapi import APIRouter
from fastapi.routing import APIRoute

_NATIVE = ("Translation", "Files", "Glossaries", "Operation")


def operation_id(route: APIRoute) -> str:
    """Name an operation by its function, after the dialect if it is not of the native API: `deepl_translate`."""
    tag = str(route.tags[0]) if route.tags else _NATIVE[0]
    return route.name if tag in _NATIVE else f"{tag.lower()}_{route.name}"


Routes = partial(APIRouter, generate_unique_id_function=operation_id)
