"""Moments and spans as a request writes them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

DAY_MS: Final = 86_400_000
LAST_MS: Final = 4_102_444_800_000
"""2100-01-01, beyond which no question makes sense."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_MS = re.compile(r"\d{1,13}", re.ASCII)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class MomentError(ValueError):
    """The text is no moment; the message says why."""


class SpanError(ValueError):
    """The span cannot be answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_ms`, included, to `end_ms`, excluded; epoch milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def seconds(self) -> tuple[int, int]:
        """The whole seconds that it touches, epoch seconds, the end excluded."""
        return self.start_ms // 1_000, -(-self.end_ms // 1_000)


def moment(text: str) -> int:
    """Returns the epoch milliseconds of an RFC 3339 moment, or of epoch milliseconds in digits.

    Raises:
        MomentError: for anything else, or a moment outside of 1970 to 2100.
    """
    if _EPOCH_MS.fullmatch(text):
        value = int(text)
    elif _RFC3339.fullmatch(text):
        value = _since_epoch(text.upper())
    else:
        raise MomentError("must be RFC 3339 with an offset, or epoch milliseconds")
    if not 0 <= value <= LAST_MS:
        raise MomentError("must lie between 1970 and 2100")
    return value


def _since_epoch(text: str) -> int:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise MomentError("there is no such moment") from error


def span(start_ms: int | None, end_ms: int | None, *, now_ms: int, max_days: int) -> Span:
    """Returns the span asked for; without an end it ends now, without a start it lasts a day.

    Raises:
        SpanError: when it is empty, or longer than `max_days`.
    """
    end = now_ms if end_ms is None else end_ms
    start = max(0, end - DAY_MS) if start_ms is None else start_ms
    if start >= end:
        raise SpanError("`from` must be before `to`")
    if end - start > max_days * DAY_MS:
        raise SpanError(f"`from` and `to` may be {max_days} days apart, no more")
    return Span(start, end)
