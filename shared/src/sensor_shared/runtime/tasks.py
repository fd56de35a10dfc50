"""Ending tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from sensor_shared.telemetry.logs import logger

_PATIENCE_SECONDS: Final = 1.0


async def end(tasks: Iterable["asyncio.Task[Any] | None"]) -> None:
    """Cancels tasks and returns when all of them have ended, whatever with; None is none.

    Again and again: a client that is cancelled while it opens or ends a query may take the
    cancellation for itself, and its caller goes on. What one had failed with is logged: it must
    not keep its owner from closing what is left.
    """
    given = [task for task in tasks if task is not None]
    pending = {task for task in given if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE_SECONDS)
    for task, outcome in zip(
        given, await asyncio.gather(*given, return_exceptions=True), strict=True
    ):
        if isinstance(outcome, Exception):
            logger().error("task had failed", task=task.get_name(), exc_info=outcome)
