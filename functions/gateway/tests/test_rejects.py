"""Rejects, for admins."""

import base64
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import pytest

from sensor_gateway.app import Gateway
from sensor_shared.testing import rest

from .conftest import BASE_MS, Caller

pytestmark = pytest.mark.integration
REJECTS: Final = "/api/v1/rejects"
SPAN: Final = {"from": BASE_MS, "to": BASE_MS + 60_000}
COLUMNS: Final = [
    "received_at", "source", "event_id", "position", "reason", "detail", "device_id", "raw",
]  # fmt: skip


@pytest.fixture
async def admin(gateway: Gateway, caller: Caller) -> Any:
    async with rest.client(gateway) as client:
        client.headers["Authorization"] = f"Bearer {await caller.token('admin')}"
        yield client


async def reject(sql: Any, offset_ms: int, event_id: str, position: int, **changes: Any) -> None:
    row: dict[str, Any] = {
        "received_at": datetime.fromtimestamp((BASE_MS + offset_ms) / 1000, UTC),
        "source": "twinup/producer/1",
        "event_id": event_id,
        "position": position,
        "reason": "humidity_range",
        "detail": "humidity 120 is above 100",
        "device_id": "a",
        "raw": '{"device_id":"a"}',
    } | changes
    names = ", ".join(f"{{{name}:String}}" for name in COLUMNS[1:] if name != "raw")
    await sql.command(
        f"INSERT INTO rejects ({', '.join(COLUMNS)}) SELECT "
        f"fromUnixTimestamp64Milli({{at:Int64}}, 'UTC'), {names}, base64Decode({{raw:String}})",
        parameters={
            **{name: str(row[name]) for name in COLUMNS[1:]},
            "at": BASE_MS + offset_ms,
            "raw": base64.b64encode(
                row["raw"] if isinstance(row["raw"], bytes) else row["raw"].encode()
            ).decode(),
        },
    )


async def test_rejects_come_newest_first_each_once_and_whole(
    admin: httpx.AsyncClient, sql: Any
) -> None:
    await reject(sql, 0, "e1", 0)
    await reject(sql, 0, "e1", 0)  # delivered again
    await reject(sql, 1_000, "e2", 3, device_id="", reason="no_device_id")
    await reject(sql, 60_000, "e3", 0)  # after the span
    answer = await admin.get(REJECTS, params=SPAN)
    assert answer.headers["x-data-source"] == "clickhouse"
    assert answer.json() == {
        "items": [
            {
                "received_at": "2026-09-21T00:00:01Z",
                "source": "twinup/producer/1",
                "event_id": "e2",
                "position": 3,
                "reason": "no_device_id",
                "detail": "humidity 120 is above 100",
                "device_id": None,
                "raw": '{"device_id":"a"}',
                "raw_encoding": "utf-8",
                "raw_bytes": 17,
                "raw_truncated": False,
            },
            answer.json()["items"][1],
        ],
        "next": None,
    }
    assert [item["event_id"] for item in answer.json()["items"]] == ["e2", "e1"]


async def test_pages_joined_are_all_rejects_also_those_of_the_same_moment(
    admin: httpx.AsyncClient, sql: Any
) -> None:
    for number in range(23):
        await reject(sql, number // 5 * 1_000, f"event-{number % 4}", number)
    whole = (await admin.get(REJECTS, params=SPAN)).json()["items"]
    assert len(whole) == 23
    found, cursor = [], None
    for _ in range(5):
        page = await admin.get(
            REJECTS, params={**SPAN, "limit": 5, **({"cursor": cursor} if cursor else {})}
        )
        found += page.json()["items"]
        cursor = page.json()["next"]
    assert cursor is None
    assert found == whole


async def test_filters_say_which(admin: httpx.AsyncClient, sql: Any) -> None:
    await reject(sql, 0, "1", 0, reason="r1", source="s1", device_id="a")
    await reject(sql, 0, "2", 0, reason="r2", source="s1", device_id="b")
    await reject(sql, 0, "3", 0, reason="r2", source="s2", device_id="c")

    async def found(**parameters: Any) -> set[str]:
        answer = await admin.get(REJECTS, params={**SPAN, **parameters})
        return {item["event_id"] for item in answer.json()["items"]}

    assert await found(reason="r2") == {"2", "3"}
    assert await found(reason=["r1", "r2"], source="s1") == {"1", "2"}
    assert await found(device_id=["a", "c"]) == {"1", "3"}
    assert await found(reason="r1", device_id="c") == set()
    for text in ("' OR 1=1 --", "r1'", "{p0:String}", "\\"):
        assert await found(reason=text) == await found(source=text) == set()


@pytest.mark.parametrize(
    ("raw", "shown", "encoding", "truncated"),
    [
        (b"\xff\x00\x01", "/wAB", "base64", False),
        ("x" * 4_095 + "ä" * 10, "x" * 4_095, "utf-8", True),
        ("y" * 5_000, "y" * 4_096, "utf-8", True),
        ("°C \n\t'\\", "°C \n\t'\\", "utf-8", False),
        (b"", "", "utf-8", False),
    ],
)
async def test_what_came_is_shown_as_it_is_and_bounded(
    admin: httpx.AsyncClient, sql: Any, *, raw: Any, shown: str, encoding: str, truncated: bool
) -> None:
    await reject(sql, 0, "e", 0, raw=raw)
    (item,) = (await admin.get(REJECTS, params=SPAN)).json()["items"]
    size = len(raw if isinstance(raw, bytes) else raw.encode())
    assert (item["raw"], item["raw_encoding"]) == (shown, encoding)
    assert (item["raw_bytes"], item["raw_truncated"]) == (size, truncated)


async def test_a_cursor_that_is_none_is_422(admin: httpx.AsyncClient) -> None:
    forged = [b"[]", b"{}", b'["1","s","e",0]', b'[1,"s","e",-1]', b'[1,"s","e",99999999999]']
    for text in ["x", "ä", *(base64.urlsafe_b64encode(one).decode() for one in forged)]:
        assert (await admin.get(REJECTS, params={**SPAN, "cursor": text})).status_code == 422


async def test_others_are_not_shown_what_producers_sent(http: httpx.AsyncClient) -> None:
    assert (await http.get(REJECTS)).status_code == 403


async def test_a_page_reads_the_rows_of_its_time_and_not_the_table(sql: Any) -> None:
    await sql.command(
        "INSERT INTO rejects SELECT fromUnixTimestamp64Milli({at:Int64} + number, 'UTC'), 's', "
        "leftPad(toString(number), 12, '0'), 0, 'r', '', '', '' FROM numbers(100000)",
        parameters={"at": BASE_MS},
    )
    plan = await sql.query(
        "EXPLAIN ESTIMATE SELECT * FROM rejects FINAL WHERE received_at >= "
        "fromUnixTimestamp64Milli({at:Int64}, 'UTC')",
        parameters={"at": BASE_MS + 95_000},
    )
    ((_, _, _, rows, _),) = plan.result_rows
    assert rows <= 3 * 8_192
