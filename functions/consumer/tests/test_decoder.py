"""Small events that come together are decoded together, and answered each for itself."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from sensor_consumer.decoder import Contents, Decoder
from sensor_shared.contracts.events import JSON, READINGS_V1, Event
from sensor_shared.contracts.readings import decode
from sensor_shared.contracts.rules import Rules, load_rules

RULES = Path(__file__).parents[3] / "configs" / "alert-rules.yaml"
NOW_MS = time.time_ns() // 1_000_000


def event(number: int, data: bytes) -> Event:
    return Event(str(number), "urn:test", READINGS_V1, data, JSON)


def reading(number: int, **fields: object) -> bytes:
    base = {"device_id": f"d-{number}", "timestamp": NOW_MS, "temperature": 20.0}
    return json.dumps(base | fields).encode()


def events() -> list[Event]:
    """Good ones, and every hundred of them one of each kind of bad."""
    odd = [b"no JSON", b"[]", b"{}", reading(1, temperature=-300), reading(1, status=7), b"[1, 2]"]
    many = [event(number, reading(number)) for number in range(200)]
    return many + [event(1_000 + at, data) for at, data in enumerate(odd)]


@pytest.fixture
def rules() -> Rules:
    return load_rules(RULES)


async def together(decoder: Decoder, given: list[Event]) -> list[Contents]:
    return list(await asyncio.gather(*map(decoder, given)))


async def test_each_event_gets_what_it_would_get_alone(rules: Rules) -> None:
    found = await together(Decoder(rules, lambda: NOW_MS), events())
    for one, given in zip(found, events(), strict=True):
        alone = decode(given, NOW_MS)
        assert one.decoded.batch.equals(alone.batch)
        assert one.decoded.rejects == alone.rejects


async def test_a_breach_is_told_to_the_event_that_holds_it_and_to_no_other(rules: Rules) -> None:
    hot = event(500, reading(500, temperature=99.0))
    found = await together(Decoder(rules, lambda: NOW_MS), [*events(), hot])
    assert [len(one.breaches) for one in found] == [0] * len(events()) + [1]
    assert found[-1].breaches[0].device_id == "d-500"


async def test_a_caller_that_goes_away_takes_nobody_along(rules: Rules) -> None:
    decoder = Decoder(rules, lambda: NOW_MS)
    tasks = [asyncio.create_task(decoder(one)) for one in events()[:3]]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, Contents) for one in found] == [True, False, True]


async def test_what_nobody_foresaw_is_the_matter_of_its_own_event(rules: Rules) -> None:
    class Broken(Decoder):
        def _decode(self, given: list[Event]) -> list[Contents]:  # type: ignore[override]
            if any(one.id == "1" for one in given):
                raise RuntimeError("unforeseen")
            return super()._decode(given)

    decoder = Broken(rules, lambda: NOW_MS)
    found = await asyncio.gather(*map(decoder, events()[:3]), return_exceptions=True)
    assert [type(one) for one in found] == [Contents, RuntimeError, Contents]


async def test_an_event_of_another_type_is_a_reject(rules: Rules) -> None:
    other = Event("1", "urn:test", "com.example.other", b"x", JSON)
    found = await Decoder(rules, lambda: NOW_MS)(other)
    assert [reject.reason for reject in found.decoded.rejects] == ["unsupported_type"]
