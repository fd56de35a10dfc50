"""The alerts as they are now, in the table `alerts`: made from the changes, and easier to ask."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sensor_alerts import rows
from sensor_alerts.changes import Changes
from sensor_alerts.domain.alert import Record, epoch_ms
from sensor_alerts.leases import Subject
from sensor_alerts.listing import Filter, Order
from sensor_alerts.places import Place
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.alert_changes import AlertChange, AlertSnapshot
from sensor_shared.telemetry import metrics

_MAX_GROUP: Final = 500
_LIST_SECONDS: Final = 0.02
"""For its change nobody waits for the row of an alert: an insert takes what comes within it."""
_ASK_SECONDS: Final = 0.005
"""The breaches of an event come together, and one question is enough for all of them."""
_MAX_ALERTS: Final = 200
"""Of a device and rule, the newest ones, are looked at when a breach comes."""
_lines: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Page:
    """Alerts that match, how many match in all, and whether others come after these."""

    records: list[Record]
    total: int
    more: bool


class History:
    """Reads and writes the table `alerts`; concurrent calls share their queries.

    Whoever reads sees what was handed in here before, though its writer did not wait for it.

    All methods raise `DatabaseAwayError` when ClickHouse cannot answer now.

    Args:
        database: where the table is.
        changes: what the table is made from: read as well, where it must not be behind.
    """

    def __init__(self, database: Database, changes: Changes):
        self._database = database
        self._changes = changes
        self._write = GroupCommit(self._insert, max_items=_MAX_GROUP, linger=_LIST_SECONDS)
        self._find = GroupCommit(self._lookup, max_items=_MAX_GROUP, max_commits=2)
        self._known = GroupCommit(self._look_for, max_items=_MAX_GROUP, linger=_ASK_SECONDS)

    async def record(self, record: Record) -> None:
        """Writes an alert; returns when ClickHouse has acknowledged it."""
        await self._write(record)

    async def of_subject(self, subject: Subject) -> list[Record]:
        """Returns all alerts of a device and rule, the newest first, as the changes say."""
        if not await self._known(subject.device_id):
            return []
        stored, changes = await asyncio.gather(
            self._find(subject.device_id), self._changes.of_device(subject.device_id)
        )
        newest = {record.alert.alert_id: record for record in stored}
        for change in changes:
            known = newest.get(change.alert.alert_id)
            newest[change.alert.alert_id] = of_change(change, known)
        of_it = [one for one in newest.values() if one.alert.episode == subject.episode]
        return sorted(of_it, key=lambda one: (one.alert.first_at, one.alert.alert_id), reverse=True)

    async def around(self, breach: AlertSnapshot, window_ms: int) -> Record | None:
        """Returns the recorded alert that a late breach belongs to: itself, or one around it."""
        measured = epoch_ms(breach.first_at)
        recorded = await self.of_subject(Subject(breach.device_id, breach.episode))
        for one in recorded:
            if one.alert.alert_id == breach.alert_id:
                return one
        for one in recorded:
            if one.first_ms - window_ms <= measured <= one.settled_ms + window_ms:
                return one
        return None

    async def live(self) -> list[Record]:
        """Returns the alerts that are open or pending, as alerts and the newest changes say."""
        # In this order: what is listed between the two questions is in both answers, not in none.
        unlisted = await self._changes.unlisted()
        found = await self._database.rows(
            f"SELECT {rows.COLUMNS} FROM alerts FINAL WHERE state IN ('open', 'pending')"  # noqa: S608
        )
        newest = {one.alert.alert_id: one for one in map(rows.record, found)}
        for change in unlisted:
            known = newest.get(change.alert.alert_id)
            newest[change.alert.alert_id] = of_change(change, known)
        return [record for record in newest.values() if record.live]

    async def one(self, alert_id: str) -> Record | None:
        """Returns an alert by its id, whichever replica has just stored it."""
        await self._write.settled()
        found = await self._database.rows(
            f"SELECT {rows.COLUMNS} FROM alerts WHERE alert_id = {{alert:String}} "  # noqa: S608
            "AND state IN ('open', 'cleared') ORDER BY version DESC LIMIT 1",
            alert=alert_id,
        )
        if found:
            return rows.record(found[0])
        change = await self._changes.recent(alert_id)
        return None if change is None else of_change(change)

    async def page(
        self,
        chosen: Filter,
        *,
        limit: int,
        order: Order = Order.NEWEST,
        after: Place | None = None,
    ) -> Page:
        """Returns a page of a list.

        Args:
            chosen: which alerts.
            limit: how many alerts at most; `total` counts all that match, on every page.
            order: which come first.
            after: the last alert of the page before.
        """
        await self._write.settled()
        conditions, parameters = chosen.sql()
        behind, place = order.behind(after)
        matching = f"FROM alerts FINAL WHERE {conditions}"
        found = await self._database.rows(
            f"SELECT {rows.COLUMNS} {matching} AND {behind} "
            f"ORDER BY {order.sql()} LIMIT {{limit:UInt32}}",
            **parameters,
            **place,
            limit=limit + 1,
        )
        more, total = len(found) > limit, len(found)
        if more or after is not None:
            count = await self._database.rows(f"SELECT count() {matching}", **parameters)
            total = int(count[0][0])
        return Page([rows.record(columns) for columns in found[:limit]], total, more)

    async def answers(self) -> None:
        """Returns when ClickHouse has shown that the table can be read."""
        await self._database.rows("SELECT 1 FROM alerts LIMIT 1")

    async def close(self) -> None:
        """Waits for the writes under way."""
        await self._write.drain()

    async def _insert(self, records: Sequence[Record]) -> list[None]:
        started = time.perf_counter()
        written = [rows.row(record) for record in records]
        block = _lines.encode_lines(written)
        # The same versions of the same alerts are the same block: written again, it is ignored.
        token = hashlib.blake2b(block, digest_size=16).hexdigest()
        await self._database.insert_block(
            "alerts", list(written[0]), block, fmt="JSONEachRow", token=token
        )
        metrics.INSERT_LATENCY.labels("alerts").observe((time.perf_counter() - started) * 1000)
        return [None] * len(records)

    async def _look_for(self, device_ids: Sequence[str]) -> list[bool]:
        """Tells which devices have any alert: most have none, and this is a short question."""
        found = await self._database.rows(
            "SELECT device_id FROM alerts WHERE device_id IN {devices:Array(String)} "
            "LIMIT 1 BY device_id UNION ALL "
            "SELECT device_id FROM alert_changes WHERE device_id IN {devices:Array(String)} "
            "LIMIT 1 BY device_id",
            devices=sorted(set(device_ids)),
        )
        known = {device_id for (device_id,) in found}
        return [device_id in known for device_id in device_ids]

    async def _lookup(self, device_ids: Sequence[str]) -> list[list[Record]]:
        found = await self._database.rows(
            f"SELECT {rows.COLUMNS} FROM alerts FINAL "  # noqa: S608
            "WHERE device_id IN {devices:Array(String)} "
            f"ORDER BY timestamp DESC LIMIT {_MAX_ALERTS} BY device_id, rule_id",
            devices=sorted(set(device_ids)),
        )
        by_device: dict[str, list[Record]] = {}
        for columns in found:
            record = rows.record(columns)
            by_device.setdefault(record.alert.device_id, []).append(record)
        return [by_device.get(device_id, []) for device_id in device_ids]


def of_change(change: AlertChange, known: Record | None = None) -> Record:
    """Returns an alert as a change of it says, unless what is known of it is as new or newer."""
    if known is None:
        return Record(alert=change.alert, processed_at=change.at, updated_at=change.at)
    if known.alert.version >= change.alert.version:
        return known
    return msgspec.structs.replace(known, alert=change.alert, pending=False, updated_at=change.at)
