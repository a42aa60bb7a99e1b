"""Settings of the service, read from the environment once at start. `python -m service --help` prints this list."""

import os
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ADMIN_TOKEN_CHARACTERS = 16


class Settings(BaseSettings):
    """One documented field a setting; the environment variable is SUB3_ and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix="SUB3_", populate_by_name=True, protected_namespaces=())

    model_directory: Path = Field(
        default=Path("models/store/en-de"),
        description="Directory of the model to serve, in the format of docs/design.md.",
    )
    configuration: str | None = Field(
        default=None, description="Configuration to serve at start; the directory's default_configuration if unset."
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. HOST is read too.",
        validation_alias=AliasChoices("SUB3_HOST", "HOST"),
    )
    port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="TCP port to listen on; 0 takes a free one. PORT is read too.",
        validation_alias=AliasChoices("SUB3_PORT", "PORT"),
    )
    threads: int = Field(
        default=os.cpu_count() or 1, ge=1, le=1024, description="Requests translated at the same time; one core each."
    )
    queue_size: int = Field(
        default=128, ge=1, description="Requests that may wait for a thread; one more is answered 429 with Retry-After."
    )
    max_batch_tokens: int = Field(
        default=4096,
        ge=1,
        description="Source tokens times beam size decoded together for one request; bounds the key/value cache.",
    )
    max_text_characters: int = Field(
        default=10_000, ge=1, description="Longest text in Unicode characters; longer is 422."
    )
    max_texts: int = Field(default=128, ge=1, description="Most texts in one request; more is 422.")
    max_body_bytes: int = Field(default=1 << 20, ge=1, description="Largest request body in bytes; larger is 413.")
    max_alternatives: int = Field(default=4, ge=0, description="Most alternatives to a translation; more is 422.")
    max_beam_size: int = Field(default=8, ge=1, description="Widest beam; wider is 422.")
    header_seconds: float = Field(
        default=10, gt=0, description="Time a client has to send a request's headers, in seconds; slower is 408."
    )
    body_seconds: float = Field(
        default=30, gt=0, description="Time a client has to send a request's body, in seconds; slower is 408."
    )
    max_header_bytes: int = Field(
        default=16 << 10, ge=1024, description="Largest request line and headers in bytes; larger is 431."
    )
    max_connections: int = Field(
        default=512, ge=1, description="Most connections at the same time; one more is answered 503 and closed."
    )
    drain_seconds: float = Field(
        default=5,
        ge=0,
        description="Time to serve on after SIGTERM with /health/ready at 503, in seconds: balancers turn away.",
    )
    shutdown_seconds: int = Field(
        default=30, ge=1, description="Time that requests in flight have to finish after the drain, in seconds."
    )
    admin_token: SecretStr | None = Field(
        default=None,
        description="Bearer token of /admin, at least 16 characters; unset or empty turns /admin off (404).",
    )

    api_keys: bool = Field(
        default=False,
        description="Ask for an API key with every translation; `python -m service keys add NAME` makes one.",
    )
    keys_file: Path = Field(
        default=Path("keys.sqlite3"),
        description="SQLite file of the API keys, unless SUB3_REDIS_URL is set; made when it is first needed.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis that several replicas share, redis://HOST; it keeps the API keys. REDIS_URL is read too.",
        validation_alias=AliasChoices("SUB3_REDIS_URL", "REDIS_URL"),
    )

    @field_validator("redis_url")
    @classmethod
    def _unset_if_empty(cls, url: SecretStr | None) -> SecretStr | None:
        return url if url is not None and url.get_secret_value() else None

    @field_validator("admin_token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None or token.get_secret_value() == "":
            return None  # compose files pass an unset variable on as an empty one
        if len(token.get_secret_value()) < ADMIN_TOKEN_CHARACTERS:
            raise ValueError(f"SUB3_ADMIN_TOKEN needs at least {ADMIN_TOKEN_CHARACTERS} characters; it was refused.")
        return token


def describe() -> str:
    """The settings as a text: variable, default and meaning, one paragraph each."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else field.default
        lines.append(f"  SUB3_{name.upper()} (default {default})\n      {field.description}")
    return "\n".join(lines)
