"""The figures and tables that people see."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from sensor_local import drain, health, view, web
from sensor_local.figures import Figures, FiguresMeter, Scrape, quantile
from sensor_local.process import Started
from sensor_local.redis_cli import show
from sensor_local.usage import UsageMeter

METRICS = """# TYPE produced counter
produced_total{{part="a"}} {count}
produced_total{{part="b"}} 5
# TYPE wait_ms histogram
wait_ms_bucket{{le="10"}} {fast}
wait_ms_bucket{{le="20"}} {all}
wait_ms_bucket{{le="+Inf"}} {all}
wait_ms_sum 1
wait_ms_count {all}
"""


def scrape(count: int = 1, fast: int = 0, total: int = 0) -> Scrape:
    return Scrape(METRICS.format(count=count, fast=fast, all=total), at=0.0)


def test_a_total_is_the_sum_over_all_labels() -> None:
    assert scrape(count=2).total("produced_total") == 7
    assert scrape().total("unheard_of") is None


@pytest.mark.parametrize(
    ("share", "expected"), [(0.25, 5.0), (0.5, 10.0), (0.75, 15.0), (1.0, 20.0)]
)
def test_a_quantile_is_that_of_the_interval_spread_evenly_in_its_bucket(
    share: float, expected: float
) -> None:
    before = scrape(fast=1000, total=1000).buckets("wait_ms")
    now = scrape(fast=1050, total=1100).buckets("wait_ms")
    assert quantile(share, before, now) == expected


def test_there_is_no_quantile_of_nothing() -> None:
    same = scrape(fast=1, total=2).buckets("wait_ms")
    assert quantile(0.5, same, same) is None
    assert quantile(0.5, {}, {}) is None


def test_beyond_the_last_bound_the_quantile_is_that_bound() -> None:
    assert quantile(0.99, {}, {10.0: 1.0, float("inf"): 100.0}) == 10.0


Answer = Callable[[str], tuple[int, bytes]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """Answers GETs on a free port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        status, body = answer(path)
        writer.write(f"HTTP/1.0 {status} X\r\n\r\n".encode() + body)
        writer.close()

    listener = await asyncio.start_server(handle, web.HOST, 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def free_port() -> int:
    async with server(lambda _: (200, b"")) as port:
        return port


async def test_figures_are_rates_between_two_readings_and_dashes_where_nobody_answers() -> None:
    produced = iter([100, 350])

    def metrics(_path: str) -> tuple[int, bytes]:
        name = "sensor_producer_messages_produced_total"
        return 200, f"# TYPE {name} counter\n{name} {next(produced)}\n".encode()

    nobody = await free_port()
    async with server(metrics) as port:
        ports = dict.fromkeys(("consumer", "alerts_http", "dispatcher"), nobody)
        meter = FiguresMeter({"producer_metrics": port, **ports})
        first, second = await meter.read(), await meter.read()
    assert first.produced_per_second is None
    assert second.produced_per_second is not None
    assert second.produced_per_second > 0
    assert second.stored_per_second is None
    assert "stored -/s" in view.line(second)


async def test_drained_means_nothing_left_twice_in_a_row() -> None:
    lags = iter([3, 0, 2, 0, 0])

    def status(path: str) -> tuple[int, bytes]:
        assert path == "/status"
        sources = {"one": {"lag": next(lags), "in_flight": 0}}
        return 200, json.dumps({"sources": sources}).encode()

    async with server(status) as port:
        assert await drain.drained(port, lambda _: None)
    assert list(lags) == []


async def test_an_event_in_flight_is_not_drained() -> None:
    states = iter([(0, 1), (0, 0), (0, 0)])

    def status(_path: str) -> tuple[int, bytes]:
        lag, in_flight = next(states)
        return 200, json.dumps({"sources": {"one": {"lag": lag, "in_flight": in_flight}}}).encode()

    async with server(status) as port:
        assert await drain.drained(port, lambda _: None)
    assert list(states) == []


async def test_a_service_that_is_not_well_is_named() -> None:
    said: list[str] = []
    nobody = await free_port()
    async with server(lambda path: (503 if "readiness" in path else 200, b"")) as port:
        address, away = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{nobody}"
        endpoints = {
            "gateway": address,
            "clickhouse": address,
            "auth": away,
            "kafka": "127.0.0.1:1",
        }
        assert not await health.report(endpoints, said.append)
        assert await health.report({"clickhouse": address}, said.append)
    assert said[0] == "gateway           not ready (status 503)"
    assert said[1] == "clickhouse        ok"
    assert said[2].startswith("auth              does not answer")
    assert len(said) == 4


async def test_a_service_that_works_but_not_as_it_should_is_a_problem() -> None:
    said: list[str] = []
    async with server(lambda _: (200, b"degraded: flood of rejects")) as port:
        assert not await health.report({"consumer": f"http://127.0.0.1:{port}"}, said.append)
    assert said == ["consumer          degraded: flood of rejects"]


async def test_an_answer_that_is_not_http_is_an_error() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail ready\r\n")
        writer.close()

    listener = await asyncio.start_server(handle, web.HOST, 0)
    async with listener:
        with pytest.raises(OSError, match="does not speak HTTP"):
            await web.get(listener.sockets[0].getsockname()[1], "/")


async def test_a_server_that_never_answers_is_given_up() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(handle, web.HOST, 0)
    async with listener:
        with pytest.raises(OSError, match=r"within 0\.1 s"):
            await web.get(listener.sockets[0].getsockname()[1], "/", timeout=0.1)


def test_usage_is_measured_from_one_sample_to_the_next() -> None:
    mine = Started.of(os.getpid())
    assert mine is not None
    gone = Started(mine.pid, mine.created - 3600)
    meter = UsageMeter()
    assert meter.sample([mine, gone]).keys() == {mine}
    assert sum(n * n for n in range(300_000)) > 0
    used = meter.sample([mine])[mine]
    assert used.cores > 0
    assert used.rss_mb > 10


def line(**changes: object) -> dict[str, object]:
    fields = {"name": "redis", "state": "ready", "pid": None, "created": None, "restarts": 0}
    return {**fields, "job": False, "port": 6379, "url": None, **changes}


def rendered(what: RenderableType) -> str:
    console = Console(width=120, record=True, file=Path(os.devnull).open("w"))  # noqa: SIM115
    with console.file:
        console.print(what)
    return console.export_text()


def test_the_table_shows_what_runs_and_leaves_out_jobs_that_are_done() -> None:
    mine = Started.of(os.getpid())
    assert mine is not None
    table = [
        line(pid=mine.pid, created=mine.created, restarts=2),
        line(name="topics", state="done", job=True),
        line(name="gateway", state="restarting", url="http://127.0.0.1:8081"),
    ]
    text = rendered(view.processes(table, UsageMeter().sample([mine])))
    assert "127.0.0.1:6379" in text
    assert str(mine.pid) in text
    assert "topics" not in text
    assert "restarting" in text
    assert "http://127.0.0.1:8081" in text


def test_the_live_view_holds_figures_processes_and_hints() -> None:
    figures = Figures(produced_per_second=10_000.4, stored_per_second=9_990.0, p99_ms=48.6)
    text = rendered(view.live([line()], {}, figures, ["log in as admin"]))
    for part in ("produced 10,000/s", "stored 9,990/s", "p99 49 ms", "redis", "log in as admin"):
        assert part in text


def test_hints_say_where_to_go_and_never_the_password(tmp_path: Path) -> None:
    endpoints = {"gateway": "http://127.0.0.1:8081", "auth": "http://127.0.0.1:8082"}
    hints = view.how_to_log_in(endpoints, tmp_path / "admin-password")
    assert "http://127.0.0.1:8081/docs" in hints[0]
    assert "POST http://127.0.0.1:8082/auth/login as admin" in hints[1]
    assert str(tmp_path / "admin-password") in hints[1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "(nil)"),
        (b"OK", "OK"),
        (7, "7"),
        ([], "(empty)"),
        ([b"a", [b"b", b"c"]], "1) a\n2) 1) b\n   2) c"),
    ],
)
def test_answers_of_redis_are_shown_as_people_know_them(answer: object, text: str) -> None:
    assert show(answer) == text
