"""Whether a run of the HTTP load has kept to its marks."""

from dataclasses import replace

import pytest

from load.locust.marks import ABUSED, MARKS, QUIET, SLACK_MS, SLOWER, Measured, judge

GOOD = {
    (what, phase): Measured(requests=1_000, failures=0, p50=1, p95=10, p99=20)
    for what in MARKS
    for phase in (QUIET, ABUSED)
}


def missed(changes: dict[tuple[str, str], Measured]) -> dict[tuple[str, str], int]:
    found = judge({**GOOD, **changes})
    return {(one.what, one.phase): len(one.missed) for one in found if one.missed}


def test_a_good_run_meets_every_mark() -> None:
    assert missed({}) == {}


@pytest.mark.parametrize("what", MARKS)
def test_each_mark_can_be_missed(what: str) -> None:
    at, good, mark = (what, ABUSED), GOOD[what, ABUSED], MARKS[what]
    too_many = int(mark.failures * good.requests) + 1
    # As slow in the quiet half, so that the comparison of both says nothing.
    slow = {(what, QUIET): replace(good, p95=mark.p95)}
    assert missed(slow | {at: replace(good, p95=mark.p95 + 1)}) == {at: 1}
    assert missed({at: replace(good, p99=mark.p99 + 1)}) == {at: 1}
    assert missed({at: replace(good, p99=mark.p99 + 1, requests=99)}) == {}
    assert missed({at: replace(good, failures=too_many)}) == {at: 1}
    assert missed({at: replace(good, requests=0)}) == {at: 1}


def test_an_attack_may_not_slow_the_others_beyond_a_factor() -> None:
    at, good = ("history", ABUSED), GOOD["history", ABUSED]
    limit = good.p95 * SLOWER + SLACK_MS
    assert missed({at: replace(good, p95=limit)}) == {}
    assert missed({at: replace(good, p95=limit + 1)}) == {at: 1}
