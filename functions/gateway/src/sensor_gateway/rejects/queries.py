"""What ClickHouse answers about rejects."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sensor_gateway.domain import Span
from sensor_gateway.rejects.cursor import RejectCursor
from sensor_gateway.rejects.models import Reject
from sensor_gateway.rollups.bindings import Bindings
from sensor_shared.adapters.database import Database, utc

RAW_BYTES: Final = 4_096
"""Of what came, in an answer; the table has all of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rejects; an empty list is no condition, and all that are given must fit.

    Attributes:
        span: of when they were received.
        reasons, sources, devices: exactly.
        limit: of one page.
        after: the last one that was shown; None: from the newest.
    """

    span: Span
    reasons: Sequence[str]
    sources: Sequence[str]
    devices: Sequence[str]
    limit: int
    after: RejectCursor | None


class Rejects:
    """The table `rejects`."""

    def __init__(self, database: Database):
        self._database = database

    async def page(self, wanted: Wanted) -> tuple[list[Reject], RejectCursor | None]:
        """Returns rejects, the newest first, and where the next page goes on.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        bindings = Bindings()
        rows = await self._database.rows(
            "SELECT received_at, source, event_id, position, reason, detail, device_id, "  # noqa: S608
            f"base64Encode(substring(raw, 1, {bindings.add(RAW_BYTES, 'UInt32')})), length(raw), "
            "toUnixTimestamp64Milli(received_at) "
            f"FROM rejects FINAL WHERE {_conditions(bindings, wanted)} "
            "ORDER BY received_at DESC, source DESC, event_id DESC, position DESC "
            f"LIMIT {bindings.add(wanted.limit + 1, 'UInt32')}",
            **bindings.values,
        )
        shown = rows[: wanted.limit]
        following = None
        if len(rows) > wanted.limit:
            last = shown[-1]
            following = RejectCursor(last[9], last[1], last[2], last[3])
        return [_reject(row) for row in shown], following


def _conditions(bindings: Bindings, wanted: Wanted) -> str:
    start, end = (
        bindings.add(wanted.span.start_ms, "Int64"),
        bindings.add(wanted.span.end_ms, "Int64"),
    )
    conditions = [
        f"received_at >= fromUnixTimestamp64Milli({start}, 'UTC')",
        f"received_at < fromUnixTimestamp64Milli({end}, 'UTC')",
    ]
    named = (("reason", wanted.reasons), ("source", wanted.sources), ("device_id", wanted.devices))
    conditions += [
        f"{column} IN {bindings.add(list(names), 'Array(String)')}"
        for column, names in named
        if names
    ]
    if (after := wanted.after) is not None:
        at = f"fromUnixTimestamp64Milli({bindings.add(after.received_ms, 'Int64')}, 'UTC')"
        key = (
            f"({at}, {bindings.add(after.source, 'String')}, "
            f"{bindings.add(after.event_id, 'String')}, {bindings.add(after.position, 'UInt32')})"
        )
        # The first condition alone is what the index of times understands.
        conditions.append(f"received_at <= {at}")
        conditions.append(f"(received_at, source, event_id, position) < {key}")
    return " AND ".join(conditions)


def _reject(row: tuple[Any, ...]) -> Reject:
    received_at, source, event_id, position, reason, detail, device_id, encoded, size, _ = row
    raw = base64.b64decode(encoded)
    text = _text(raw, cut=size > len(raw))
    return Reject(
        received_at=utc(received_at),
        source=source,
        event_id=event_id,
        position=position,
        reason=reason,
        detail=detail,
        device_id=device_id or None,
        raw=encoded if text is None else text,
        raw_encoding="base64" if text is None else "utf-8",
        raw_bytes=size,
        raw_truncated=size > len(raw),
    )


def _text(raw: bytes, *, cut: bool) -> str | None:
    """Returns UTF-8 text, without the character that the cut went through; None: it is none."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if cut and error.reason == "unexpected end of data":
            return raw[: error.start].decode()
        return None
