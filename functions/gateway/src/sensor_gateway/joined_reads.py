"""What requests ask of Redis at the same time, joined into one round trip."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from redis.asyncio import Redis

from sensor_shared.adapters.latest import LatestReadings
from sensor_shared.adapters.sessions import session_key

_MOST: Final = 256
"""Devices of one round trip, so that it never keeps Redis from others for long."""
_PAUSE_SECONDS: Final = 1.0
"""After a failure nobody waits here for Redis' timeouts: the way without it is tried at once."""
_FLIGHTS: Final = 2
"""Round trips under way at once; what is asked meanwhile goes with the next."""


class Read(NamedTuple):
    """Whether a session stands, and a device's record (`latest_record`), None: none yet."""

    stands: bool
    record: bytes | None


class _Asked(NamedTuple):
    session: str
    device_id: str
    answer: asyncio.Future[Read]


class JoinedReads:
    """Asks for sessions and latest readings, each once however many requests want it.

    Args:
        redis: with the sessions of auth and the latest readings.
        latest: knows where they are.
        clock: seconds, for the pause after a failure.
    """

    def __init__(
        self,
        redis: Redis,
        latest: LatestReadings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._redis = redis
        self._latest = latest
        self._clock = clock
        self._failed_at = float("-inf")
        self._waiting: list[_Asked] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._due = False

    async def ask(self, session: str, device_id: str) -> Read:
        """Returns both answers, as they were when Redis was asked after this call.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        if self._clock() - self._failed_at < _PAUSE_SECONDS:
            raise ConnectionError("Redis did not answer just now")
        loop = asyncio.get_running_loop()
        asked = _Asked(session, device_id, loop.create_future())
        self._waiting.append(asked)
        if not self._due and len(self._flights) < _FLIGHTS:
            # At the end of this turn of the loop: until then others come.
            self._due = True
            loop.call_soon(self._start)
        return await asked.answer

    def _start(self) -> None:
        self._due = False
        asked, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if not asked:
            return
        flight = asyncio.create_task(self._fly(asked), name="joined reads")
        self._flights.add(flight)
        flight.add_done_callback(self._landed)
        if self._waiting and len(self._flights) < _FLIGHTS:
            self._start()

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if self._waiting and not self._due:
            self._start()

    async def _fly(self, asked: list[_Asked]) -> None:
        try:
            stands, records = await self._read(asked)
        except Exception as error:  # noqa: BLE001  (each of those who wait has to be told)
            self._failed_at = self._clock()
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        except asyncio.CancelledError:
            for one in asked:
                one.answer.cancel()
            raise
        for one in asked:
            if not one.answer.done():  # whoever asked may have left
                one.answer.set_result(Read(stands[one.session], records[one.device_id]))

    async def _read(self, asked: list[_Asked]) -> tuple[dict[str, bool], dict[str, bytes | None]]:
        sessions = list(dict.fromkeys(one.session for one in asked))
        devices = list(dict.fromkeys(one.device_id for one in asked))
        async with self._redis.pipeline(transaction=False) as pipe:
            for session in sessions:
                pipe.exists(session_key(session))
            self._latest.ask(pipe, devices)
            answers = await pipe.execute()
        count = len(sessions)
        stands = dict(zip(sessions, map(bool, answers[:count]), strict=True))
        return stands, dict(zip(devices, self._latest.newest(answers[count:]), strict=True))
