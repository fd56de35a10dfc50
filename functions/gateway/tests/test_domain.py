"""Moments and spans as a request writes them."""

import pytest

from sensor_gateway.domain import DAY_MS, LAST_MS, MomentError, Span, SpanError, moment, span

NOON_MS = 1_790_078_400_000


@pytest.mark.parametrize(
    "text",
    [
        "1790078400000",
        "2026-09-22T12:00:00Z",
        "2026-09-22t12:00:00z",
        "2026-09-22T12:00:00.000Z",
        "2026-09-22T14:00:00+02:00",
        "2026-09-22T06:30:00.000000000-05:30",
    ],
)
def test_a_moment_is_rfc3339_or_epoch_milliseconds(text: str) -> None:
    assert moment(text) == NOON_MS


def test_a_moment_keeps_its_milliseconds_exactly() -> None:
    for milliseconds in range(1_000):
        assert moment(f"2026-09-22T12:00:00.{milliseconds:03}Z") == NOON_MS + milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-09-22", "2026-09-22T12:00:00", "2026-09-22 12:00:00Z", "-1", "1e3",
        "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-09-22T24:00:01Z", "1.5",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:00", "1969-12-31T23:59:59Z",
        "2100-01-01T00:00:01Z", "12345678901234", "2026-09-22T12:00:00+99:00",
        "\uff12026-09-22T12:00:00Z", "\u0967\u0968", "1790078400000\n",
    ],
)  # fmt: skip
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(MomentError):
        moment(text)


def test_a_span_ends_now_and_lasts_a_day_unless_told_otherwise() -> None:
    assert span(None, None, now_ms=NOON_MS, max_days=31) == Span(NOON_MS - DAY_MS, NOON_MS)
    assert span(None, DAY_MS // 2, now_ms=NOON_MS, max_days=31) == Span(0, DAY_MS // 2)
    assert span(NOON_MS - 5, None, now_ms=NOON_MS, max_days=31) == Span(NOON_MS - 5, NOON_MS)


def test_a_span_that_is_empty_or_too_long_is_refused() -> None:
    for start, end in ((5, 5), (6, 5), (0, 31 * DAY_MS + 1), (0, LAST_MS)):
        with pytest.raises(SpanError):
            span(start, end, now_ms=NOON_MS, max_days=31)
    assert span(0, 31 * DAY_MS, now_ms=NOON_MS, max_days=31).end_ms == 31 * DAY_MS
