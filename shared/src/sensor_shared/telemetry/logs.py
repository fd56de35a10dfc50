"""Structured logs: one line per thing that happened, key-values instead of sentences."""

import logging
import sys
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict

Logger = structlog.typing.FilteringBoundLogger


class LoggerSettings(BaseModel):
    """Section LOGGER."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


def configure(settings: LoggerSettings, **context: Any) -> None:
    """Sets up structlog and the standard library's logging for this process.

    Args:
        settings: level and format.
        context: key-values on every line, e.g. `service="consumer"`.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _name, event: {**context, **event},
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))


def logger(**context: Any) -> Logger:
    """Returns a logger that adds `context` to each of its lines."""
    log: Logger = structlog.get_logger(**context)
    return log
