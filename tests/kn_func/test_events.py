"""Events to consumer, analytics and alerts: what both runtimes answer, and what comes of it."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import grpc
import httpx
import pyarrow as pa
import pytest
from confluent_kafka import Consumer as KafkaReader

from sensor_shared.contracts.events import (
    ALERT_REQUESTED_V1,
    ARROW_STREAM,
    PING,
    PLAIN_KAFKA_RECORD,
    READINGS_V1,
    rfc3339,
)
from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

from .conftest import TOKEN
from .serving import Pair

DEVICE = f"kn-func-{uuid.uuid4().hex[:8]}"


def attributes(kind: str = READINGS_V1, content_type: str = "application/json") -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-id": uuid.uuid4().hex,
        "ce-source": "/tests",
        "ce-type": kind,
        "content-type": content_type,
    }


def reading(device: str = DEVICE, *, ago: float = 1.0, **values: float) -> dict[str, Any]:
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    return {"device_id": device, "timestamp": rfc3339(moment), **(values or {"temperature": 20.5})}


def arrow(*rows: Mapping[str, Any]) -> bytes:
    """An Arrow stream of readings."""
    table = pa.Table.from_pylist(
        [{**row, "timestamp": datetime.fromisoformat(row["timestamp"])} for row in rows],
        pa.schema(
            [
                ("device_id", pa.string()),
                ("timestamp", pa.timestamp("ms", "UTC")),
                ("temperature", pa.float64()),
            ]
        ),
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def query(pair: Pair, runtime: str, sql: str, parameters: Mapping[str, str]) -> list[list[Any]]:
    """Asks the database of one runtime."""
    told = pair.environments[runtime]
    answer = httpx.post(
        f"http://127.0.0.1:{told['TWINUP_CLICKHOUSE_PORT']}/",
        params={
            "database": told["TWINUP_CLICKHOUSE_DATABASE"],
            "default_format": "JSONCompact",
            **{f"param_{name}": text for name, text in parameters.items()},
        },
        headers={
            "X-ClickHouse-User": told["TWINUP_CLICKHOUSE_USER"],
            "X-ClickHouse-Key": told["TWINUP_CLICKHOUSE_PASSWORD"],
        },
        content=sql,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    rows: list[list[Any]] = answer.json()["data"]
    return rows


def same_rows(pair: Pair, sql: str, **parameters: str) -> list[list[Any]]:
    """The rows that both runtimes have stored, when they are the same."""
    expected, found = (query(pair, runtime, sql, parameters) for runtime in ("framework", "func"))
    assert found == expected
    return found


def test_readings_in_every_form_are_stored_alike(consumer: Pair) -> None:
    device = f"{DEVICE}-forms"
    structured = {
        **{name.removeprefix("ce-"): text for name, text in attributes().items()},
        "datacontenttype": "application/json",
        "data": reading(device, ago=1, temperature=21.0),
    }
    del structured["content-type"]
    many = [reading(device, ago=ago, temperature=22.0, humidity=50.0) for ago in (2, 3)]
    plain = reading(device, ago=4, pressure=1013.2)
    columns = arrow(*(reading(device, ago=ago) for ago in (5, 6, 7)))
    for headers, body in (
        ({"content-type": "application/cloudevents+json"}, json.dumps(structured).encode()),
        (attributes(), json.dumps(many).encode()),
        (attributes(PLAIN_KAFKA_RECORD), json.dumps(plain).encode()),
        (attributes(content_type=ARROW_STREAM), columns),
    ):
        assert consumer.ask("POST", headers=headers, content=body).status_code == 202
    rows = same_rows(
        consumer,
        "SELECT toString(timestamp), temperature, humidity, pressure FROM readings FINAL "
        "WHERE device_id = {device:String} ORDER BY timestamp",
        device=device,
    )
    assert len(rows) == 7


def test_what_breaks_the_contract_is_kept_with_its_reason(consumer: Pair) -> None:
    bad = {"device_id": f"{DEVICE}-bad", "timestamp": "yesterday", "temperature": 1.0}
    headers = attributes()
    answer = consumer.ask("POST", headers=headers, content=json.dumps([bad, reading()]).encode())
    assert answer.status_code == 202
    sql = "SELECT reason FROM rejects WHERE event_id = {event:String}"
    rows = same_rows(consumer, sql, event=headers["ce-id"])
    assert len(rows) == 1


MALFORMED = {
    "no attributes": ({"content-type": "application/json"}, b"{}", 400),
    "no type": (
        {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests"},
        b"{}",
        400,
    ),
    "structured, no JSON": ({"content-type": "application/cloudevents+json"}, b"{", 400),
    "structured, no type": (
        {"content-type": "application/cloudevents+json"},
        b'{"specversion": "1.0", "id": "1", "source": "/tests"}',
        400,
    ),
    "a batch": ({"content-type": "application/cloudevents-batch+json"}, b"[]", 400),
    "a time that is none": ({**attributes(), "ce-time": "noon"}, b"{}", 400),
    "too large": (attributes(), b" " * (2 * 1024 * 1024 + 1), 413),
}


@pytest.mark.parametrize("name", ["consumer", "analytics", "alerts"])
@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_event_is_told_logged_and_counted(
    request: pytest.FixtureRequest, name: str, case: str
) -> None:
    """The answer is a problem document that says why, the same under both runtimes."""
    pair: Pair = request.getfixturevalue(name)
    headers, body, status = MALFORMED[case]
    counter = f'sensor_function_events_total{{function="{name}",outcome="malformed"}}'
    before = [one.metric(counter) for one in pair.both()]
    answer = pair.ask("POST", headers=headers, content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["detail"]
    assert [one.metric(counter) for one in pair.both()] == [count + 1 for count in before]
    for one in pair.both():
        assert [line for line in one.lines() if line["event"] == "event refused"]


def test_what_is_no_event_at_all_is_answered_alike(consumer: Pair) -> None:
    assert consumer.ask("GET", "/anything").status_code == 404
    assert consumer.ask("HEAD", "/").status_code == 404
    refused = consumer.ask("PUT", "/", content=b"{}")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST, GET")


def test_a_breach_reaches_alerts_by_grpc(consumer: Pair, alerts: Pair) -> None:
    """Consumer and alerts under func, and the call between them."""
    device = f"{DEVICE}-hot"
    body = json.dumps(reading(device, temperature=95.0)).encode()
    assert consumer.ask("POST", headers=attributes(), content=body).status_code == 202
    rows = same_rows(
        alerts,
        "SELECT alert_type, severity, rule_id, value FROM alerts FINAL "
        "WHERE device_id = {device:String}",
        device=device,
    )
    assert len(rows) == 1


def test_a_breach_goes_to_the_topic_while_grpc_is_away(deploy: Any, kafka_broker: str) -> None:
    pair = deploy("consumer", TWINUP_ALERTS_TARGET="127.0.0.1:9")
    device = f"{DEVICE}-away"
    for one in pair.both():
        one.wait_until("/health/readiness", 200)
    body = json.dumps(reading(device, temperature=95.0)).encode()
    assert pair.ask("POST", headers=attributes(), content=body).status_code == 202
    reader = KafkaReader(
        {
            "bootstrap.servers": kafka_broker,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
        }
    )
    reader.subscribe(["sensor-alerts"])
    try:
        found: list[Any] = []
        for _ in range(60):
            if len(found) == 2:
                break
            message = reader.poll(1)
            if message is not None and not message.error() and device in str(message.value()):
                found.append(
                    (message.key(), sorted(dict(message.headers() or {})), message.value())
                )
    finally:
        reader.close()
    assert len(found) == 2
    assert found[0] == found[1]


def test_a_request_for_an_alert_is_recorded_alike(alerts: Pair) -> None:
    device = f"{DEVICE}-asked"
    asked = {
        "alert_id": uuid.uuid4().hex,
        "device_id": device,
        "alert_type": "TEMPERATURE_HIGH",
        "timestamp": rfc3339(datetime.now(UTC)),
        "rule": "temperature-high",
        "metric": "temperature",
        "value": 97.0,
        "threshold": 90.0,
    }
    for _ in range(2):
        headers = attributes(ALERT_REQUESTED_V1)
        answer = alerts.ask("POST", headers=headers, content=json.dumps(asked).encode())
        assert answer.status_code == 202
    sql = "SELECT alert_id, severity FROM alerts FINAL WHERE device_id = {device:String}"
    rows = same_rows(alerts, sql, device=device)
    assert len(rows) == 1
    answer = alerts.ask("POST", headers=attributes(ALERT_REQUESTED_V1), content=b'{"rule": 1}')
    assert answer.status_code == 400
    assert alerts.ask("POST", headers=attributes(READINGS_V1), content=b"{}").status_code == 400
    assert alerts.ask("POST", headers=attributes(PING), content=b"{}").status_code == 202


def test_grpc_is_served_beside_http_and_asks_for_its_token(alerts: Pair) -> None:
    states = []
    for runtime in ("framework", "func"):
        port = alerts.environments[runtime]["TWINUP_GRPC_PORT"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = alert_pb2_grpc.AlertServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.HealthCheck(alert_pb2.HealthCheckRequest(), timeout=10)
            healthy = stub.HealthCheck(
                alert_pb2.HealthCheckRequest(),
                metadata=(("authorization", f"Bearer {TOKEN}"),),
                timeout=10,
            )
        states.append((refused.value.code(), healthy.healthy))
    assert states == [(grpc.StatusCode.UNAUTHENTICATED, True)] * 2


async def test_a_sudden_change_is_published_alike(analytics: Pair, mqtt_broker: Any) -> None:
    told = []
    for runtime, one in zip(("framework", "func"), analytics.both(), strict=True):
        device = f"{DEVICE}-{runtime}"
        rows = [reading(device, ago=3, temperature=20.0), reading(device, temperature=30.5)]
        async with aiomqtt.Client(mqtt_broker.host, mqtt_broker.port) as subscriber:
            await subscriber.subscribe(f"analytics/device/{device}/delta", qos=1)
            body = json.dumps(rows).encode()
            answer = one.client.post("/", headers=attributes(), content=body)
            assert answer.status_code == 202
            async with asyncio.timeout(20):
                message = await anext(aiter(subscriber.messages))
        assert isinstance(message.payload, bytes)
        change = json.loads(message.payload)["metrics"]["temperature"]
        told.append({name: change[name] for name in ("unit", "previous", "value", "change")})
    assert told[0] == told[1] == {"unit": "°C", "previous": 20.0, "value": 30.5, "change": 10.5}
