"""One question for all who want to know the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Joins those who ask while the same is being asked; nothing is kept after the answer."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Task[T]] = {}

    async def ask(self, what: str, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Returns the answer, or raises what the question raised.

        Args:
            what: names the question.
            question: is asked when nobody asks it just now.
        """
        # One of the waiters may leave; the others still want the answer.
        return await asyncio.shield(self.flight(what, question))

    def flight(
        self, what: str, question: Callable[[], Coroutine[Any, Any, T]]
    ) -> "asyncio.Task[T]":
        """Returns the asking itself, as of `ask`: to be waited for, not to be cancelled."""
        flight = self._flights.get(what)
        if flight is None:
            flight = self._flights[what] = asyncio.create_task(question(), name="single flight")
            flight.add_done_callback(partial(self._landed, what))
        return flight

    def _landed(self, what: str, flight: asyncio.Task[T]) -> None:
        del self._flights[what]
        if not flight.cancelled():
            flight.exception()  # nobody may be left to take it
