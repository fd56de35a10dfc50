"""Ending tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_PATIENCE_SECONDS: Final = 1.0


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels tasks and returns when all of them have ended, whatever with.

    Again and again: a client that is cancelled while it opens or ends a query may take the
    cancellation for itself, and its caller goes on.
    """
    given = list(tasks)
    pending = {task for task in given if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PATIENCE_SECONDS)
    await asyncio.gather(*given, return_exceptions=True)
