"""Aggregates of groups against a plain computation over the same readings."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import httpx
import pytest

from .conftest import BASE_MS, moment

pytestmark = pytest.mark.integration
AGGREGATES: Final = "/api/v1/aggregates"
PLACES: Final = {
    "a": ("north", "weather_station"),
    "b": ("north", "industrial_sensor"),
    "c": ("south", "weather_station"),
    "d": ("", "weather_station"),
}
HOUR_MS: Final = 3_600_000
Reading = tuple[str, int, Decimal | None]


@pytest.fixture
async def readings(sql: Any) -> list[Reading]:
    """Three hours of four devices; one value in four is missing, some rows come twice."""
    dice = random.Random(7)  # noqa: S311
    found: list[Reading] = [
        (
            device,
            dice.randrange(3 * HOUR_MS),
            None if dice.random() < 0.25 else Decimal(dice.randint(-30_000, 60_000)) / 1_000,
        )
        for device in PLACES
        for _ in range(40)
    ]
    columns = ["device_id", "timestamp", "temperature", "humidity", "pressure", "status"]
    rows = [[device, moment(at), value, None, None, "active"] for device, at, value in found]
    await sql.insert("readings", rows, column_names=columns)
    await sql.insert("readings", rows[:30], column_names=columns)
    await sql.insert(
        "devices",
        [[id_, kind, region, None, None, moment(0)] for id_, (region, kind) in PLACES.items()],
        column_names=[
            "device_id", "device_type", "region", "latitude", "longitude", "updated_at",
        ],
    )  # fmt: skip
    return found


def figures(readings: list[Reading]) -> dict[str, Any]:
    ordered = sorted(readings, key=lambda one: one[1])
    values = [value for _, _, value in ordered if value is not None]
    return {
        "devices": len({device for device, _, _ in ordered}),
        "readings": len(ordered),
        "temperature": {
            "count": len(values),
            "min": float(min(values)) if values else None,
            "max": float(max(values)) if values else None,
            "avg": pytest.approx(float(sum(values)) / len(values)) if values else None,
        },
    }


async def asked(http: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    span: dict[str, Any] = {
        "from": BASE_MS, "to": BASE_MS + 3 * HOUR_MS, "metric": "temperature",
    }  # fmt: skip
    answer = await http.get(AGGREGATES, params={**span, **parameters})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize("resolution", ["minute", "hour", "day"])
async def test_groups_say_what_their_readings_say(
    http: httpx.AsyncClient, readings: list[Reading], resolution: str
) -> None:
    for by in ((), ("region",), ("type",), ("device",), ("region", "type"), ("region", "device")):
        groups: dict[tuple[str, ...], list[Reading]] = {}
        for one in readings:
            region, kind = PLACES[one[0]]
            names = {"region": region, "type": kind, "device": one[0]}
            groups.setdefault(tuple(names[name] for name in by), []).append(one)
        expected = [
            {**dict(zip(by, key, strict=True)), **figures(rows)}
            for key, rows in sorted(groups.items())
        ]
        assert await asked(http, by=list(by), resolution=resolution) == expected, by


async def test_periods_are_rows_of_their_own(
    http: httpx.AsyncClient, readings: list[Reading]
) -> None:
    rows = await asked(http, by="region", periods=True, resolution="hour")
    assert len(rows) == 9
    for row in rows:
        start = round(datetime.fromisoformat(row["timestamp"]).timestamp() * 1000) - BASE_MS
        expected = [
            one
            for one in readings
            if PLACES[one[0]][0] == row["region"] and start <= one[1] < start + HOUR_MS
        ]
        assert {name: row[name] for name in ("devices", "readings", "temperature")} == figures(
            expected
        )


async def test_the_top_devices_come_first_and_the_rest_is_said_to_be_left_out(
    http: httpx.AsyncClient, readings: list[Reading]
) -> None:
    peaks = {
        device: max(v for name, _, v in readings if name == device and v is not None)
        for device in PLACES
    }
    ranking = sorted(peaks, key=lambda device: -peaks[device])
    parameters: dict[str, Any] = {
        "by": "device",
        "top": "temperature.max",
        "function": "max",
        "limit": 2,
    }
    rows = await asked(http, **parameters)
    assert [row["device"] for row in rows] == ranking[:2]
    assert [row["temperature"] for row in rows] == [
        {"max": float(peaks[device])} for device in ranking[:2]
    ]
    span: dict[str, Any] = {"from": BASE_MS, "to": BASE_MS + 3 * HOUR_MS}
    answer = await http.get(AGGREGATES, params={**span, **parameters})
    assert answer.json()["truncated"] is True


async def test_the_last_value_is_the_newest_periods(
    http: httpx.AsyncClient, readings: list[Reading]
) -> None:
    rows = await asked(http, by="device", function="last", resolution="minute")
    for row in rows:
        values = [
            (at, v) for device, at, v in readings if device == row["device"] and v is not None
        ]
        assert row["temperature"] == {"last": float(max(values)[1])}


async def test_filters_say_which_devices(http: httpx.AsyncClient, readings: list[Reading]) -> None:
    async def devices(**parameters: Any) -> list[str]:
        return [row["device"] for row in await asked(http, by="device", **parameters)]

    assert await devices(region="north") == ["a", "b"]
    assert await devices(type="weather_station", device_id=["a", "b", "d"]) == ["a", "d"]
    for text in ("north' OR '1'='1", "'; DROP TABLE devices --", "{p1:String}"):
        assert await devices(region=text) == await devices(type=text) == []


async def test_a_resolution_is_chosen_by_the_span_and_said(http: httpx.AsyncClient) -> None:
    for hours, resolution in ((3, "minute"), (4, "hour"), (14 * 24, "hour"), (15 * 24, "day")):
        span = {"from": BASE_MS, "to": BASE_MS + hours * HOUR_MS}
        answer = (await http.get(AGGREGATES, params=span)).json()
        assert (answer["resolution"], answer["items"]) == (resolution, [])
        assert datetime.fromisoformat(answer["from"]) == datetime.fromtimestamp(BASE_MS / 1000, UTC)


async def test_what_cannot_be_is_422(http: httpx.AsyncClient) -> None:
    wrong: list[dict[str, Any]] = [
        {"by": "status"}, {"function": "median"}, {"top": "temperature.sum"}, {"limit": 10_001},
        {"resolution": "raw"}, {"resolution": "minute", "from": 0}, {"device_id": "a'b"},
        {"metric": "1"}, {"from": 2, "to": 1}, {"top": "temperature.max) --"},
    ]  # fmt: skip
    for parameters in wrong:
        assert (await http.get(AGGREGATES, params=parameters)).status_code == 422, parameters
