"""Tasks are ended, whatever they are about."""

import asyncio

import pytest
import structlog

from sensor_shared.runtime.tasks import end

SECONDS = 10


async def test_a_task_ends_even_when_a_client_takes_a_cancellation_for_itself() -> None:
    taken = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            taken.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(end([task, None]), SECONDS)
    assert taken.is_set()
    assert task.cancelled()


async def test_what_a_task_had_failed_with_is_logged_and_not_raised() -> None:
    async def failing() -> None:
        raise ValueError("unforeseen")

    task = asyncio.create_task(failing(), name="failing")
    beside = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.wait([task])
    with structlog.testing.capture_logs() as logs:
        await end([task, beside])
    assert beside.cancelled()
    [line] = logs
    assert (line["task"], line["log_level"]) == ("failing", "error")
    assert str(line["exc_info"]) == "unforeseen"


async def test_who_waits_for_the_end_can_be_cancelled() -> None:
    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    released = asyncio.Event()
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await end([task])
    released.set()
    await end([task])
    assert task.done()
