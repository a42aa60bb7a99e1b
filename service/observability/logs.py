"""Log records to stderr, one line each, plain or JSON."""

import logging
import time

import orjson

from service.observability.request_context import current


def configure(*, as_json: bool) -> None:
    """Set the format of all loggers of the process, the HTTP server's included."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(levelname)s:     %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, the request's id, the message or the record's `fields`, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
        }
        if request_id := current().id:
            line["request_id"] = request_id
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()
