"""What a request for a history asks, with everything that was left open decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sensor_gateway.domain import Span, span
from sensor_gateway.history.cursor import Cursor, Order
from sensor_gateway.rollups.resolution import Resolution, aligned, check, choose

CHART_POINTS: Final = 1_000
"""Of an automatic resolution when nobody says how many: about as many as a screen shows."""
PAGE_POINTS: Final = 1_000
Asked = Literal["auto", "raw", "minute", "hour", "day"]


class QuestionError(ValueError):
    """The parameters do not go together; the message says which."""


@dataclass(frozen=True, slots=True)
class Question:
    """One page, or one chart.

    Attributes:
        span: in whole periods of `resolution`.
        resolution: what a point stands for.
        order: which come first.
        limit: points of a page.
        points: of a chart, of each metric; None: it is a page.
    """

    span: Span
    resolution: Resolution
    order: Order
    limit: int
    points: int | None


def question(
    *,
    start_ms: int | None,
    end_ms: int | None,
    resolution: Asked | None,
    order: Order,
    limit: int | None,
    points: int | None,
    cursor: str | None,
    now_ms: int,
    max_days: Mapping[Resolution, int],
) -> Question:
    """Returns the question that the parameters of a request stand for.

    Without a resolution a chart finds its own and a page is of raw readings. A cursor brings its
    span, resolution and order with it.

    Raises:
        QuestionError: when parameters exclude each other.
        SpanError: when the span is empty, or too long for the resolution.
        CursorError: when the cursor is none.
    """
    if resolution == "auto" and points is None:
        points = CHART_POINTS
    if points is not None and (limit is not None or cursor is not None):
        raise QuestionError("a chart has no pages: `limit` and `cursor` do not go with it")
    if cursor is not None:
        if start_ms is not None or end_ms is not None or resolution is not None:
            raise QuestionError("`cursor` says the span and the resolution, so leave them out")
        given = Cursor.read(cursor)
        check(given.rest, given.resolution, max_days)
        return Question(
            given.rest, given.resolution, given.order, PAGE_POINTS if limit is None else limit, None
        )
    asked = span(start_ms, end_ms, now_ms=now_ms, max_days=max(max_days.values()))
    if points is not None and resolution in {None, "auto"}:
        chosen = choose(asked, points, max_days)
    else:
        chosen = Resolution(resolution or Resolution.RAW)
        check(asked, chosen, max_days)
    limit = PAGE_POINTS if limit is None else limit
    return Question(aligned(asked, chosen), chosen, order, limit, points)
