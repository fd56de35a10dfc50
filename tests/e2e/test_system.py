"""A reading's whole way: simulated device to Kafka, store, latest value, trend, alert, mail."""

import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from twinup.alert.v1 import alert_pb2, alert_pb2_grpc

from .system_under_test import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]

FACTS = (
    "gateway auth alerts_http alerts_grpc consumer analytics kafka clickhouse redis mqtt smtp mail "
    "dispatcher producer_metrics clickhouse_headers"
)


@pytest.fixture(scope="module")
def token(system: System) -> str:
    answer = httpx.post(
        f"{system.endpoints['auth']}/auth/login",
        json={"username": "admin", "password": system.secret("admin-password")},
    )
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert tokens["refresh_token"]
    assert tokens["expires_in"] > 0
    access: str = tokens["access_token"]
    return access


@pytest.fixture
def gateway(system: System, token: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=system.endpoints["gateway"], headers=headers) as client:
        yield client


def test_every_address_is_in_the_endpoints_file(system: System) -> None:
    assert set(FACTS.split()) <= system.endpoints.keys()


def test_secrets_are_for_their_owner_only(system: System) -> None:
    for name in ("admin-password", "service-token"):
        assert (system.run_dir / name).stat().st_mode & 0o777 == 0o600


def test_readings_are_stored_as_fast_as_devices_send_them(system: System) -> None:
    """The count grows by the number of devices a second; faults take a few of them away."""

    def stored() -> int:
        (row,) = system.query("SELECT count() AS n FROM readings FINAL")
        return int(row["n"])

    def keeps_up() -> bool:
        first, started = stored(), time.monotonic()
        time.sleep(5)
        return (stored() - first) / (time.monotonic() - started) > 0.9 * system.DEVICES

    # At once on a free machine; beside other work, as soon as the start's backlog is stored.
    wait_for(keeps_up, "readings to be stored at the rate of the devices", seconds=120)


def test_every_type_and_region_reports(system: System) -> None:
    def complete() -> bool:
        rows = system.query("SELECT DISTINCT device_type, region FROM devices FINAL")
        types, regions = ({row[column] for row in rows} for column in ("device_type", "region"))
        return len(types) == 5 and len(regions) == 5

    wait_for(complete, "devices of five types in five regions")


def test_the_gateway_answers_with_a_latest_value_of_these_seconds(gateway: httpx.Client) -> None:
    def fresh() -> dict[str, Any] | None:
        devices = gateway.get("/api/v1/devices", params={"page_size": 10}).json()["items"]
        for device in devices:
            answer = gateway.get(f"/api/v1/devices/{device['device_id']}/metrics")
            if answer.status_code != 200:
                continue
            latest: dict[str, Any] = answer.json()
            age = time.time() - datetime.fromisoformat(latest["timestamp"]).timestamp()
            if age < 3:
                return latest
        return None

    latest = wait_for(fresh, "a latest value less than 3 s old")
    assert {"temperature", "humidity", "pressure", "status", "location"} <= latest.keys()


def test_the_gateway_answers_with_history(gateway: httpx.Client) -> None:
    device = gateway.get("/api/v1/devices", params={"page_size": 1}).json()["items"][0]

    def history() -> list[dict[str, Any]] | None:
        answer = gateway.get(f"/api/v1/devices/{device['device_id']}/history")
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items if len(items) >= 3 else None

    items = wait_for(history, "three readings of a device")
    assert len({item["timestamp"] for item in items}) == len(items)


def test_nothing_is_answered_without_a_token(system: System) -> None:
    base = system.endpoints["gateway"]
    assert httpx.get(f"{base}/api/v1/devices").status_code == 401
    assert httpx.get(f"{base}/api/v1/health").status_code == 200


def test_failed_measurements_are_rejects_with_their_reason(system: System) -> None:
    """A reading of -999 in all metrics is no measurement, and no value of -999 is stored."""
    wait_for(
        lambda: system.query("SELECT 1 FROM rejects WHERE reason = 'no_measurement' LIMIT 1"),
        "a reject",
        seconds=120,
    )
    (row,) = system.query("SELECT countIf(temperature = -999) AS n FROM readings")
    assert int(row["n"]) == 0


