"""The log as JSON, one object per line, on standard error: that of requests, or all of it."""

import json
import logging
import time

# The attributes of every log record; all others were passed as `extra`.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC, RFC 3339), level, message, extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, which contains no newline."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {
            name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure() -> None:
    """Send the records of the logger `vitrine` and its children to standard error, as JSON."""
    logger = logging.getLogger("vitrine")
    logger.handlers = [_handler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def write_all_as_json() -> None:
    """Send all other records to standard error as JSON, too, in place of BentoML's handlers.

    The workers configure their logs again when they start, and find the same.
    """
    from bentoml._internal.log import (  # noqa: PLC0415 - needed by few
        SERVER_LOGGING_CONFIG,
        configure_server_logging,
    )

    SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
    SERVER_LOGGING_CONFIG["handlers"] = {"tracehandler": {"()": _handler}}
    for name in ("uvicorn.error", "circus"):  # they also pass their records on to the root
        SERVER_LOGGING_CONFIG["loggers"][name]["handlers"] = []
    configure_server_logging()  # type: ignore[no-untyped-call]


def _handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    return handler
