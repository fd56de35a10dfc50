"""The record of notifications in ClickHouse: what is queued there is sent, sooner or later."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sensor_alerts.domain.notification import ChannelName, News, Notification, State, rank
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.alert_changes import AlertChange

NOT_WANTED: Final = "not_wanted"
"""Held back because the routes to this target leave such news out; that stays so."""

_COLUMNS: Final = (
    "notification_id, news, channel, target, toString(state), reason, tries, "
    "toUnixTimestamp64Milli(due_at), toUnixTimestamp64Milli(updated_at), change, version"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT: Final = timedelta(days=90)
_MAX_GROUP: Final = 500
_LINGER_SECONDS: Final = 0.05
"""An insert costs the same for one notification as for many, and people do not feel so little."""
_OPENING: Final = [news.value for news in News if news.opens]
_changes: Final = msgspec.json.Decoder(AlertChange)
_lines: Final = msgspec.json.Encoder()


class Ledger:
    """Reads and writes the table `notifications`; concurrent calls share their queries.

    All methods raise `DatabaseAwayError` when ClickHouse cannot answer now.
    """

    def __init__(self, database: Database):
        self._database = database
        self._write = GroupCommit(self._insert, max_items=_MAX_GROUP, linger=_LINGER_SECONDS)
        self._told = GroupCommit(self._were_told, max_items=_MAX_GROUP, max_commits=2)

    async def record(self, rows: Sequence[Notification]) -> None:
        """Writes notifications; returns when ClickHouse has acknowledged them together."""
        if rows:
            await self._write(tuple(rows))

    async def told(self, alert_id: str) -> frozenset[tuple[ChannelName, str]]:
        """Returns the channels and targets that were told, or are about to be, of an alert."""
        return await self._told(alert_id)

    async def due(self, channel: ChannelName, before: datetime, limit: int) -> list[Notification]:
        """Returns what is queued and was due before a moment, the longest first."""
        return await self._read(
            "state = 'queued' AND channel = {channel:String} "
            "AND due_at < fromUnixTimestamp64Milli({before:Int64}, 'UTC') "
            "ORDER BY due_at LIMIT {limit:UInt32}",
            channel=channel.value,
            before=_ms(before),
            limit=limit,
            since=_ms(before - _KEPT),
        )

    async def held_back(
        self, since: datetime, without: Sequence[str], limit: int
    ) -> list[Notification]:
        """Returns what was held back and nothing has followed on, the worst first.

        Of a device and subject each target's newest row says how things stand: when it asks for
        somebody, the alert is open still, and nobody has taken it on.

        Args:
            since: of changes from then on.
            without: reasons that are known to hold still.
            limit: how many at most.
        """
        # The changes themselves are read at last, of those few that are wanted.
        recent = "changed_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')"
        newest = (
            "SELECT changed_at, notification_id, state, news, reason, severity "  # noqa: S608
            f"FROM notifications FINAL WHERE {recent} AND reason != {{not_wanted:String}} "
            "ORDER BY changed_at DESC, alert_version DESC "
            "LIMIT 1 BY device_id, subject, channel, target"
        )
        wanted = (
            f"SELECT changed_at, notification_id FROM ({newest}) WHERE state = 'suppressed' "  # noqa: S608
            "AND news IN {opening:Array(String)} AND reason NOT IN {without:Array(String)} "
            "ORDER BY severity DESC, changed_at LIMIT {limit:UInt32}"
        )
        rows = await self._database.rows(
            f"SELECT {_COLUMNS} FROM notifications FINAL "  # noqa: S608
            f"WHERE {recent} AND (changed_at, notification_id) IN ({wanted}) "
            "ORDER BY severity DESC, changed_at",
            since=_ms(since),
            not_wanted=NOT_WANTED,
            opening=_OPENING,
            without=list(without),
            limit=limit,
        )
        return [_notification(row) for row in rows]

    async def failed(self, now: datetime, ids: Sequence[str] = ()) -> list[Notification]:
        """Returns the dead letters, or those of them that are named."""
        named = " AND notification_id IN {ids:Array(String)}" if ids else ""
        return await self._read(
            f"state = 'failed'{named} ORDER BY changed_at",
            since=_ms(now - _KEPT),
            **({"ids": list(ids)} if ids else {}),
        )

    async def waiting(self, now: datetime) -> dict[ChannelName, int]:
        """Returns how many are queued, by channel."""
        rows = await self._database.rows(
            "SELECT channel, count() FROM notifications FINAL WHERE state = 'queued' AND "
            "changed_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') GROUP BY channel",
            since=_ms(now - _KEPT),
        )
        return {ChannelName(channel): int(count) for channel, count in rows}

    async def close(self) -> None:
        """Waits for the writes under way."""
        await self._write.drain()

    async def _read(self, condition: str, **parameters: Any) -> list[Notification]:
        rows = await self._database.rows(
            f"SELECT {_COLUMNS} FROM notifications FINAL "  # noqa: S608
            f"WHERE changed_at >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC') AND {condition}",
            **parameters,
        )
        return [_notification(row) for row in rows]

    async def _insert(self, groups: Sequence[tuple[Notification, ...]]) -> list[None]:
        rows = [_row(notification) for group in groups for notification in group]
        block = _lines.encode_lines(rows)
        # The same versions of the same rows are the same block: written again, it is ignored.
        token = hashlib.blake2b(block, digest_size=16).hexdigest()
        await self._database.insert_block(
            "notifications", list(rows[0]), block, fmt="JSONEachRow", token=token
        )
        return [None] * len(groups)

    async def _were_told(self, alerts: Sequence[str]) -> list[frozenset[tuple[ChannelName, str]]]:
        rows = await self._database.rows(
            "SELECT DISTINCT alert_id, channel, target FROM notifications FINAL "
            "WHERE alert_id IN {alerts:Array(String)} AND state IN ('queued', 'sent') "
            "AND news IN {opening:Array(String)}",
            alerts=sorted(set(alerts)),
            opening=_OPENING,
        )
        found: dict[str, set[tuple[ChannelName, str]]] = {alert: set() for alert in alerts}
        for alert, channel, target in rows:
            found[alert].add((ChannelName(channel), target))
        return [frozenset(found[alert]) for alert in alerts]


def _row(one: Notification) -> dict[str, Any]:
    return {
        "notification_id": one.notification_id,
        "change_id": one.change.change_id,
        "alert_id": one.alert.alert_id,
        "device_id": one.alert.device_id,
        "subject": one.alert.subject,
        "news": one.news.value,
        "severity": rank(one.alert.severity),
        "channel": one.channel.value,
        "target": one.target,
        "state": one.state.value,
        "reason": one.reason,
        "tries": one.tries,
        "due_at": _clickhouse(one.due_at),
        "changed_at": _clickhouse(one.change.at),
        "alert_version": one.alert.version,
        "updated_at": _clickhouse(one.updated_at),
        "change": msgspec.json.encode(one.change).decode(),
        "version": one.version,
    }


def _notification(row: tuple[Any, ...]) -> Notification:
    id_, news, channel, target, state, reason, tries, due_ms, updated_ms, change, version = row
    return Notification(
        notification_id=id_,
        change=_changes.decode(change),
        news=News(news),
        channel=ChannelName(channel),
        target=target,
        state=State(state),
        reason=reason,
        tries=int(tries),
        due_at=_EPOCH + timedelta(milliseconds=due_ms),
        updated_at=_EPOCH + timedelta(milliseconds=updated_ms),
        version=int(version),
    )


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _clickhouse(moment: datetime) -> str:
    """ClickHouse's own form of a DateTime64(3, 'UTC')."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S.") + f"{utc.microsecond // 1000:03d}"
