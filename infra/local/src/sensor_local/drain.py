"""Waiting until everything that was produced has been delivered."""

import asyncio
import json
import time
from collections.abc import Callable

from sensor_local import web

_POLL_SECONDS = 0.25
_TELL_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0
_SILENCE_SECONDS = 15.0


async def drained(dispatcher_port: int, tell: Callable[[str], None]) -> bool:
    """Waits until the dispatcher has nothing left to deliver; false when that does not come.

    It must say so twice: what is delivered may make new events on other topics.
    """
    now = began = heard = told = time.monotonic()
    quiet = 0
    while now - began < _PATIENCE_SECONDS and now - heard < _SILENCE_SECONDS:
        left = await _left(dispatcher_port)
        now = time.monotonic()
        if left is not None:
            heard = now
            quiet = quiet + 1 if left == 0 else 0
            if quiet == 2:
                return True
            if now - told > _TELL_SECONDS:
                told = now
                tell(f"{left} events are still to be delivered")
        await asyncio.sleep(_POLL_SECONDS)
    tell("the dispatcher did not deliver everything; what is left in Kafka stays there")
    return False


async def _left(port: int) -> int | None:
    """Events that are not finished; None when the dispatcher cannot say."""
    try:
        status, body = await web.get(port, "/status", timeout=10.0)
    except OSError:
        return None
    if status != 200:
        return None
    sources = json.loads(body)["sources"].values()
    if any(source["lag"] is None for source in sources):
        return None
    return sum(int(source["lag"]) + int(source["in_flight"]) for source in sources)
