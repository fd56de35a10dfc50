"""Auth and gateway: the same answers to the same questions under both runtimes."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sensor_shared.contracts.events import ALERT_REQUESTED_V1, rfc3339

from .conftest import PASSWORD
from .serving import Pair
from .test_events import attributes, reading

LOGIN = {"username": "admin", "password": PASSWORD}


@pytest.fixture(scope="session")
def tokens(auth: Pair) -> list[str]:
    """An access token of each runtime's own auth."""
    answers = [one.client.post("/auth/login", json=LOGIN) for one in auth.both()]
    assert [answer.status_code for answer in answers] == [200, 200]
    return [answer.json()["access_token"] for answer in answers]


def test_a_login_is_answered_alike(auth: Pair) -> None:
    masked = r'(?<=_token":")[^"]+'
    answer = auth.ask("POST", "/auth/login", json=LOGIN, masked=masked)
    assert answer.status_code == 200
    assert answer.json()["token_type"]


@pytest.mark.parametrize(
    ("method", "path", "request_", "status"),
    [
        ("POST", "/auth/login", {"json": {**LOGIN, "password": uuid.uuid4().hex}}, 401),
        ("POST", "/auth/login", {"json": {"username": "admin"}}, 422),
        ("POST", "/auth/login", {"content": b"{", "headers": {"content-type": "text/plain"}}, 422),
        ("POST", "/auth/login", {"content": b" " * 20_000}, 413),
        ("POST", "/auth/refresh", {"json": {"refresh_token": "no token"}}, 401),
        ("POST", "/auth/logout", {}, 401),
        ("GET", "/auth/login", {}, 405),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/.well-known/jwks.json", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/docs", {}, 200),
        ("GET", "/health", {}, 200),
    ],
)
def test_auth_answers_alike(
    auth: Pair, method: str, path: str, request_: dict[str, Any], status: int
) -> None:
    assert auth.ask(method, path, **request_).status_code == status


def test_the_gateway_shows_what_the_consumer_stored(
    consumer: Pair, gateway: Pair, tokens: list[str]
) -> None:
    device = f"kn-func-{uuid.uuid4().hex[:8]}"
    body = json.dumps(reading(device, temperature=21.5)).encode()
    assert consumer.ask("POST", headers=attributes(), content=body).status_code == 202
    now = datetime.now(UTC)
    span = f"from={rfc3339(now - timedelta(hours=1))}&to={rfc3339(now + timedelta(hours=1))}"
    for path in (
        f"/api/v1/devices/{device}/metrics",
        f"/api/v1/devices/{device}/history?{span}",
    ):
        answer = gateway.ask("GET", path, tokens=tokens)
        assert answer.status_code == 200
        assert "21.5" in answer.text
    listed = gateway.ask("GET", "/api/v1/devices?limit=1", tokens=tokens)
    assert listed.status_code == 200


def test_the_gateway_shows_alerts_that_it_asks_of_the_alert_service(
    alerts: Pair, gateway: Pair, tokens: list[str]
) -> None:
    device = f"kn-func-{uuid.uuid4().hex[:8]}"
    asked = {
        "alert_id": uuid.uuid4().hex,
        "device_id": device,
        "alert_type": "TEMPERATURE_HIGH",
        "timestamp": rfc3339(datetime.now(UTC)),
        "rule": "temperature-high",
    }
    body = json.dumps(asked).encode()
    sent = alerts.ask("POST", headers=attributes(ALERT_REQUESTED_V1), content=body)
    assert sent.status_code == 202
    times = r'(?<=_at":")[^"]+'
    path = f"/api/v1/alerts?device_id={device}"
    answer = gateway.ask("GET", path, tokens=tokens, masked=times)
    assert [one["alert_id"] for one in answer.json()["items"]] == [asked["alert_id"]]
    path = f"/api/v1/alerts/{asked['alert_id']}/acknowledge"
    known = gateway.ask("POST", path, tokens=tokens, masked=times, json={})
    assert known.json()["acknowledged_by"] == "admin"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/devices/nobody/metrics", 404),
        ("/api/v1/devices/no%20id/metrics", 422),
        ("/api/v1/devices/a/history?from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z", 422),
        ("/api/v1/nowhere", 404),
    ],
)
def test_the_gateway_refuses_alike(
    gateway: Pair, tokens: list[str], path: str, status: int
) -> None:
    assert gateway.ask("GET", path, tokens=tokens).status_code == status


def test_without_a_token_the_gateway_is_closed_and_its_health_is_open(gateway: Pair) -> None:
    closed = gateway.ask("GET", "/api/v1/devices")
    assert closed.status_code == 401
    assert closed.headers["www-authenticate"].startswith("Bearer")
    assert gateway.ask("GET", "/api/v1/devices", tokens=["wrong", "wrong"]).status_code == 401
    assert gateway.ask("GET", "/api/v1/health").status_code == 200
    assert gateway.ask("GET", "/openapi.json").status_code == 200


def test_a_request_id_is_kept(gateway: Pair) -> None:
    for one in gateway.both():
        answer = one.client.get("/api/v1/health", headers={"x-request-id": "kn-func-1"})
        assert answer.headers["x-request-id"] == "kn-func-1"
