"""From arrays to messages."""

from collections.abc import Iterator, Sequence

from sensor_analytics.domain.delta import Changes
from sensor_analytics.domain.observations import Integers
from sensor_analytics.messages import (
    Delta,
    Direction,
    MetricDelta,
    MetricTrend,
    Trend,
    Window,
)
from sensor_shared.contracts.events import rfc3339_ms
from sensor_shared.contracts.readings import METRICS, UNITS
from sensor_shared.contracts.windows.layout import SCALE
from sensor_shared.contracts.windows.trend import Directions, Trends

_DIRECTIONS: tuple[Direction, ...] = ("stable", "rising", "falling")  # by 0, 1 and -1


def trend_reports(
    device_ids: Sequence[str],
    found: Trends,
    direction: Directions,
    latest: Integers,
    start: Integers,
) -> Iterator[Trend]:
    """Yields a message for each of D devices.

    Args:
        device_ids: (D,).
        found: of these devices.
        direction: (D, metrics).
        latest: (D,) epoch ms of the newest reading.
        start: (D,) epoch ms at which the window begins.
    """
    for at, device_id in enumerate(device_ids):
        end = rfc3339_ms(int(latest[at]))
        yield Trend(
            device_id=device_id,
            timestamp=end,
            window=Window(rfc3339_ms(int(start[at])), end),
            metrics={
                metric: MetricTrend(
                    unit=UNITS[metric],
                    direction=_DIRECTIONS[direction[at, which]],
                    slope_per_hour=_number(found.slope[at, which]),
                    standard_error=_number(found.error[at, which]),
                    points=int(found.points[at, which]),
                    mean=round(float(found.mean[at, which]), 6),
                    min=float(found.low[at, which]),
                    max=float(found.high[at, which]),
                )
                for which, metric in enumerate(METRICS)
                if found.points[at, which]
            },
        )


def _number(value: float) -> float | None:
    return None if value != value else round(float(value), 6)  # noqa: PLR0124  (NaN)


def delta_reports(
    device_ids: Sequence[str], changes: Changes, chosen: Integers, threshold: float
) -> Iterator[Delta]:
    """Yields a message for each device among the chosen changes.

    Args:
        device_ids: (D,) that `changes.device` points into.
        changes: what has changed.
        chosen: positions in `changes`, at most one per device and metric, by device.
        threshold: that they are above, in the metric's unit.
    """
    by_device: dict[int, list[int]] = {}
    for at in chosen.tolist():
        by_device.setdefault(int(changes.device[at]), []).append(at)
    for device, positions in by_device.items():
        yield Delta(
            device_id=device_ids[device],
            timestamp=rfc3339_ms(max(int(changes.at[at]) for at in positions)),
            threshold=threshold,
            metrics={METRICS[changes.metric[at]]: _delta(changes, at) for at in positions},
        )


def _delta(changes: Changes, at: int) -> MetricDelta:
    value, previous = int(changes.value[at]), int(changes.previous[at])
    return MetricDelta(
        unit=UNITS[METRICS[changes.metric[at]]],
        value=value / SCALE,
        previous=previous / SCALE,
        change=(value - previous) / SCALE,
        timestamp=rfc3339_ms(int(changes.at[at])),
        previous_timestamp=rfc3339_ms(int(changes.previous_at[at])),
    )
