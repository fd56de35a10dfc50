import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from sensor_shared.adapters.group_commit import GroupCommit


class Ledger:
    """Commits by writing down the groups; waits at the gate before each."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def commit(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [item * 10 for item in items]


async def test_one_goes_at_once_and_a_crowd_goes_together() -> None:
    ledger = Ledger()
    group = GroupCommit(ledger.commit)
    calls = [asyncio.create_task(group(item)) for item in range(5)]
    while not ledger.groups:  # noqa: ASYNC110  (the commit begins in a task of its own)
        await asyncio.sleep(0)
    late = [asyncio.create_task(group(item)) for item in range(5, 8)]
    await asyncio.sleep(0)
    ledger.gate.set()
    assert await asyncio.gather(*calls, *late) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert sorted(item for one in ledger.groups for item in one) == list(range(8))
    assert ledger.groups[-1] == [5, 6, 7]


async def test_a_group_has_a_limit() -> None:
    ledger = Ledger()
    ledger.gate.set()
    group = GroupCommit(ledger.commit, max_items=3)
    await asyncio.gather(*(group(item) for item in range(7)))
    assert max(len(one) for one in ledger.groups) == 3


async def test_one_caller_after_another_never_waits_for_somebody_else() -> None:
    ledger = Ledger()
    ledger.gate.set()
    group = GroupCommit(ledger.commit)
    async with asyncio.timeout(10):
        assert [await group(item) for item in range(20)] == [10 * item for item in range(20)]


async def test_a_failure_reaches_each_caller_and_the_next_group_goes_on() -> None:
    ledger = Ledger()
    ledger.gate.set()
    ledger.error = ValueError("away")
    group = GroupCommit(ledger.commit)
    outcomes = await asyncio.gather(group(1), group(2), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]
    ledger.error = None
    assert await group(3) == 30


async def test_a_caller_who_leaves_does_not_stop_the_others() -> None:
    ledger = Ledger()
    group = GroupCommit(ledger.commit)
    leaving, staying = asyncio.create_task(group(1)), asyncio.create_task(group(2))
    while not ledger.groups:  # noqa: ASYNC110  (the commit begins in a task of its own)
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    ledger.gate.set()
    assert await staying == 20
    await group.drain()


async def test_who_waits_for_what_was_handed_in_waits_for_nothing_later_and_for_no_success() -> (
    None
):
    ledger = Ledger()
    group = GroupCommit(ledger.commit)
    await group.settled()  # nothing was
    first = asyncio.create_task(group(1))
    while not ledger.groups:  # noqa: ASYNC110  (the commit begins in a task of its own)
        await asyncio.sleep(0)
    settled = asyncio.create_task(group.settled())
    await asyncio.sleep(0)
    later = asyncio.create_task(group(2))
    assert not settled.done()
    ledger.error = RuntimeError("away")
    ledger.gate.set()
    ledger.gate = asyncio.Event()
    await asyncio.wait_for(settled, 1)
    assert not later.done()
    ledger.gate.set()
    results = await asyncio.gather(first, later, return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_group_waits_for_company_until_it_has_enough() -> None:
    ledger = Ledger()
    ledger.gate.set()
    group = GroupCommit(ledger.commit, linger=3600, enough=3)
    calls = [asyncio.create_task(group(item)) for item in range(2)]
    await _turns()
    assert not ledger.groups
    async with asyncio.timeout(10):
        await asyncio.gather(*calls, group(2))
        # Those that wait already when a group begins count too.
        await asyncio.gather(*(group(item) for item in range(3, 10)))
    assert [len(one) for one in ledger.groups] == [3, 7]
    alone = asyncio.create_task(group(10))
    await _turns()
    assert len(ledger.groups) == 2
    alone.cancel()


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param({"enough": 100, "max_items": 4}, id="it is full"),
        pytest.param({"quiet": 0.01}, id="nobody comes"),
    ],
)
async def test_a_group_waits_no_longer_when(ends: dict[str, Any]) -> None:
    ledger = Ledger()
    ledger.gate.set()
    group = GroupCommit(ledger.commit, linger=3600, **ends)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(group(item) for item in range(4))) == [0, 10, 20, 30]
    assert [len(one) for one in ledger.groups] == [4]


async def test_of_two_commits_that_wait_for_company_one_may_find_nothing() -> None:
    ledger = Ledger()
    ledger.gate.set()
    group = GroupCommit(ledger.commit, linger=0.01, max_commits=2)
    async with asyncio.timeout(10):
        await asyncio.gather(*(group(item) for item in range(4)))
        await group.drain()
    assert ledger.groups == [[0, 1, 2, 3]]
