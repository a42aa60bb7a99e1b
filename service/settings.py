"""Settings of the service, read from the environment once at start. `sub3 serve --help` prints them."""

import ipaddress
import re
import textwrap
from pathlib import Path

from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.format.store import SHIPPED
from service.process import memory_limits, usable_cores

ADMIN_TOKEN_CHARACTERS = 16
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_INDENT = " " * 6  # in the text of --help


_SERVICE_BYTES = 90 << 20  # a server with one model that is ready
_PROCESS_BYTES = 20 << 20  # what the process of a file starts with


def eighth(limits: list[int]) -> int:
    """Return an eighth of the smallest of a container's memory limits, from 1 to 64 MiB, which it is without limits."""
    return max(1 << 20, min([64 << 20, *(limit // 8 for limit in limits)]))


def room_for_glossaries(limits: list[int]) -> int:
    """Return the bytes that an owner's glossaries may have: 10 MiB, and less in a container of less than 1.25 GiB."""
    return min([10 << 20, *(limit // 128 for limit in limits)])


def room_for_files(limits: list[int]) -> tuple[int, int]:
    """Return how many processes of files fit beside the service, its bodies and stored files, and the bytes of each.

    Args:
        limits: of the container's memory, in bytes; empty if there are none.
    """
    if not limits:
        return 2, 128 << 20
    left = min(limits) - _SERVICE_BYTES - 2 * eighth(limits)
    processes = 2 if left >= 2 * (_PROCESS_BYTES + (64 << 20)) else 1
    return processes, max(16 << 20, min(128 << 20, left // processes - _PROCESS_BYTES))


class Settings(BaseSettings):
    """One documented field for each setting; its environment variable is SUB3_ and the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="SUB3_",
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # it may be a token
    )
    _admin_names: dict[str, SecretStr] = PrivateAttr(default_factory=dict)
    _redis_password: str | None = PrivateAttr(default=None)
    _trusted_networks: list[Network] = PrivateAttr(default_factory=list)

    models_directory: Path = Field(
        default=SHIPPED,
        description="Folder of model directories, in the format of docs/design.md. A model is named after its "
        "directory. The default has the models that come with sub3.",
    )
    served_models: str = Field(
        default="",
        description="Comma-separated names of the models in SUB3_MODELS_DIRECTORY to serve at start; all if empty.",
    )
    model_directory: Path | None = Field(
        default=None, description="A single model directory to serve, instead of those in SUB3_MODELS_DIRECTORY."
    )
    configuration: str | None = Field(
        default=None,
        description="Configuration to serve at start. If it is unset, and for models that lack it, the directory's "
        "default_configuration.",
    )
    loaded_configurations: str = Field(
        default="",
        description="Comma-separated names of configurations that are live at start beside the one that answers, in "
        "models that have them. A request may name one, and Compare on the page shows them side by side.",
    )
    weights_in_memory: bool = Field(
        default=False,
        description="Read weights into memory instead of mapping their files: that takes their bytes of each process; "
        "then writing to the files of a running server changes nothing.",
    )
    max_pivots: int = Field(
        default=1,
        ge=0,
        le=4,
        description="Maximum number of intermediate languages where no model translates a pair directly; 0 turns "
        "pivoting off.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; HOST is an alias.",
        validation_alias=AliasChoices("SUB3_HOST", "HOST"),
    )
    port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="TCP port to listen on; 0 chooses a free one. PORT is an alias.",
        validation_alias=AliasChoices("SUB3_PORT", "PORT"),
    )
    threads: int = Field(
        default_factory=usable_cores,
        ge=1,
        le=256,
        description="Engine threads. The default is the number of cores, or of whole cores in the container's CPU "
        "quota. Up to four threads share the work of a sentence that runs alone.",
    )
    max_batch_rows: int = Field(
        default=16,
        ge=1,
        description="Hypotheses decoded together in a thread; more rows make each step longer. A request that already "
        "has rows running may use half of them; the rest is reserved for new requests.",
    )
    max_batch_tokens: int = Field(
        default=4096,
        ge=1,
        description="Source tokens times beam size decoded together in a thread; bounds the KV cache. Half of them is "
        "reserved for new requests, as with SUB3_MAX_BATCH_ROWS.",
    )
    max_encode_tokens: int = Field(
        default=64,
        ge=1,
        description="Source tokens encoded between two decoder steps; bounds the delay that a long new text causes.",
    )
    max_queue_tokens: int = Field(
        default=65_536,
        ge=1,
        description="Source tokens times beam size that may wait; a request beyond that gets 429 with Retry-After. An "
        "empty queue accepts a request of any size.",
    )
    request_timeout_ms: int = Field(
        default=30_000,
        ge=1,
        description="Default timeout of a request in milliseconds, then 504; the header X-Request-Timeout-Ms sets "
        "another.",
    )
    max_request_timeout_ms: int = Field(
        default=120_000, ge=1, description="Longest timeout that X-Request-Timeout-Ms may set, in milliseconds."
    )
    max_text_characters: int = Field(
        default=10_000, ge=1, description="Maximum length of a text in Unicode characters; a longer one gets 422."
    )
    max_texts: int = Field(default=128, ge=1, description="Maximum number of texts in a request; more get 422.")
    max_body_bytes: int = Field(
        default=1 << 20, ge=1, description="Maximum size of a request body in bytes; a larger one gets 413."
    )
    max_file_bytes: int = Field(
        default=10 << 20, ge=1, description="Maximum size of a file in bytes; a larger one gets 413."
    )
    max_unpacked_bytes: int = Field(
        default=64 << 20,
        ge=1,
        description="Maximum unpacked size of a file (docx, odt, epub) in bytes; a larger one is refused.",
    )
    max_files: int = Field(
        default=16,
        ge=1,
        description="Maximum number of files stored at a time for an API key (for the server, without keys), "
        "translated or not; one more gets 429.",
    )
    file_processes: int = Field(
        default_factory=lambda: room_for_files(memory_limits())[0],
        ge=1,
        description="Files translated at a time, each taken apart in a process of its own; a key may have all but one "
        "of them. The default is 2, and 1 in a container of less than 350 MB.",
    )
    file_memory_bytes: int = Field(
        default_factory=lambda: room_for_files(memory_limits())[1],
        ge=16 << 20,
        description="Maximum memory of the process of a file in bytes, beside the 20 MB that it starts with; a file "
        "that needs more is refused. The default is 128 MiB, or what the container's memory leaves for it.",
    )
    max_stored_bytes: int = Field(
        default_factory=lambda: eighth(memory_limits()),
        ge=1 << 20,
        description="Maximum bytes of all files that are stored, translated or not; a key may have half of them. One "
        "more gets 429. The default is 64 MiB, or an eighth of the container's memory.",
    )
    file_cpu_seconds: int = Field(
        default=60,
        ge=1,
        description="Maximum processor time of the process of a file in seconds; a file that needs more is refused.",
    )
    file_minutes: float = Field(
        default=60, gt=0, description="Minutes for which a translated file is stored for its client."
    )
    max_alternatives: int = Field(
        default=4, ge=0, description="Maximum number of alternatives to a translation; more get 422."
    )
    max_beam_size: int = Field(
        default=8,
        ge=1,
        description="Maximum beam size; a larger one gets 422, and the models' own are bounded by it.",
    )
    header_seconds: float = Field(
        default=10,
        gt=0,
        description="Seconds within which a client must send the headers of a request; a slower one gets 408.",
    )
    body_seconds: float = Field(
        default=30,
        gt=0,
        description="Seconds within which a client must send the body of a request; a slower one gets 408.",
    )
    max_header_bytes: int = Field(
        default=16 << 10,
        ge=1024,
        description="Maximum size of the request line and headers in bytes; larger ones get 431.",
    )
    max_connections: int = Field(
        default=512, ge=1, description="Maximum number of open connections; one more gets 503 and is closed."
    )
    max_connections_per_address: int = Field(
        default=256,
        ge=1,
        description="Maximum number of open connections of an address (an IPv6 client's /64); one more gets 429 and is "
        "closed.",
    )
    max_held_bytes: int = Field(
        default_factory=lambda: eighth(memory_limits()),
        ge=1 << 20,
        description="Maximum bytes of the bodies of all requests that are not answered yet; an address may hold half. "
        "A body beyond that gets 503. The default is 64 MiB, or an eighth of the container's memory.",
    )
    write_seconds: float = Field(
        default=30,
        gt=0,
        description="Seconds within which a client must read what waits for it, or 64 KiB of it; a slower one is cut "
        "off.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Comma-separated addresses or networks of proxies, such as 10.0.0.0/8: X-Forwarded-For is taken "
        "from them only, and they may open any number of connections.",
    )
    drain_seconds: float = Field(
        default=5,
        ge=0,
        description="Seconds to keep serving after SIGTERM while /health/ready returns 503, so that load balancers "
        "stop routing here.",
    )
    log_json: bool = Field(default=False, description="Write each log line as a JSON object instead of plain text.")
    shutdown_seconds: int = Field(
        default=30, ge=1, description="Seconds that requests in flight have to finish after the drain."
    )
    admin_token: SecretStr | None = Field(
        default=None,
        description="Bearer token of /admin, at least 16 characters. Unset or empty turns /admin off (404).",
    )

    api_keys: bool = Field(
        default=False,
        description="Require an API key for every translation; `sub3 keys add NAME` creates one.",
    )
    keys_file: Path = Field(
        default=Path("keys.sqlite3"),
        description="SQLite file of the API keys, unless SUB3_REDIS_URL is set; created when it is first needed.",
    )
    glossaries_file: Path = Field(
        default=Path("glossaries.sqlite3"),
        description="SQLite file of the stored glossaries, unless SUB3_REDIS_URL is set; created when it is first "
        "needed.",
    )
    max_glossaries: int = Field(
        default=100,
        ge=0,
        description="Maximum number of stored glossaries of an API key (of the server, without keys); more get 422.",
    )
    max_glossary_bytes: int = Field(
        default_factory=lambda: room_for_glossaries(memory_limits()),
        ge=1,
        description="Maximum bytes of all stored glossaries of an API key (of the server, without keys), in UTF-8, "
        "where an entry counts at least 32; more get 422. As many are held ready in memory, where they take up to 14 "
        "times as much. The default is 10 MiB, or a 128th of the container's memory.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis that replicas share, redis://HOST: it stores API keys, glossaries and the desired state of "
        "the models. REDIS_URL is an alias.",
        validation_alias=AliasChoices("SUB3_REDIS_URL", "REDIS_URL"),
    )
    redis_password_file: Path | None = Field(
        default=None, description="File with the password of SUB3_REDIS_URL, such as a Docker secret."
    )

    admin_token_file: Path | None = Field(
        default=None, description="File with the token of SUB3_ADMIN_TOKEN, such as a Docker secret."
    )
    admin_tokens: SecretStr | None = Field(
        default=None,
        description="More tokens of /admin, as name:token,name:token; the history of swaps shows the names. The name "
        "of SUB3_ADMIN_TOKEN is admin.",
    )
    admin_tokens_file: Path | None = Field(
        default=None, description="File with tokens as in SUB3_ADMIN_TOKENS, separated by commas or line ends."
    )
    swap_wait_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="Maximum seconds that requests wait for a swap with the policy resource, and that such a swap "
        "waits for requests in flight; then 503 with Retry-After.",
    )
    memory_limit_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Maximum resident bytes of the process after a swap; a swap that needs more gets 507. The memory "
        "limit of the container applies as well.",
    )
    state_file: Path | None = Field(
        default=Path("desired.json"),
        description="File that stores the swaps of administrators over a restart; it overrides SUB3_CONFIGURATION. "
        "Empty stores nothing. Redis is used instead if SUB3_REDIS_URL is set.",
    )

    @property
    def served_names(self) -> list[str]:
        """The names in served_models."""
        return _split(self.served_models)

    @property
    def loaded_names(self) -> list[str]:
        """The names in loaded_configurations."""
        return _split(self.loaded_configurations)

    @property
    def trusted_networks(self) -> list[Network]:
        """The networks in trusted_proxies."""
        return self._trusted_networks

    @property
    def redis_password(self) -> str | None:
        """The content of redis_password_file; None leaves the password in the address."""
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
    def _parse_networks(self) -> "Settings":
        names = [name.strip() for name in self.trusted_proxies.split(",") if name.strip()]
        try:
            self._trusted_networks = [ipaddress.ip_network(name) for name in names]
        except ValueError as error:
            raise ValueError(f"SUB3_TRUSTED_PROXIES: {error}.") from None
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
            return None  # Compose files pass an unset variable on as an empty one
        if len(token.get_secret_value()) < ADMIN_TOKEN_CHARACTERS:
            raise ValueError(f"SUB3_ADMIN_TOKEN needs at least {ADMIN_TOKEN_CHARACTERS} characters; it was refused.")
        return token


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read: {error}.") from None


def describe() -> str:
    """List the settings for --help: variable, option, default and description, a paragraph each."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
        shown = "unset" if default is None else "empty" if default == "" else default
        option = f", --{name.replace('_', '-')}" if name in options() else ""
        lines.append(f"  SUB3_{name.upper()} (default {shown}){option}")
        lines += textwrap.wrap(
            field.description or "", 100, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
        )
    return "\n".join(lines)


def options() -> list[str]:
    """List the settings that `sub3 serve` takes as options: all but secrets, which other users would see in `ps`."""
    return [name for name, field in Settings.model_fields.items() if "SecretStr" not in str(field.annotation)]


def problems(error: ValidationError) -> str:
    """Say what is wrong with settings, a line each."""
    return "\n".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
