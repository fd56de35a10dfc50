"""Threads for what blocks, so that the event loop never does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

PATIENCE = 0.1
"""Seconds after which work is worth watching whether somebody still waits for it."""

T = TypeVar("T")


class Workers:
    """A bounded number of threads.

    Args:
        count: things that can be worked on at once; the others wait.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "query")
        # Ending work must not wait behind the work that is to be ended.
        self._interrupter = ThreadPoolExecutor(1, "interrupt")

    async def run(self, work: Callable[[], T]) -> T:
        """Runs the work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def run_watched(
        self,
        work: Callable[[], T],
        unwanted: Callable[[], Awaitable[None]],
        interrupt: Callable[[], None],
    ) -> T:
        """Runs the work in a thread, and interrupts it when nobody wants it any more.

        Args:
            work: fails by itself once it is interrupted.
            unwanted: returns when the work is not wanted any more; only asked if it takes long.
            interrupt: is called in a thread of its own.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, work)
        done, _ = await asyncio.wait((future,), timeout=PATIENCE)
        if not done:
            watch = asyncio.ensure_future(unwanted())
            await asyncio.wait((future, watch), return_when=asyncio.FIRST_COMPLETED)
            while not future.done():
                # Once more each time: it may have waited for a thread, or begun its next step.
                await loop.run_in_executor(self._interrupter, interrupt)
                await asyncio.wait((future,), timeout=PATIENCE)
            watch.cancel()
        return await future

    def stop(self, interrupt: Callable[[], None]) -> None:
        """Drops what has not begun, interrupts the rest and waits until it has ended."""
        closing = threading.Thread(
            target=lambda: self._pool.shutdown(wait=True, cancel_futures=True)
        )
        closing.start()
        while closing.is_alive():
            # Once more each time: work of several steps may just have begun its next one.
            interrupt()
            closing.join(PATIENCE)
        self._interrupter.shutdown(wait=True)
