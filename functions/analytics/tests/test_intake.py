"""Events are decoded together, and one that nobody foresaw fails alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from sensor_analytics import intake
from sensor_analytics.handler import Handler
from sensor_analytics.intake import Intake
from sensor_shared.adapters.group_commit import GroupCommit
from sensor_shared.contracts.events import JSON, READINGS_V1, Event
from sensor_shared.contracts.readings import Decoded, decode

NOW_MS = 1_795_462_338_979


def event(device: str, temperature: float = 20.5) -> Event:
    data = f'{{"device_id": "{device}", "timestamp": {NOW_MS}, "temperature": {temperature}}}'
    return Event(device, "urn:test", READINGS_V1, data.encode(), JSON)


class Taker:
    """Keeps the ids of the devices that it is given."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []

    async def __call__(self, batches: Sequence[pa.RecordBatch]) -> None:
        self.steps.append([one for batch in batches for one in batch["device_id"].to_pylist()])


async def test_all_valid_readings_are_taken_in_one_go() -> None:
    taker = Taker()
    events = [event("a"), event("b", -300), event("c"), Event("d", "urn:test", "x", b"{", JSON)]
    assert await Intake(taker, lambda: NOW_MS)(events) == [None] * 4
    assert taker.steps == [["a", "c"]]


async def test_nothing_is_taken_of_events_without_a_valid_reading() -> None:
    taker = Taker()
    assert await Intake(taker, lambda: NOW_MS)([event("b", -300)]) == [None]
    assert taker.steps == []


async def test_what_nobody_foresaw_is_the_matter_of_its_own_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(given: Event, now_ms: int) -> Decoded:
        if given.id == "b":
            raise RuntimeError("unforeseen")
        return decode(given, now_ms)

    def broken_all(given: Sequence[Event], now_ms: int) -> list[Decoded]:
        return [broken(one, now_ms) for one in given]

    monkeypatch.setattr(intake, "decode", broken)
    monkeypatch.setattr(intake, "decode_all", broken_all)
    taker = Taker()
    results = await Intake(taker, lambda: NOW_MS)([event("a"), event("b"), event("c")])
    assert [type(one) for one in results] == [type(None), RuntimeError, type(None)]
    assert taker.steps == [["a", "c"]]


async def test_an_event_that_failed_alone_is_not_answered_as_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(given: Any, now_ms: int) -> Any:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(intake, "decode", broken)
    monkeypatch.setattr(intake, "decode_all", broken)
    summaries: Any = None
    handler = Handler(GroupCommit(Intake(Taker(), lambda: NOW_MS)), summaries, lambda: NOW_MS)
    with pytest.raises(RuntimeError, match="unforeseen"):
        await handler(event("a"))


async def test_other_work_goes_on_between_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_PORTION_BYTES", 200)
    taker = Taker()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    events = [event(f"device-{number}") for number in range(9)]
    assert await Intake(taker, lambda: NOW_MS)(events) == [None] * 9
    task.cancel()
    assert taker.steps == [[f"device-{number}" for number in range(9)]]
    assert turns >= 4
