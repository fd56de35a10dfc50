"""Moments as people write them."""

from datetime import UTC, datetime

_EXAMPLE = "2026-11-24T10:00:00Z"


def parse(text: str) -> int:
    """Returns a moment as epoch milliseconds.

    Raises:
        ValueError: when it is none, or does not say its offset from UTC; the message says so.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; {_EXAMPLE} is one") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say its time zone; {_EXAMPLE} does, and is UTC")
    return int((moment - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000)


def stretch(start: str, end: str | None, now_ms: int) -> tuple[int, int | None]:
    """Returns begin and end in epoch milliseconds; an end of None stays None.

    Raises:
        ValueError: when one is no time, when they are in the wrong order, or when nothing can
            have happened yet.
    """
    from_ms, to_ms = parse(start), None if end is None else parse(end)
    if from_ms > now_ms:
        raise ValueError(f"{start} lies in the future: there is nothing to replay")
    if to_ms is not None and to_ms <= from_ms:
        raise ValueError(f"the end, {end}, is not later than the beginning, {start}")
    return from_ms, to_ms
