"""structlog: JSON lines in production, readable lines on a terminal, always on stderr and redacted."""

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = re.compile(r"authorization|cookie|password|secret|token|credential|(^|_)key$", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/\s]+(?=@)")
REDACTED = "***"


FORMAT = "IDEMPOTENCY_LOG_FORMAT"
"""The environment variable that overrides how lines look: `json` or `readable`."""


def configure(
    stream: TextIO = sys.stderr, *, level: int = logging.INFO, environ: Mapping[str, str] = os.environ
) -> None:
    """Set up logging for this process; below `level` a call costs almost nothing.

    Lines are readable on a terminal and JSON elsewhere, unless the variable `FORMAT` says otherwise.
    """
    chosen = environ.get(FORMAT)
    readable = stream.isatty() if chosen not in ("json", "readable") else chosen == "readable"
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
    ]
    # Tracebacks without local variables: those hold keys, credentials and payloads.
    if readable:
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        processors += [structlog.processors.format_exc_info, redact, renderer]
    else:
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        tracebacks = structlog.processors.ExceptionRenderer(transformer)
        processors += [tracebacks, redact, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Each line with its end in one write: several workers share a stream.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank what must never be logged: fields with a secret's name, and user info in any URL."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _redacted(name: str, value: object) -> object:
    if _SECRET.search(name):
        return REDACTED
    if isinstance(value, str):
        return _USERINFO.sub(REDACTED, value)
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), content) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", item) for item in value]
    return value
