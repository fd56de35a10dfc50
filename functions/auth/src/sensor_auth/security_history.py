"""The security log as admins read it: newest first, page by page."""

from datetime import UTC, datetime
from typing import Any

from sensor_auth.domain import RecordedEvent
from sensor_shared.adapters.database import Database, utc

_EVENTS = (
    "SELECT time, id, event, username, actor, address, session, request_id, detail "
    "FROM security_events FINAL WHERE {conditions} "
    "ORDER BY time DESC, id DESC LIMIT {{limit:UInt32}}"
)
_CONDITIONS = {
    "since": "time >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')",
    "until": "time < fromUnixTimestamp64Milli({until:Int64}, 'UTC')",
    "event": "event = {event:String}",
    "username": "username = {username:String}",
    "actor": "actor = {actor:String}",
    "address": "address = {address:String}",
    "cursor_ms": "(time, id) < (fromUnixTimestamp64Milli({cursor_ms:Int64}, 'UTC'), "
    "{cursor_id:String})",
}
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class SecurityHistory:
    """Reads the table `security_events`."""

    def __init__(self, database: Database):
        self._database = database

    async def page(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        **equal: str | None,
    ) -> list[RecordedEvent]:
        """Returns so many events, the newest first.

        Args:
            limit: most events.
            cursor: of the last event of the page before: `cursor_of`.
            since: the first moment that counts.
            until: the first moment that does not.
            equal: event, username, actor or address that events must have.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        values: dict[str, Any] = {name: value for name, value in equal.items() if value is not None}
        if since is not None:
            values["since"] = _milliseconds(since)
        if until is not None:
            values["until"] = _milliseconds(until)
        if cursor is not None:
            values["cursor_ms"], _, values["cursor_id"] = cursor.partition("_")
        # The names are those of the table above; values are bound, never pasted.
        conditions = [text for name, text in _CONDITIONS.items() if name in values]
        sql = _EVENTS.format(conditions=" AND ".join(conditions) or "true")
        rows = await self._database.rows(sql, limit=limit, **values)
        return [RecordedEvent(utc(time), *rest) for time, *rest in rows]


def cursor_of(event: RecordedEvent) -> str:
    """Returns the cursor with which the page after this event is asked for."""
    return f"{round(event.time.timestamp() * 1000)}_{event.id}"


def _milliseconds(moment: datetime) -> int:
    return round(min(max(moment, _EARLIEST), _LATEST).timestamp() * 1000)
