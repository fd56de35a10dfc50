"""From a change to what its targets got: on the real ClickHouse and Redis, with real receivers."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from sensor_alerts.domain.limits import Limits
from sensor_alerts.notify.notifications import Notifications
from sensor_alerts.notify.routes import Routes
from sensor_alerts.notify.settings import (
    AlertMqttSettings,
    NotifySettings,
    SmtpSettings,
    WebhookSettings,
)
from sensor_local.testing import Address
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.redis import RedisSettings, connect
from sensor_shared.contracts.rules import Severity

from .alert_world import device, eventually
from .notify_world import SECRET, Mailroom, Receiver, life, mail_server, receiving, soon

pytestmark = pytest.mark.integration
NOWHERE = 9  # the discard port: nobody listens there
LIMITS = Limits(
    deduplication_ms=300_000, cooldown_ms=60_000, per_device_and_hour=10, per_minute=100
)
QUICK = {"backoff": 0.05, "backoff_max": 0.1, "per_minute": 10_000}


@dataclass
class Replica:
    """One instance of all that tells people, with connections of its own."""

    notifications: Notifications
    close: Callable[[], Awaitable[None]]

    async def offer(self, *changes: Any) -> None:
        await asyncio.gather(*(self.notifications.notifier.offer(one) for one in changes))


@dataclass
class Hall:
    """One database and one prefix in Redis; replicas on demand."""

    clickhouse: ClickHouseSettings
    redis: RedisSettings
    receiver: Receiver
    prefix: str = field(default_factory=lambda: uuid.uuid4().hex)
    _running: list[Replica] = field(default_factory=list)

    async def replica(
        self,
        *,
        limits: Limits = LIMITS,
        notify: dict[str, Any] | None = None,
        webhook: dict[str, Any] | None = None,
        smtp: dict[str, Any] | None = None,
        mqtt: dict[str, Any] | None = None,
        route: dict[str, Any] | None = None,
        clickhouse: ClickHouseSettings | None = None,
        redis: RedisSettings | None = None,
    ) -> Replica:
        """Starts one that tells the receiver `ops` of everything."""
        shared = connect(redis or self.redis, wait=5)
        database = Database(clickhouse or self.clickhouse)
        routes = Routes.model_validate(
            {
                "endpoints": [{"name": "ops", "url": self.receiver.url, "plain_http": True}],
                "routes": [{"name": "all", "webhooks": ["ops"]} | (route or {})],
            }
        )
        notifications = Notifications(
            NotifySettings.model_validate({"take_up": 0.2, "silences": 0.2} | (notify or {})),
            SmtpSettings.model_validate(
                {"security": "none", "collect": 0.0, **QUICK, **(smtp or {})}
            ),
            WebhookSettings.model_validate(
                {"secrets": {"ops": SECRET}, "deadline": 5.0, **QUICK, **(webhook or {})}
            ),
            AlertMqttSettings.model_validate({**QUICK, **(mqtt or {})}),
            limits=limits,
            routes=routes,
            redis=shared,
            database=database,
            prefix=self.prefix,
        )

        async def told(_: object) -> None:
            pass

        async def close() -> None:
            await notifications.stop()
            await database.close()
            await shared.aclose()

        await notifications.start(told)
        replica = Replica(notifications, close)
        self._running.append(replica)
        return replica

    async def stop(self, replica: Replica) -> None:
        self._running.remove(replica)
        await replica.close()

    async def rows(self, columns: str, where: str = "1") -> list[tuple[Any, ...]]:
        database = Database(self.clickhouse)
        try:
            return await database.rows(
                f"SELECT {columns} FROM notifications FINAL WHERE {where} "  # noqa: S608
                "ORDER BY changed_at, notification_id"
            )
        finally:
            await database.close()

    async def states(self) -> dict[str, int]:
        rows = await self.rows("toString(state)")
        return {state: rows.count((state,)) for (state,) in rows}

    async def reach(self, expected: Any, find: Callable[[], Awaitable[Any]] | None = None) -> None:
        """Waits until the states, or what `find` gives, are as expected."""
        find = find or self.states

        async def as_expected() -> bool:
            return await find() == expected  # type: ignore[no-any-return]

        try:
            await eventually(as_expected)
        except TimeoutError:
            assert await find() == expected

    async def close(self) -> None:
        for replica in self._running:
            await replica.close()


@pytest.fixture
async def hall(clickhouse: ClickHouseSettings, redis_server: Address) -> AsyncIterator[Hall]:
    async with receiving() as receiver:
        redis = RedisSettings(host=redis_server.host, port=redis_server.port, timeout=5)
        made = Hall(clickhouse, redis, receiver)
        yield made
        await made.close()


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"sensor_alerts_notify_{name}", labels) or 0.0


async def test_a_change_is_told_and_the_record_says_so(hall: Hall) -> None:
    replica = await hall.replica()
    raised = life(device()).raised()
    await replica.offer(raised)
    await hall.reach({"sent": 1})
    assert await hall.rows("change_id, channel, target, news, tries, reason") == [
        (raised.change_id, "webhook", "ops", "raised", 1, "")
    ]
    assert hall.receiver.posted[0].document["data"]["change_id"] == raised.change_id


async def test_ten_replicas_that_are_offered_the_same_change_tell_of_it_once(hall: Hall) -> None:
    replicas = [await hall.replica() for _ in range(10)]
    raised = [life(device()).raised() for _ in range(5)]
    await asyncio.gather(*(replica.offer(*raised) for replica in replicas))
    await hall.reach({"sent": 5})
    await asyncio.sleep(0.5)
    assert len(hall.receiver.ids) == len(set(hall.receiver.ids)) == 5


async def test_a_change_that_is_offered_again_is_told_of_once(hall: Hall) -> None:
    replica = await hall.replica()
    raised = life(device()).raised()
    for _ in range(3):
        await replica.offer(raised)
        await hall.reach({"sent": 1})
    assert len(hall.receiver.posted) == 1


async def test_what_a_receiver_does_not_take_is_tried_again_with_the_same_id(hall: Hall) -> None:
    replica = await hall.replica()
    hall.receiver.says(503)
    before = counted("retried_total", channel="webhook")
    await replica.offer(life(device()).raised())

    async def tried() -> bool:
        return len(hall.receiver.posted) >= 3

    await eventually(tried)
    hall.receiver.says(200)
    await hall.reach({"sent": 1})
    assert len(set(hall.receiver.ids)) == 1
    assert counted("retried_total", channel="webhook") - before >= 3
    ((tries,),) = await hall.rows("tries")
    assert tries == len(hall.receiver.posted)


async def test_what_is_never_taken_becomes_a_dead_letter_with_its_reason(hall: Hall) -> None:
    replica = await hall.replica(webhook={"tries": 3})
    hall.receiver.says(500, text="the receiver is broken")
    before = counted("failed_total", channel="webhook")
    await replica.offer(life(device()).raised())
    await hall.reach({"failed": 1})
    assert await hall.rows("tries, reason") == [(3, "500: the receiver is broken")]
    assert counted("failed_total", channel="webhook") - before == 1


async def test_what_is_refused_for_good_is_tried_once(hall: Hall) -> None:
    replica = await hall.replica()
    hall.receiver.says(410)
    await replica.offer(life(device()).raised())
    await hall.reach({"failed": 1})
    assert len(hall.receiver.posted) == 1


async def test_while_a_receiver_hangs_changes_are_taken_at_once(hall: Hall) -> None:
    """More than the process has room for: what it has none for is sent later all the same."""
    released = asyncio.Event()

    async def hang() -> web.StreamResponse:
        await released.wait()
        return web.Response(status=200)

    hall.receiver.answer = hang
    replica = await hall.replica(webhook={"queue": 3, "workers": 1, "deadline": 60.0})
    changes = [life(device()).raised() for _ in range(20)]
    await asyncio.wait_for(replica.offer(*changes), 10)
    assert await hall.states() == {"queued": 20}
    released.set()
    await hall.reach({"sent": 20})
    assert sorted(hall.receiver.ids) == sorted({*hall.receiver.ids})


async def test_what_a_replica_leaves_behind_another_one_sends(hall: Hall) -> None:
    """It is killed in the middle of its queue: nothing is lost, and what was sent is not again."""
    hall.receiver.says(503)
    first = await hall.replica(webhook={"backoff": 3600.0, "backoff_max": 3600.0, "workers": 1})
    changes = [life(device()).raised() for _ in range(8)]
    await first.offer(*changes)

    async def all_tried() -> bool:
        return len(hall.receiver.posted) == 8

    await eventually(all_tried)
    await hall.stop(first)
    assert await hall.states() == {"queued": 8}
    hall.receiver.says(200)
    database = Database(hall.clickhouse)
    # An hour later …
    await database.rows(
        "INSERT INTO notifications SELECT * REPLACE(due_at - INTERVAL 2 HOUR AS due_at, "
        "version + 1 AS version) FROM notifications FINAL"
    )
    await database.close()
    await hall.replica()
    await hall.reach({"sent": 8})
    assert len(hall.receiver.posted) == 16
    assert len(set(hall.receiver.ids)) == 8


async def test_what_was_queued_when_the_process_died_is_sent_after_its_restart(hall: Hall) -> None:
    released = asyncio.Event()

    async def hang() -> web.StreamResponse:
        await released.wait()
        return web.Response(status=503)

    hall.receiver.answer = hang
    first = await hall.replica(webhook={"workers": 1, "deadline": 1.0})
    await first.offer(*(life(device()).raised() for _ in range(5)))
    # Without a word to anybody, as a killed process: its claim stays until the lease is over.
    for sender in first.notifications._senders.values():
        for task in sender._tasks:
            task.cancel()
    await first.notifications._upkeep.stop()
    released.set()
    hall.receiver.says(200)
    await hall.replica()
    await hall.reach({"sent": 5})


async def test_of_a_device_and_rule_nobody_is_told_again_and_again(hall: Hall) -> None:
    replica, who = await hall.replica(), device()
    before = counted("suppressed_total", channel="webhook", reason="deduplicated")
    await replica.offer(life(who).raised())
    await replica.offer(life(who).raised())
    await hall.reach({"sent": 1, "suppressed": 1})
    assert (await hall.rows("reason", "state = 'suppressed'")) == [("deduplicated",)]
    assert counted("suppressed_total", channel="webhook", reason="deduplicated") - before == 1


async def test_what_got_worse_within_the_cooldown_is_told_when_that_is_over(hall: Hall) -> None:
    quick = Limits(300_000, 1_000, 10, 100)
    replica, alert = await hall.replica(limits=quick), life(device(), Severity.LOW)
    await replica.offer(alert.raised())
    await replica.offer(alert.updated(Severity.CRITICAL))
    assert (await hall.rows("reason", "news = 'escalated'")) == [("cooldown",)]
    await hall.reach({"sent": 2})
    assert [one.document["news"] for one in hall.receiver.posted] == ["raised", "escalated"]


async def test_what_is_cleared_before_it_could_be_told_is_not_told_of_at_all(hall: Hall) -> None:
    quick = Limits(300_000, 1_000, 10, 100)
    replica, alert = await hall.replica(limits=quick), life(device())
    await replica.offer(life(alert.device_id).raised())
    await replica.offer(alert.raised())
    await replica.offer(alert.cleared())
    await hall.reach({"sent": 1, "suppressed": 2})
    await asyncio.sleep(1.5)
    assert await hall.rows("news, reason", "state = 'suppressed'") == [
        ("raised", "deduplicated"),
        ("cleared", "untold"),
    ]
    assert len(hall.receiver.posted) == 1


async def test_who_was_told_of_an_alert_is_told_what_became_of_it(hall: Hall) -> None:
    replica, alert = await hall.replica(), life(device())
    for step in (alert.raised, alert.acknowledged, alert.cleared):
        await replica.offer(step())
    await hall.reach({"sent": 3})
    assert sorted(one.document["news"] for one in hall.receiver.posted) == [
        "acknowledged",
        "cleared",
        "raised",
    ]


async def test_who_wants_to_hear_of_raised_alerts_only_is_not_told_of_the_rest(hall: Hall) -> None:
    replica, alert = await hall.replica(route={"news": ["raised"]}), life(device())
    await replica.offer(alert.raised())
    await replica.offer(alert.cleared())
    await hall.reach({"sent": 1, "suppressed": 1})
    assert await hall.rows("reason", "news = 'cleared'") == [("not_wanted",)]


async def test_a_channel_keeps_to_its_own_rate_over_all_replicas(hall: Hall) -> None:
    slow = {"per_minute": 3}
    replicas = [await hall.replica(webhook=slow) for _ in range(2)]
    for replica in replicas:
        await replica.offer(*(life(device()).raised() for _ in range(4)))
    await hall.reach({"sent": 3, "queued": 5})
    await asyncio.sleep(2.5)
    assert await hall.states() == {"sent": 3, "queued": 5}, "they wait, and are not given up"
    assert len(hall.receiver.posted) == 3


async def silence(replica: Replica, **fields: Any) -> Any:
    return await replica.notifications.silences.create(
        {
            "scope": {},
            "ends_at": soon(3600),
            "author": "ayse",
            "reason": "the furnace is being repaired",
        }
        | fields
    )


async def test_a_silenced_alert_is_recorded_and_told_of_when_the_silence_ends(hall: Hall) -> None:
    replica, alert = await hall.replica(), life(device())
    made = await silence(replica, scope={"devices": [alert.device_id]})
    await replica.offer(alert.raised())
    assert await hall.rows("toString(state), reason") == [
        ("suppressed", f"silenced by {made.silence_id}")
    ]
    other = life(device())
    await replica.offer(other.raised())
    await hall.reach({"suppressed": 1, "sent": 1})
    await asyncio.sleep(0.6)
    assert len(hall.receiver.posted) == 1, "the silence still holds"
    await replica.notifications.silences.end(made.silence_id, "mehmet")
    await hall.reach({"sent": 2})
    assert hall.receiver.posted[1].document["data"]["alert"]["device_id"] == alert.device_id


async def test_what_was_cleared_or_acknowledged_under_a_silence_is_not_told_of_after_it(
    hall: Hall,
) -> None:
    replica, gone, known = await hall.replica(), life(device()), life(device())
    made = await silence(replica)
    for change in (gone.raised(), known.raised(), gone.cleared(), known.acknowledged()):
        await replica.offer(change)
    await replica.notifications.silences.end(made.silence_id, "mehmet")
    await asyncio.sleep(1.0)
    assert await hall.states() == {"suppressed": 4}
    assert hall.receiver.posted == []


async def test_a_silence_that_one_replica_made_holds_on_the_others_soon(hall: Hall) -> None:
    one, other = await hall.replica(), await hall.replica()
    made = await silence(one)

    async def known() -> Any:
        return await other.notifications.silences.over(life(device()).raised().alert, soon())

    assert (await eventually(known)).silence_id == made.silence_id


async def test_silences_outlive_a_restart(hall: Hall) -> None:
    first = await hall.replica()
    await silence(first)
    await hall.stop(first)
    second = await hall.replica(notify={"silences": 3600.0})
    await second.offer(life(device()).raised())
    assert await hall.states() == {"suppressed": 1}


async def test_after_a_silence_the_limits_hold_and_the_rest_follows_in_time(hall: Hall) -> None:
    """A hundred open alerts at its end are no storm either."""
    few = Limits(300_000, 60_000, 10, per_minute=5)
    replica = await hall.replica(limits=few)
    made = await silence(replica)
    await replica.offer(*(life(device()).raised() for _ in range(12)))
    assert await hall.states() == {"suppressed": 12}
    await replica.notifications.silences.end(made.silence_id, "mehmet")
    await hall.reach({"sent": 5, "suppressed": 7})
    await asyncio.sleep(0.6)
    assert await hall.states() == {"sent": 5, "suppressed": 7}


async def test_with_redis_away_everything_is_told(hall: Hall) -> None:
    replica = await hall.replica(redis=RedisSettings(port=NOWHERE, timeout=0.2))
    await replica.offer(*(life(device()).raised() for _ in range(3)))
    await hall.reach({"sent": 3})
    assert len(hall.receiver.posted) == 3


async def test_with_clickhouse_away_nothing_is_sent_and_the_offer_fails(hall: Hall) -> None:
    """Offered again once it is back, the change is told of: the try claimed nothing."""
    away = hall.clickhouse.model_copy(update={"port": NOWHERE})
    lost, raised = await hall.replica(clickhouse=away), life(device()).raised()
    with pytest.raises(DatabaseAwayError):
        await lost.offer(raised)
    assert hall.receiver.posted == []
    there = await hall.replica()
    await there.offer(raised)
    await hall.reach({"sent": 1})


async def test_a_dead_letter_that_is_put_back_is_sent(hall: Hall) -> None:
    """By the command that `make notifications-put-back` runs."""
    replica = await hall.replica()
    hall.receiver.says(410, text="gone for now")
    await replica.offer(life(device()).raised(), life(device()).raised())
    await hall.reach({"failed": 2})
    hall.receiver.says(200)
    assert "     2  webhook  ops" in await command(hall, "list")
    assert "410: gone for now" in await command(hall, "list", "--channel", "webhook")
    assert await command(hall, "put-back", "--target", "other") == "0 notifications queued again\n"
    assert await command(hall, "put-back") == "2 notifications queued again\n"
    await hall.reach({"sent": 2})
    assert await hall.rows("tries") == [(1,), (1,)]
    assert await command(hall, "list") == "no notification was given up\n"


async def command(hall: Hall, *arguments: str) -> str:
    settings = hall.clickhouse
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sensor_local.notifications", *arguments),
        env={
            **os.environ,
            "TWINUP_CLICKHOUSE_HOST": settings.host,
            "TWINUP_CLICKHOUSE_PORT": str(settings.port),
            "TWINUP_CLICKHOUSE_USER": settings.user,
            "TWINUP_CLICKHOUSE_PASSWORD": settings.password.get_secret_value(),
            "TWINUP_CLICKHOUSE_DATABASE": settings.database,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def test_mails_to_one_address_become_a_digest_and_another_address_has_its_own(
    hall: Hall,
) -> None:
    room = Mailroom()
    async with mail_server(room) as port:
        replica = await hall.replica(
            smtp={"port": port, "collect": 1.0, "recipients": "one@example.com"},
            route={
                "webhooks": [],
                "email": ["two@example.com"],
                "scope": {"severities": ["CRITICAL"]},
            },
        )
        changes = [life(device()).raised() for _ in range(5)]
        await replica.offer(*changes, life(device(), Severity.CRITICAL).raised())
        await hall.reach({"sent": 7})
    by_address = {str(mail["To"]): str(mail["Subject"]) for mail in room.mails}
    assert len(room.mails) == 2
    assert "6 alerts on 6 devices" in by_address["one@example.com"]
    assert "(" not in by_address["two@example.com"]
    assert by_address["two@example.com"].startswith("[CRITICAL]")


async def test_a_broker_that_comes_back_gets_what_waited_on_both_topics(
    hall: Hall, mqtt_broker: Address
) -> None:
    """What one process could not publish, the next one does: it is queued in the record."""
    route = {"webhooks": [], "mqtt": True}
    away = {"port": NOWHERE, "deadline": 0.2, "backoff": 0.5, "backoff_max": 0.5}
    first, alert = await hall.replica(mqtt=away, route=route), life(device())
    topics = [f"alerts/device/{alert.device_id}", f"alerts/region/{hall.prefix}"]
    alert.fields["region"] = hall.prefix
    raised = alert.raised()
    async with aiomqtt.Client(mqtt_broker.host, mqtt_broker.port) as reader:
        for topic in topics:
            await reader.subscribe(topic, qos=1)
        await first.offer(raised)
        await hall.reach(2, lambda: count(hall, "tries > 0"))
        await hall.stop(first)
        assert await hall.states() == {"queued": 2}
        await hall.replica(mqtt={"host": mqtt_broker.host, "port": mqtt_broker.port}, route=route)
        await hall.reach({"sent": 2})
        async with asyncio.timeout(10):
            got = [await anext(aiter(reader.messages)) for _ in topics]
    assert sorted(str(message.topic) for message in got) == topics


async def count(hall: Hall, where: str) -> int:
    return len(await hall.rows("tries", where))


async def test_a_mail_server_that_was_dead_gets_what_waited(hall: Hall) -> None:
    room = Mailroom("451 later", "451 later", "250 OK")
    async with mail_server(room) as port:
        replica = await hall.replica(
            smtp={"port": port}, route={"webhooks": [], "email": ["one@example.com"]}
        )
        await replica.offer(life(device()).raised())
        await hall.reach({"sent": 1})
    assert room.asked == 3
    assert len(room.mails) == 1


async def test_the_metrics_say_what_waits_and_how_long_delivery_took(hall: Hall) -> None:
    before = counted("latency_ms_count", channel="webhook")
    hall.receiver.says(503)
    replica = await hall.replica()
    await replica.offer(life(device()).raised())

    async def waiting() -> bool:
        return counted("queued", channel="webhook") == 1

    await eventually(waiting)
    assert counted("waiting", channel="webhook") == 1
    hall.receiver.says(200)
    await hall.reach({"sent": 1})
    assert counted("latency_ms_count", channel="webhook") - before == 1
