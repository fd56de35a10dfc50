"""The limits on notifications: one suite for the process's own keeping and for Redis."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sensor_alerts.domain.limits import (
    HOUR_MS,
    MINUTE_MS,
    Gate,
    HeldBack,
    Limits,
    LocalGate,
    Occasion,
)
from sensor_alerts.gate import RedisGate
from sensor_local.testing import Address
from sensor_shared.adapters.redis import RedisSettings, connect

from .alert_world import device

LIMITS = Limits(
    deduplication_ms=300_000, cooldown_ms=60_000, per_device_and_hour=10, per_minute=100
)
NOW = 1_795_000_000_000
SUBJECT = "temperature-high"


def occasion(device_id: str, subject: str, severity: int) -> Occasion:
    """Returns one that nobody has asked about before."""
    return Occasion(uuid.uuid4().hex, device_id, subject, severity)


def again(about: Occasion) -> Occasion:
    """Returns a further occasion about the same."""
    return replace(about, name=uuid.uuid4().hex)


class GateSuite:
    """What holds for every gate; subclasses give the fixture `gate`."""

    async def test_the_first_notification_goes_and_a_repetition_does_not(self, gate: Gate) -> None:
        about = occasion(device(), SUBJECT, 2)
        assert await gate.claim(about, NOW) is None
        assert await gate.claim(again(about), NOW + 1) is HeldBack.DEDUPLICATED
        assert await gate.claim(again(about), NOW + 299_999) is HeldBack.DEDUPLICATED
        assert await gate.claim(again(about), NOW + 300_000) is None

    async def test_what_got_worse_is_told_of_after_the_cooldown(self, gate: Gate) -> None:
        who = device()
        assert await gate.claim(occasion(who, SUBJECT, 1), NOW) is None
        worse = occasion(who, SUBJECT, 3)
        assert await gate.claim(worse, NOW + 59_999) is HeldBack.COOLDOWN
        assert await gate.claim(worse, NOW + 60_000) is None
        less = occasion(who, SUBJECT, 2)
        assert await gate.claim(less, NOW + 200_000) is HeldBack.DEDUPLICATED

    async def test_subjects_and_devices_do_not_hold_back_each_other(self, gate: Gate) -> None:
        who = device()
        assert await gate.claim(occasion(who, SUBJECT, 1), NOW) is None
        assert await gate.claim(occasion(who, "humidity-high", 1), NOW) is None
        assert await gate.claim(occasion(device(), SUBJECT, 1), NOW) is None

    async def test_a_device_is_told_of_ten_times_in_an_hour(self, gate: Gate) -> None:
        who = device()
        for n in range(10):
            assert await gate.claim(occasion(who, f"rule-{n}", 1), NOW + n * MINUTE_MS) is None
        late = occasion(who, "rule-late", 1)
        assert await gate.claim(late, NOW + HOUR_MS - 1) is HeldBack.DEVICE_LIMIT
        assert await gate.claim(again(late), NOW + HOUR_MS) is None, "the first one is an hour old"

    async def test_a_hundred_go_in_a_minute_over_all(self, gate: Gate) -> None:
        for n in range(100):
            assert await gate.claim(occasion(device(), SUBJECT, 1), NOW + n) is None
        one_more = occasion(device(), SUBJECT, 1)
        assert await gate.claim(one_more, NOW + MINUTE_MS - 1) is HeldBack.OVERALL_LIMIT
        assert await gate.claim(one_more, NOW + MINUTE_MS) is None, "holding back claimed nothing"

    async def test_what_a_device_may_not_send_costs_the_others_nothing(self, gate: Gate) -> None:
        noisy = occasion(device(), SUBJECT, 1)
        await gate.claim(noisy, NOW)
        for _ in range(200):
            assert await gate.claim(again(noisy), NOW + 1) is HeldBack.DEDUPLICATED
        assert await gate.claim(occasion(device(), SUBJECT, 1), NOW + 2) is None

    async def test_of_many_at_once_one_goes(self, gate: Gate) -> None:
        about = occasion(device(), SUBJECT, 1)
        answers = await asyncio.gather(*(gate.claim(again(about), NOW) for _ in range(50)))
        assert answers.count(None) == 1

    async def test_who_asks_again_by_the_same_name_gets_the_same_right(self, gate: Gate) -> None:
        """What was recorded in vain is offered again, and must not stand in its own way."""
        about = occasion(device(), SUBJECT, 1)
        for late in range(120):
            assert await gate.claim(about, NOW + late) is None
        others = [await gate.claim(occasion(device(), SUBJECT, 1), NOW + 1) for _ in range(100)]
        assert others.count(None) == 99, "it counts once"


class TestLocalGate(GateSuite):
    @pytest.fixture
    def gate(self) -> LocalGate:
        return LocalGate(LIMITS)


@pytest.mark.integration
class TestRedisGate(GateSuite):
    @pytest.fixture
    async def gate(self, redis_server: Address) -> AsyncIterator[RedisGate]:
        redis = connect(RedisSettings(host=redis_server.host, port=redis_server.port, timeout=5))
        yield RedisGate(redis, LIMITS, prefix=uuid.uuid4().hex)
        await redis.aclose()


async def test_the_local_gate_remembers_a_bounded_number_of_devices() -> None:
    gate = LocalGate(Limits(300_000, 60_000, 10, per_minute=1_000_000))
    for n in range(10_050):
        await gate.claim(occasion(f"d{n}", SUBJECT, 1), NOW)
    assert len(gate._told) == len(gate._by_device) == 10_000
