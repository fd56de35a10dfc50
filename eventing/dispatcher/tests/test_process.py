"""The dispatcher as a process: start, status, health, signals."""

import asyncio
import json
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from eventing.dispatcher.tests.conftest import Bench, Got

pytestmark = pytest.mark.integration


async def test_sigterm_finishes_what_is_in_flight_commits_and_exits_with_0(bench: "Bench") -> None:
    bench.create(bench.topic)

    async def answer(_got: "Got") -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response(status=202)

    bench.sink.answer = answer
    for number in range(20):
        bench.produce(b"%d" % number)
    bench.flush()
    async with bench.process() as dispatcher:
        await bench.eventually(lambda: bench.sink.at_once == 20)
        assert await dispatcher.terminate() == 0
    assert bench.committed() == {0: 20}
    assert len(bench.sink.got) == 20


async def test_after_kill_9_everything_arrives_nothing_is_lost(bench: "Bench") -> None:
    bench.create(bench.topic, partitions=4)
    total = 2_000

    async def answer(_got: "Got") -> web.Response:
        await asyncio.sleep(0.005)
        return web.Response(status=202)

    bench.sink.answer = answer
    for number in range(total):
        bench.produce(b"%d" % number, partition=number % 4)
    bench.flush()
    async with bench.process() as first:
        await bench.eventually(lambda: len(bench.sink.got) > 300)
        await first.kill()
    assert len(set(bench.sink.bodies())) < total
    async with bench.process() as second:
        await bench.eventually(lambda: len(set(bench.sink.bodies())) == total)
        await second.drained("source")
        assert await second.terminate() == 0
    assert bench.committed() == dict.fromkeys(range(4), total // 4)


async def test_status_metrics_and_health_tell_how_far_it_is(bench: "Bench") -> None:
    bench.create(bench.topic)
    gate = asyncio.Event()

    async def answer(got: "Got") -> web.Response:
        if got.body == b"slow":
            await gate.wait()
        return web.Response(status=400 if got.body == b"bad" else 202)

    bench.sink.answer = answer
    for body in (b"good", b"slow", b"bad"):
        bench.produce(body)
    bench.flush()
    async with bench.process() as dispatcher:
        await dispatcher.ready()
        await bench.eventually(lambda: len(bench.sink.got) == 3)
        await bench.letters(1)
        state = await dispatcher.source("source")
        assert state["group"] == bench.group
        assert (state["lag"], state["in_flight"]) == (2, 1)
        gate.set()
        state = await dispatcher.drained("source")
        assert (state["delivered"], state["dead_lettered"]) == (2, 1)
        assert await dispatcher.get("/health/liveness") == (200, "OK")
        status, text = await dispatcher.get("/metrics")
        lag = (
            f'sensor_consumer_lag{{group="{bench.group}",partition="0",topic="{bench.topic}"}} 0.0'
        )
        assert status == 200
        assert lag in text
        assert 'sensor_dispatcher_events_delivered_total{source="source"} 2.0' in text
        assert 'sensor_dispatcher_events_dead_lettered_total{source="source"} 1.0' in text
        assert 'sensor_dispatcher_delivery_latency_ms_count{source="source"} 2.0' in text


async def test_a_ping_source_ticks_while_it_runs(bench: "Bench") -> None:
    bench.create(bench.topic)
    async with bench.process(ping="* * * * * *") as dispatcher:
        await bench.eventually(lambda: len(bench.sink.got) >= 4)
        state = json.loads((await dispatcher.get("/status"))[1])["pings"]["ping"]
        assert state["delivered"] >= 3
        assert await dispatcher.terminate() == 0
    got = bench.sink.got[:4]
    assert {g.headers["ce-type"] for g in got} == {"dev.knative.sources.ping"}
    assert {g.headers["ce-source"] for g in got} == {"/apis/v1/namespaces/ns/pingsources/ping"}
    assert {(g.body, g.headers["content-type"]) for g in got} == {(b"{}", "application/json")}
    assert len({g.headers["ce-id"] for g in got}) == 4
    times = [datetime.fromisoformat(g.headers["ce-time"]) for g in got]
    # The time is that of the sending, which a busy machine delays; four ticks lie 3 s apart, and
    # if each came twice, 1 s.
    assert times[3] - times[0] > timedelta(seconds=1.5)


async def test_a_tick_that_fails_for_good_is_dropped_and_counted(bench: "Bench") -> None:
    bench.create(bench.topic)

    async def answer(_got: "Got") -> web.Response:
        return web.Response(status=400)

    bench.sink.answer = answer
    async with bench.process(ping="* * * * * *") as dispatcher:
        await bench.eventually(lambda: len(bench.sink.got) >= 2)
        state = json.loads((await dispatcher.get("/status"))[1])["pings"]["ping"]
        assert state["dropped"] >= 1
        assert state["retried"] == 0


async def test_a_wrong_start_ends_at_once_with_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Secret\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("kind: Pod\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sensor_dispatcher", str(tmp_path)),
        env={k: v for k, v in os.environ.items() if not k.startswith("TWINUP_")},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"a.yaml: kind: 'Secret'" in errors
    assert b"b.yaml: kind: 'Pod'" in errors
    assert b"Traceback" not in errors
