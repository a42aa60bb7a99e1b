"""Settings of the service, read from the environment once at start. `python -m service --help` prints this list."""

import re
from pathlib import Path

from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.process import usable_cores

ADMIN_TOKEN_CHARACTERS = 16


class Settings(BaseSettings):
    """One documented field a setting; the environment variable is SUB3_ and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="SUB3_",
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # it may be a token
    )
    _admin_names: dict[str, SecretStr] = PrivateAttr(default_factory=dict)
    _redis_password: str | None = PrivateAttr(default=None)

    models_directory: Path = Field(
        default=Path("models/store"),
        description="Folder of model directories, in the format of docs/design.md; a model has its directory's name.",
    )
    served_models: str = Field(
        default="",
        description="Names of models in SUB3_MODELS_DIRECTORY to serve at start, with commas between; all if empty.",
    )
    model_directory: Path | None = Field(
        default=None, description="The one model directory to serve, instead of those in SUB3_MODELS_DIRECTORY."
    )
    configuration: str | None = Field(
        default=None,
        description="Configuration to serve at start, of the models that have it; else, and if it is unset, the "
        "directory's default_configuration.",
    )
    max_pivots: int = Field(
        default=1,
        ge=0,
        le=4,
        description="Most languages that a translation goes through where no model translates the pair itself; 0 turns "
        "that off.",
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
        default_factory=usable_cores,
        ge=1,
        le=256,
        description="Threads that translate; by default as many as there are cores, or whole ones in the container's "
        "quota. A sentence that is alone is computed by up to four of them.",
    )
    max_batch_rows: int = Field(
        default=16,
        ge=1,
        description="Hypotheses decoded together in a thread; more make each step longer. A request that runs "
        "something already gets half of them, the other half is kept for those that come.",
    )
    max_batch_tokens: int = Field(
        default=4096,
        ge=1,
        description="Source tokens times beam size decoded together in a thread; bounds the key/value cache. "
        "Half of it is kept as above.",
    )
    max_encode_tokens: int = Field(
        default=64,
        ge=1,
        description="Source tokens encoded between two decoder steps; bounds what a long arrival costs the others.",
    )
    max_queue_tokens: int = Field(
        default=65_536,
        ge=1,
        description="Source tokens times beam size that may wait; more is answered 429 with Retry-After. An empty "
        "queue takes a request of any size.",
    )
    request_timeout_ms: int = Field(
        default=30_000,
        ge=1,
        description="Milliseconds that a request may take, then 504; a request's X-Request-Timeout-Ms says otherwise.",
    )
    max_request_timeout_ms: int = Field(
        default=120_000, ge=1, description="Longest time that a request gets by X-Request-Timeout-Ms, in milliseconds."
    )
    max_text_characters: int = Field(
        default=10_000, ge=1, description="Longest text in Unicode characters; longer is 422."
    )
    max_texts: int = Field(default=128, ge=1, description="Most texts in one request; more is 422.")
    max_body_bytes: int = Field(default=1 << 20, ge=1, description="Largest request body in bytes; larger is 413.")
    max_file_bytes: int = Field(default=10 << 20, ge=1, description="Largest file in bytes; larger is 413.")
    max_unpacked_bytes: int = Field(
        default=64 << 20, ge=1, description="Most bytes that a file may unpack to (docx, odt, epub); more is refused."
    )
    max_files: int = Field(
        default=16, ge=1, description="Most files that are kept at a time, translated or not; more is 429."
    )
    file_minutes: float = Field(
        default=60, gt=0, description="Time that a translated file is kept for its client, in minutes."
    )
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
    log_json: bool = Field(default=False, description="Write each log line as a JSON object instead of plain text.")
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
    glossaries_file: Path = Field(
        default=Path("glossaries.sqlite3"),
        description="SQLite file of the stored glossaries, unless SUB3_REDIS_URL is set; made when it is first needed.",
    )
    max_glossaries: int = Field(
        default=100, ge=0, description="Most stored glossaries of an API key, or of all without keys; more is 422."
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis of several replicas, redis://HOST; keeps API keys, glossaries and what is live. REDIS_URL "
        "is read too.",
        validation_alias=AliasChoices("SUB3_REDIS_URL", "REDIS_URL"),
    )
    redis_password_file: Path | None = Field(
        default=None, description="File that holds the password of SUB3_REDIS_URL, such as a Docker secret."
    )

    admin_token_file: Path | None = Field(
        default=None, description="File that holds the token of SUB3_ADMIN_TOKEN, such as a Docker secret."
    )
    admin_tokens: SecretStr | None = Field(
        default=None,
        description="More tokens of /admin as name:token,name:token; the history of swaps shows the names. "
        "That of SUB3_ADMIN_TOKEN is admin.",
    )
    admin_tokens_file: Path | None = Field(
        default=None, description="File that holds what SUB3_ADMIN_TOKENS would; commas or line ends between them."
    )
    swap_wait_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="Longest time that requests wait for a swap with the policy resource, and that it waits for "
        "requests in flight; then 503 with Retry-After.",
    )
    memory_limit_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Resident bytes that a swap may bring the process to; more is 507. The control group's limit "
        "holds as well.",
    )
    state_file: Path | None = Field(
        default=Path("desired.json"),
        description="File that keeps what administrators made live over a restart; it wins over SUB3_CONFIGURATION. "
        "Empty keeps nothing; with SUB3_REDIS_URL that keeps it.",
    )

    @property
    def served_names(self) -> list[str]:
        """The names in served_models."""
        return [name.strip() for name in self.served_models.split(",") if name.strip()]

    @property
    def redis_password(self) -> str | None:
        """What redis_password_file holds; None leaves what the address says."""
        return self._redis_password

    @property
    def admin_names(self) -> dict[str, SecretStr]:
        """The tokens of /admin by name; empty turns /admin off."""
        return self._admin_names

    @field_validator(
        "model_directory",
        "admin_token_file",
        "admin_tokens_file",
        "state_file",
        "redis_url",
        "redis_password_file",
        mode="before",
    )
    @classmethod
    def _unset_if_empty(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _collect_tokens(self) -> "Settings":
        self._admin_names = {}
        if self.admin_token is not None:
            self._admin_names["admin"] = self.admin_token
        if self.admin_token_file is not None:
            self._add_token("admin", _read(self.admin_token_file), "SUB3_ADMIN_TOKEN_FILE")
        for pairs, variable in (
            (self.admin_tokens.get_secret_value() if self.admin_tokens else "", "SUB3_ADMIN_TOKENS"),
            (_read(self.admin_tokens_file) if self.admin_tokens_file else "", "SUB3_ADMIN_TOKENS_FILE"),
        ):
            for pair in re.split(r"[,\n]", pairs):
                if pair.strip():
                    name, _, token = pair.strip().partition(":")
                    self._add_token(name, token, variable)
        return self

    @model_validator(mode="after")
    def _read_password(self) -> "Settings":
        if self.redis_password_file is not None:
            self._redis_password = _read(self.redis_password_file)
        return self

    def _add_token(self, name: str, token: str, variable: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(f"{variable} needs name:token with a name of letters, digits, dots and dashes.")
        if name in self._admin_names:
            raise ValueError(f"{variable} has a second token of the name {name}; give each its own.")
        if len(token) < ADMIN_TOKEN_CHARACTERS:
            raise ValueError(f"{variable} needs tokens of at least {ADMIN_TOKEN_CHARACTERS} characters.")
        self._admin_names[name] = SecretStr(token)

    @field_validator("admin_token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None or token.get_secret_value() == "":
            return None  # compose files pass an unset variable on as an empty one
        if len(token.get_secret_value()) < ADMIN_TOKEN_CHARACTERS:
            raise ValueError(f"SUB3_ADMIN_TOKEN needs at least {ADMIN_TOKEN_CHARACTERS} characters; it was refused.")
        return token


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read: {error}.") from None


def describe() -> str:
    """The settings as a text: variable, default and meaning, one paragraph each."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "unset" if field.default is None else field.default
        lines.append(f"  SUB3_{name.upper()} (default {default})\n      {field.description}")
    return "\n".join(lines)
