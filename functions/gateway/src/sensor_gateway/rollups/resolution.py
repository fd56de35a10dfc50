"""How fine a history is: the choice between raw readings, minutes, hours and days."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sensor_gateway.domain import DAY_MS, LAST_MS, Span, SpanError


class Resolution(StrEnum):
    """What one point of a history stands for."""

    RAW = "raw"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


PERIOD_MS: Final[Mapping[Resolution, int]] = {
    Resolution.RAW: 1,
    Resolution.MINUTE: 60_000,
    Resolution.HOUR: 3_600_000,
    Resolution.DAY: DAY_MS,
}
"""What a point covers; a raw reading has no length, its time is in whole milliseconds."""
_COARSE_FIRST: Final = (Resolution.DAY, Resolution.HOUR, Resolution.MINUTE, Resolution.RAW)


def choose(asked: Span, points: int, max_days: Mapping[Resolution, int]) -> Resolution:
    """Returns the coarsest resolution that still fills a chart, or the finest that may be asked.

    What is read for a chart is bounded by it: there are 60 minutes in an hour, so at most 60 times
    the points that are shown.

    Args:
        asked: the span of the chart.
        points: that the chart shows.
        max_days: how long the span of each resolution may be.

    Raises:
        SpanError: when the span is too long for all of them.
    """
    length = asked.end_ms - asked.start_ms
    allowed = [one for one in _COARSE_FIRST if length <= max_days[one] * DAY_MS]
    if not allowed:
        raise SpanError(f"`from` and `to` may be {max(max_days.values())} days apart, no more")
    # A raw reading has no period that could be counted: raw is what is left when minutes are few.
    filling = (one for one in allowed if length // PERIOD_MS[one] >= points)
    return next(filling, allowed[-1])


def check(asked: Span, resolution: Resolution, max_days: Mapping[Resolution, int]) -> None:
    """Returns when a span is not too long for a resolution.

    Raises:
        SpanError: when it is.
    """
    # A span that was widened to whole periods may be that much longer than what was asked.
    allowed = max_days[resolution] * DAY_MS + 2 * PERIOD_MS[resolution]
    if asked.end_ms - asked.start_ms > allowed:
        raise SpanError(
            f"`from` and `to` may be {max_days[resolution]} days apart with resolution "
            f"{resolution}, no more"
        )


def aligned(asked: Span, resolution: Resolution) -> Span:
    """Returns the span widened to whole minutes, hours or days (UTC), within 1970 to 2100."""
    period = PERIOD_MS[resolution]
    start = asked.start_ms // period * period
    return Span(start, min(-(-asked.end_ms // period) * period, LAST_MS))
