"""The devices: what ClickHouse knows of them, kept in memory, and how they stand now."""

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from sensor_gateway import cursors
from sensor_gateway.fleet import Facts, Filters, Fleet, Positions
from sensor_gateway.snapshot import Snapshot, Taken
from sensor_gateway.standings import Roll, Standing, Standings, Status
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.events import rfc3339_ms

_COLUMNS: Final = "device_id, toString(device_type) AS device_type, toString(region) AS region"
_LOAD: Final = f"""
SELECT {_COLUMNS}, latitude, longitude FROM devices FINAL ORDER BY device_id
SETTINGS output_format_arrow_string_as_string = 1
FORMAT ArrowStream
"""  # noqa: S608  (built from constants)
_ONE: Final = f"""
SELECT {_COLUMNS}, latitude, longitude FROM devices FINAL WHERE device_id = {{device:String}}
"""  # noqa: S608  (built from constants; values are bound)


@dataclass(frozen=True, slots=True)
class Device:
    """One device; `last_seen` is its newest reading's own time, null when that is not known.

    `status` is what its latest reading says, or silent when it has none that is young enough.
    """

    device_id: str
    device_type: str
    region: str | None
    latitude: float | None
    longitude: float | None
    last_seen: datetime | None
    status: Status


@dataclass(frozen=True, slots=True)
class Found:
    """Some of the devices.

    Attributes:
        items: of the page.
        total: devices that fit the filters.
        next: cursor of the next page, None after the last one.
        age_seconds: of the list in memory.
        source: which stores answered.
    """

    items: list[dict[str, object]]
    total: int
    next: str | None
    age_seconds: int
    source: str


class Devices:
    """The fleet: in pages, in part, and one by one.

    Args:
        database: of the devices.
        standings: of how they stand.
        every: seconds after which the list in memory is loaded anew by the next who asks.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        database: Database,
        standings: Standings,
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._database = database
        self._standings = standings
        self.fleet = Snapshot(self._load, every=every, clock=clock)
        self.roll = Snapshot(self._load_roll, every=every, clock=clock)

    async def stop(self) -> None:
        """Ends what loads in the background."""
        await self.roll.stop()
        await self.fleet.stop()

    async def page(self, filters: Filters, size: int, *, number: int, cursor: str | None) -> Found:
        """Returns a page of the devices that fit, ordered by id.

        With a filter for the status all of the answer is from one look at the whole fleet;
        else the devices of the page are looked at now.

        Args:
            filters: which devices.
            size: devices on a page.
            number: of the page, from 1; without a meaning when there is a cursor.
            cursor: of another page's `next`.

        Raises:
            CursorError: when the cursor is none of a list with these filters.
            DatabaseAwayError: when ClickHouse is away and the list was never loaded.
        """
        behind = None if cursor is None else cursors.decode(cursor, filters.key())
        fleet, positions, roll, age, stale = await self._select(filters)
        start = (
            (number - 1) * size
            if behind is None
            else int(positions.searchsorted(fleet.after(behind)))
        )
        chosen = positions[start : start + size].tolist()
        if roll is None:
            standings, by_redis = await self._standings.of([fleet.ids[at] for at in chosen])
        else:
            standings, by_redis = [roll.standing(at) for at in chosen], roll.by_redis
        more = start + size < len(positions)
        return Found(
            items=[_item(fleet.facts(at), how) for at, how in zip(chosen, standings, strict=True)],
            total=len(positions),
            next=cursors.encode(fleet.ids[chosen[-1]], filters.key()) if more and chosen else None,
            age_seconds=age,
            source=_source(stale=stale, by_redis=by_redis),
        )

    async def one(self, device_id: str) -> tuple[dict[str, object], str] | None:
        """Returns a device and which stores answered; None when there is no such device.

        Raises:
            DatabaseAwayError: when ClickHouse is away and the device is not in memory.
        """
        taken = await self.fleet.get()
        at = taken.value.find(device_id)
        if at is not None:
            facts = taken.value.facts(at)
        else:  # it may have come since the list was loaded
            rows = await self._database.rows(_ONE, device=device_id)
            if not rows:
                return None
            id_, type_, region, latitude, longitude = rows[0]
            facts = Facts(id_, type_, region or None, latitude, longitude)
        [standing], by_redis = await self._standings.of([device_id])
        return _item(facts, standing), _source(stale=taken.stale, by_redis=by_redis)

    async def knows(self, device_id: str) -> bool:
        """Tells whether there is such a device.

        Raises:
            DatabaseAwayError: when ClickHouse is away and the device is not in memory.
        """
        if (await self.fleet.get()).value.find(device_id) is not None:
            return True
        return bool(await self._database.rows(_ONE, device=device_id))

    async def ids(
        self, filters: Filters, size: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        """Returns the ids of a page of the devices that fit, and the cursor of the next one.

        Raises:
            CursorError, DatabaseAwayError: as `page`.
        """
        behind = None if cursor is None else cursors.decode(cursor, filters.key())
        fleet, positions, _, _, _ = await self._select(filters)
        start = 0 if behind is None else int(positions.searchsorted(fleet.after(behind)))
        chosen = [fleet.ids[at] for at in positions[start : start + size].tolist()]
        more = chosen and start + size < len(positions)
        return chosen, cursors.encode(chosen[-1], filters.key()) if more else None

    async def _select(self, filters: Filters) -> tuple[Fleet, Positions, Roll | None, int, bool]:
        if not filters.statuses:
            taken = await self.fleet.get()
            found = taken.value.select(filters)
            return taken.value, found, None, taken.age_seconds, taken.stale
        rolled = await self.roll.get()
        listed, roll = rolled.value
        found = listed.value.select(filters)
        found = found[roll.among(filters.statuses)[found]]
        # The list had an age already when the roll was called over it.
        age = listed.age_seconds + rolled.age_seconds
        return listed.value, found, roll, age, listed.stale or rolled.stale

    async def _load(self) -> Fleet:
        stream = await self._database.text(_LOAD)
        # A large fleet takes tens of milliseconds, for which others need not wait.
        return await asyncio.to_thread(_fleet, stream)

    async def _load_roll(self) -> tuple[Taken[Fleet], Roll]:
        listed = await self.fleet.get()
        return listed, await self._standings.roll(listed.value)


def _fleet(stream: bytes) -> Fleet:
    with pa.ipc.open_stream(io.BytesIO(stream)) as reader:
        return Fleet(reader.read_all())


def _item(facts: Facts, standing: Standing) -> dict[str, object]:
    """A `Device` as its answer holds it."""
    return {
        "device_id": facts.device_id,
        "device_type": facts.device_type,
        "region": facts.region,
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "last_seen": None if standing.seen_ms is None else rfc3339_ms(standing.seen_ms),
        "status": standing.status,
    }


def _source(*, stale: bool, by_redis: bool) -> str:
    facts = "stale" if stale else "clickhouse"
    return f"{facts}, redis" if by_redis else facts
