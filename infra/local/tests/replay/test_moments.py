"""Times of a replay as people write them, and what is said when they are wrong."""

import re

import pytest

from sensor_local.replay.moments import parse, stretch

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    "text", ["2026-11-24T10:00:00Z", "2026-11-24T11:00:00+01:00", "2026-11-24 10:00:00.000Z"]
)
def test_a_moment_is_read_with_its_offset(text: str) -> None:
    assert parse(text) == 1_795_514_400_000


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("yesterday", None, "'yesterday' is no time; 2026-11-24T10:00:00Z is one"),
        ("2026-11-24T10:00:00", None, "does not say its time zone"),
        ("2026-13-24T10:00:00Z", None, "is no time"),
        ("2026-11-24T10:00:00Z", "x", "'x' is no time"),
        ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z", "is not later than the beginning"),
        ("2030-01-01T00:00:00Z", None, "lies in the future"),
    ],
)
def test_a_wrong_time_is_named(start: str, end: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        stretch(start, end, NOW_MS)


def test_a_stretch_without_an_end_goes_on_to_the_present() -> None:
    assert stretch("2026-11-24T10:00:00Z", None, NOW_MS) == (1_795_514_400_000, None)
    assert stretch("2026-11-24T10:00:00Z", "2026-11-24T10:00:01Z", NOW_MS) == (
        1_795_514_400_000,
        1_795_514_401_000,
    )
