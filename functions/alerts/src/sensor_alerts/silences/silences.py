"""The silences as a replica knows them: read on a clock, and changed at once by what it is told."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import ValidationError

from sensor_alerts.domain.silence import Silence
from sensor_alerts.places import Place
from sensor_alerts.silences.store import SilenceStore
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.alert_changes import AlertSnapshot
from sensor_shared.contracts.events import new_id
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry.logs import logger

MAX_SILENCES: Final = 10_000
"""That are not over yet."""


class SilenceError(ValueError):
    """A silence cannot be made or changed like this; the text says what is wrong."""


class SilenceOverError(Exception):
    """A silence that is over cannot be changed."""


class UnknownSilenceError(LookupError):
    """There is no silence of that id."""


class Silences:
    """Makes, changes and ends silences, and knows which ones hold.

    What another replica was told holds here after `refresh` seconds at most. While ClickHouse is
    away the last ones read go on to hold, each until its end.

    Args:
        store: the table.
        refresh: seconds between two readings.
        now: the time, UTC.
    """

    def __init__(
        self,
        store: SilenceStore,
        refresh: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._store = store
        self._refresh = refresh
        self._now = now
        self._known: dict[str, Silence] | None = None
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="silences")

    def start(self) -> None:
        """Begins to read on the clock; must be called in a running event loop."""
        self._task = asyncio.create_task(self._run(), name="silences")

    async def stop(self) -> None:
        """Ends."""
        if self._task is not None:
            await end([self._task])

    @property
    def known(self) -> list[Silence]:
        """Those that are not over, as they were read last."""
        return list((self._known or {}).values())

    async def over(self, alert: AlertSnapshot, now: datetime) -> Silence | None:
        """Returns a silence that holds over an alert, None when there is none.

        Raises:
            DatabaseAwayError: when they have never been read yet.
        """
        if self._known is None:
            await self.read()
        return next((one for one in self.known if one.silences(alert, now)), None)

    async def read(self) -> None:
        """Reads them anew.

        Raises:
            DatabaseAwayError: when ClickHouse cannot answer now.
        """
        async with self._reading:
            found = await self._store.not_over(self._now(), MAX_SILENCES)
            self._known = {silence.silence_id: silence for silence in found}

    async def create(self, fields: dict[str, Any]) -> Silence:
        """Makes a silence.

        Args:
            fields: scope, starts_at (without it: now), ends_at, recurrence, author and reason.

        Raises:
            SilenceError: when it cannot be like this.
            DatabaseAwayError: when ClickHouse cannot take it now.
        """
        now = self._now()
        if self._known is not None and len(self._known) >= MAX_SILENCES:
            raise SilenceError(f"there are {MAX_SILENCES} silences; end some first")
        given = {"starts_at": now} | {name: one for name, one in fields.items() if one is not None}
        silence = _checked(given | {"silence_id": new_id(), "created_at": now, "updated_at": now})
        if silence.ends_at <= now:
            raise SilenceError("ends_at: is over already")
        return await self._keep(silence)

    async def change(self, silence_id: str, fields: dict[str, Any]) -> Silence:
        """Changes some fields of a silence; of two changes at once the later one holds.

        Raises:
            UnknownSilenceError, SilenceOverError, SilenceError, DatabaseAwayError: as they say.
        """
        before = await self.get(silence_id)
        if before.ends_at <= self._now():
            raise SilenceOverError("the silence is over; make a new one")
        given = {name: one for name, one in fields.items() if one is not None}
        return await self._keep(self._next(before, given))

    async def end(self, silence_id: str, author: str) -> Silence:
        """Ends a silence now; one that is over stays as it is.

        Raises:
            UnknownSilenceError, DatabaseAwayError: as they say.
        """
        before = await self.get(silence_id)
        now = self._now()
        if before.ends_at <= now:
            return before
        return await self._keep(self._next(before, {"ends_at": now, "ended_by": author}))

    async def get(self, silence_id: str) -> Silence:
        """Returns the silence of an id, also one that is over.

        Raises:
            UnknownSilenceError, DatabaseAwayError: as they say.
        """
        found = await self._store.get(silence_id)
        if found is None:
            raise UnknownSilenceError(f"there is no silence {silence_id!r}")
        return found

    async def page(self, *, ended: bool, after: Place | None, limit: int) -> list[Silence]:
        """Returns silences, the last to end first: see `SilenceStore.page`."""
        return await self._store.page(ended=ended, now=self._now(), after=after, limit=limit)

    def _next(self, before: Silence, fields: dict[str, Any]) -> Silence:
        now = self._now()
        version = max(before.version + 1, int(now.timestamp() * 1_000_000))
        return _checked(before.model_dump() | fields | {"updated_at": now, "version": version})

    async def _keep(self, silence: Silence) -> Silence:
        # A reading under way would bring back what was there before.
        async with self._reading:
            await self._store.write(silence)
            if self._known is not None:
                self._known[silence.silence_id] = silence
        return silence

    async def _run(self) -> None:
        while True:
            try:
                await self.read()
            except DatabaseAwayError as error:
                self._log.warning("silences not read", error=str(error))
            except ClickHouseError:
                self._log.exception("silences refused")
            await asyncio.sleep(self._refresh)


def _checked(fields: dict[str, Any]) -> Silence:
    try:
        return Silence.model_validate(fields)
    except ValidationError as error:
        raise SilenceError(
            "; ".join(
                f"{'.'.join(str(part) for part in mistake['loc']) or 'silence'}: "
                f"{mistake['msg'].removeprefix('Value error, ')}"
                for mistake in error.errors(include_url=False, include_input=False)
            )
        ) from error
