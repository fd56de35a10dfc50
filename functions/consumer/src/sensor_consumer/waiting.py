"""Deliveries that wait to be stored, and those who wait for them."""

import asyncio

from sensor_consumer.delivery import Delivery
from sensor_shared.contracts.errors import Retry


class Waiting:
    """A queue, bounded by rows, that remembers whom to answer until each delivery is settled.

    Args:
        most_rows: that may wait; one delivery alone may be larger.
    """

    def __init__(self, most_rows: int):
        self._most_rows = most_rows
        self._futures: dict[str, asyncio.Future[None]] = {}
        self._deliveries: list[Delivery] = []
        self._rows = 0
        self._arrived = asyncio.Event()

    def __contains__(self, delivery: Delivery) -> bool:
        """Whether somebody waits for the delivery's answer."""
        return delivery.key in self._futures

    async def add(self, delivery: Delivery) -> None:
        """Returns when the delivery is settled, or another one with its key that waits already.

        Raises:
            Retry: when too much waits, or what `settle` was given.
        """
        future = self._futures.get(delivery.key)
        if future is None:
            future = self._put(delivery)
        # The others wait on, should the caller of one of them go away.
        await asyncio.shield(future)

    def _put(self, delivery: Delivery) -> "asyncio.Future[None]":
        if self._rows + delivery.rows > self._most_rows and self._deliveries:
            raise Retry("too many readings wait to be stored", after=1, overloaded=True)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_look_at)
        self._futures[delivery.key] = future
        self._deliveries.append(delivery)
        self._rows += delivery.rows
        self._arrived.set()
        return future

    async def arrival(self) -> None:
        """Returns when something waits."""
        await self._arrived.wait()

    def take(self, most_rows: int | None = None) -> list[Delivery]:
        """Takes out the next ones, all by default; they wait for their answer still.

        Args:
            most_rows: of them together; it may be more by the last one's.
        """
        rows = count = 0
        for delivery in self._deliveries:
            if count and most_rows is not None and rows >= most_rows:
                break
            rows += delivery.rows
            count += 1
        group, self._deliveries = self._deliveries[:count], self._deliveries[count:]
        self._rows -= rows
        if not self._deliveries:
            self._arrived.clear()
        return group

    def settle(self, delivery: Delivery, error: Exception | None = None) -> None:
        """Answers whoever waits for the delivery; nothing happens when it has been answered."""
        future = self._futures.pop(delivery.key, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _look_at(future: "asyncio.Future[None]") -> None:
    """Marks an error as seen: every caller may have gone away."""
    if not future.cancelled():
        future.exception()