def test_trends_are_published_by_mqtt(system: System) -> None:
    address = urlsplit(system.endpoints["mqtt"])
    topics: list[str] = []
    seen = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def received(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        topics.append(message.topic)
        seen.set()

    client.on_message = received
    client.connect(str(address.hostname), address.port or 1883)
    client.subscribe("analytics/device/+/trend", qos=1)
    client.loop_start()
    try:
        assert seen.wait(180), "no trend in three minutes"
    finally:
        client.loop_stop()
        client.disconnect()
    assert re.fullmatch(r"analytics/device/[a-z]+_[a-z]+_\d{6}/trend", topics[0])


def test_an_overheated_industrial_device_is_an_alert_in_history_and_mail_and_by_rest(
    system: System, gateway: httpx.Client
) -> None:
    """Sent as a plain record like the original's, so the alert does not depend on chance."""
    device = "industrial_sensor_999999"
    event = {
        "ce-specversion": "1.0",
        "ce-id": "overheated",
        "ce-source": "urn:test:e2e",
        "ce-type": "com.twinup.sensor.readings.v1",
        "content-type": "application/json",
    }
    reading = {"device_id": device, "timestamp": int(time.time() * 1000), "temperature": 117.5}
    for _ in range(2):  # a repeated delivery changes nothing
        answer = httpx.post(system.endpoints["consumer"], headers=event, json=reading)
        assert answer.status_code == 202, answer.text

    metadata = (("authorization", f"Bearer {system.secret('service-token')}"),)
    with grpc.insecure_channel(system.endpoints["alerts_grpc"]) as channel:
        stub = alert_pb2_grpc.AlertServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetAlertHistory(alert_pb2.AlertHistoryRequest())
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        request = alert_pb2.AlertHistoryRequest(device_id=device)

        def stored() -> alert_pb2.AlertHistoryResponse | None:
            found = stub.GetAlertHistory(request, metadata=metadata)
            return found if found.alerts else None

        history = wait_for(stored, "the alert in the history")
    assert history.total_count == 1
    (alert,) = history.alerts
    assert alert.alert_type == alert_pb2.ALERT_TYPE_TEMPERATURE_HIGH
    assert alert.severity == alert_pb2.ALERT_SEVERITY_CRITICAL
    assert (alert.temperature, alert.threshold) == (117.5, 90.0)

    page = gateway.get("/api/v1/alerts", params={"device_id": device, "state": "open"}).json()
    assert [(one["alert_id"], one["value"]) for one in page["items"]] == [(alert.alert_id, 117.5)]
    where = f"/api/v1/alerts/{alert.alert_id}"
    known = gateway.post(f"{where}/acknowledge", json={"note": "on my way"})
    assert known.json()["acknowledged_by"] == "admin"
    changes = gateway.get(where).json()["changes"]
    assert [(one["kind"], one["by"]) for one in changes] == [
        ("raised", "system"),
        ("acknowledged", "admin"),
    ]

    (row,) = system.query(f"SELECT count() AS n FROM readings WHERE device_id = '{device}'")  # noqa: S608
    assert int(row["n"]) == 1

    wait_for(
        lambda: device in httpx.get(f"{system.endpoints['mail']}/messages").text,
        "the alert in the mail sink",
        seconds=90,
    )


def test_status_lists_every_process_as_running(system: System) -> None:
    shown = system.command("status").stdout
    for name in ("kafka", "clickhouse", "redis", "mqtt", "consumer", "analytics", "alerts"):
        assert re.search(rf"\b{name}\b", shown), shown
    for name in ("auth", "gateway", "dispatcher", "producer"):
        assert re.search(rf"\b{name}\b", shown), shown


def test_no_process_carries_pandas(system: System) -> None:
    """pyarrow takes it along wherever it can be imported: 37 MB of each process."""
    carry = [
        process.cmdline()
        for process in system.processes()
        if any("/pandas/" in mapped.path for mapped in process.memory_maps())
    ]
    assert not carry


def test_a_second_up_says_that_it_runs_already(system: System) -> None:
    again = system.command("up")
    assert again.returncode == 0
    assert "running already" in again.stdout + again.stderr
