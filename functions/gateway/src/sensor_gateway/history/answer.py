"""The JSON of a history, put together from what ClickHouse wrote."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sensor_gateway.domain import Span
from sensor_gateway.history.cursor import Cursor
from sensor_gateway.history.question import Question
from sensor_gateway.rollups.resolution import PERIOD_MS
from sensor_shared.contracts.events import rfc3339_ms


def page(device_id: str, asked: Question, items: Sequence[bytes], behind: int) -> bytes:
    """Returns a page.

    Args:
        device_id: of the device.
        asked: what was asked.
        items: JSON objects that begin with their timestamp, one more than the limit if there is.
        behind: minutes whose late readings are missing.
    """
    shown, truncated = items[: asked.limit], len(items) > asked.limit
    following = (
        Cursor(asked.resolution, _rest(asked, shown[-1]), asked.order) if truncated else None
    )
    head = _head(
        device_id,
        asked,
        behind,
        truncated=truncated,
        next=None if following is None else following.write(),
    )
    return b'%s,"items":[%s]}' % (head, b",".join(shown))


def chart(
    device_id: str,
    asked: Question,
    metrics: Sequence[str],
    series: Sequence[Sequence[bytes]],
    behind: int,
) -> bytes:
    """Returns a chart: the points of each metric, as JSON objects."""
    head = _head(device_id, asked, behind, max_points=asked.points)
    lines = (
        b'"%s":[%s]' % (metric.encode(), b",".join(points))
        for metric, points in zip(metrics, series, strict=True)
    )
    return b'%s,"series":{%s}}' % (head, b",".join(lines))


def _rest(asked: Question, last: bytes) -> Span:
    """Returns what of the span follows the last item shown."""
    at = datetime.fromisoformat(json.loads(last)["timestamp"])
    at_ms = round(at.timestamp() * 1000)
    if asked.order == "newest":
        return Span(asked.span.start_ms, at_ms)
    return Span(at_ms + PERIOD_MS[asked.resolution], asked.span.end_ms)


def _head(device_id: str, asked: Question, behind: int, **members: Any) -> bytes:
    head = {
        "device_id": device_id,
        "from": rfc3339_ms(asked.span.start_ms),
        "to": rfc3339_ms(asked.span.end_ms),
        "resolution": asked.resolution,
        "order": asked.order,
        "minutes_behind": behind,
        **members,
    }
    return json.dumps(head, separators=(",", ":")).removesuffix("}").encode()
