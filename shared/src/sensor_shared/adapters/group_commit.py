"""Group commit: what comes in while a write is under way goes out together in the next one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Joins concurrent calls into few: one item alone goes at once, a crowd goes together.

    Args:
        commit: does the work for many items and returns one result for each, in their order.
            What it raises is raised to each of the callers.
        max_items: of one commit.
        max_commits: under way at the same time.
        linger: seconds that a commit waits for those that come at about the same time.
        enough: items with which it waits no longer.
        quiet: seconds without a new item after which it waits no longer: who has sent all that he
            may until he is answered sends nothing more.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_items: int = 1_000,
        max_commits: int = 1,
        linger: float = 0.0,
        enough: int | None = None,
        quiet: float | None = None,
    ):
        self._commit = commit
        self._max_items = max_items
        self._max_commits = max_commits
        self._linger = linger
        self._enough = min(enough or max_items, max_items)
        self._quiet = linger if quiet is None else quiet
        self._arrived = asyncio.Event()
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._open: set[asyncio.Future[Result]] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Result:
        """Returns the item's result; a caller that is cancelled does not stop the others' work."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._enough:
            self._arrived.set()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if len(self._running) < self._max_commits:
            task = asyncio.create_task(self._run())
            self._running.add(task)
            # The task takes itself out before its callers go on: one that calls again at once
            # must not count on a task that has found nothing to do and is about to end.
            task.add_done_callback(self._running.discard)
        return await future

    async def settled(self) -> None:
        """Waits until what was handed in before is done, or has failed; later items may wait."""
        if self._open:
            await asyncio.wait(set(self._open))

    async def drain(self) -> None:
        """Waits until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._linger
        self._arrived.clear()
        before = 0
        while before < len(self._waiting) < self._enough and (left := end - loop.time()) > 0:
            before = len(self._waiting)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._quiet)):
                    await self._arrived.wait()

    async def _run(self) -> None:
        while self._waiting:
            if self._linger:
                await self._wait()
            await self._next()
        task = asyncio.current_task()
        if task is not None:
            self._running.discard(task)

    async def _next(self) -> None:
        group, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
        if not group:  # another commit has taken them meanwhile
            return
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as error:  # noqa: BLE001  (it is the callers' to handle)
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
