"""What every REST service does with errors, ids, headers and bodies."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import APIRouter
from prometheus_client import REGISTRY
from pydantic import BaseModel, Field, ValidationError

from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.runtime.http.application import rest_service
from sensor_shared.runtime.http.cors import cross_origin
from sensor_shared.runtime.http.exchange import SECURITY_HEADERS, Exchange
from sensor_shared.runtime.http.settings import CorsSettings, RestServerSettings
from sensor_shared.testing.openapi import gaps

SECRET = "swordfish"


class Letter(BaseModel):
    text: str = Field(max_length=4)


def routes() -> APIRouter:
    router = APIRouter(tags=["things"])

    @router.get("/things/{number}", summary="A thing")
    async def thing(number: int) -> dict[str, int]:
        """Answers the number."""
        return {"number": number}

    @router.post("/letters", summary="A letter")
    async def letter(letter: Letter) -> Letter:
        """Answers the letter."""
        return letter

    @router.get("/broken", summary="Fails")
    async def broken() -> dict[str, str]:
        """Fails in a way that nobody foresaw."""
        raise RuntimeError(f"password is {SECRET}")

    @router.get("/away", summary="Cannot answer")
    async def away() -> dict[str, str]:
        """Fails because a part is away."""
        raise DatabaseAwayError(f"no answer from {SECRET}")

    return router


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    service = rest_service(
        title="t",
        description="d",
        routers=[routes()],
        tags=[{"name": "things", "description": "Things."}],
    )
    exchange = Exchange("test", service, RestServerSettings(max_body_bytes=100))
    transport = httpx.ASGITransport(exchange)
    async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", "/things/1/", b"", 404),
        ("DELETE", "/things/1", b"", 405),
        ("GET", "/things/x", b"", 422),
        ("POST", "/letters", b"{", 422),
        ("POST", "/letters", b"\x80", 400),
        ("POST", "/letters", b"[" * 100, 422),
        ("POST", "/letters", b" " * 101, 413),
        ("GET", "/broken", b"", 500),
        ("GET", "/away", b"", 503),
    ],
)
async def test_every_error_is_a_problem_document(
    http: httpx.AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = await http.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem.keys() >= {"type", "title", "detail"}
    assert ("errors" in problem) == (status == 422)
    for word in (SECRET, "Traceback", "RuntimeError", ".py"):
        assert word not in answer.text


async def test_405_names_the_methods_that_there_are(http: httpx.AsyncClient) -> None:
    assert (await http.delete("/things/1")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_an_invalid_value_is_named_but_not_repeated(http: httpx.AsyncClient) -> None:
    answer = await http.post("/letters", json={"text": SECRET})
    assert answer.json()["errors"] == [
        {"location": "body.text", "detail": "String should have at most 4 characters"}
    ]
    assert SECRET not in answer.text


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(http: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10):
            sent += 50
            yield b" " * 50

    headers = {"content-type": "application/json"}
    answer = await http.post("/letters", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert sent == 150


async def test_a_harmless_request_id_is_kept_and_another_replaced(
    http: httpx.AsyncClient,
) -> None:
    kept = await http.get("/things/1", headers={"x-request-id": "a-1.B_2"})
    assert kept.headers["x-request-id"] == "a-1.B_2"
    for strange in (b"a b", b"x" * 65, b"a;b", "ä".encode(), b""):
        answer = await http.get("/things/1", headers={b"x-request-id": strange})
        assert len(answer.headers["x-request-id"]) == 36, strange


async def test_the_security_headers_are_on_every_answer(http: httpx.AsyncClient) -> None:
    for path in ("/things/1", "/nothing", "/broken", "/openapi.json"):
        headers = (await http.get(path)).headers
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS, path
        kept = path == "/openapi.json"
        assert headers["cache-control"] == ("public, max-age=60" if kept else "no-store")
        assert "server" not in headers


async def test_an_error_is_logged_once_with_the_requests_id(http: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        await http.get("/broken", headers={"x-request-id": "the-id"})
    [line] = lines
    assert line["event"] == "request failed"
    assert line["request_id"] == "the-id"
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_requests_are_counted_by_route_not_by_path(http: httpx.AsyncClient) -> None:
    def count(route: str, status: str) -> float:
        labels = {"function": "test", "route": route, "status": status}
        return REGISTRY.get_sample_value("sensor_http_requests_total", labels) or 0.0

    before = count("/things/{number}", "200"), count("other", "404")
    for path in ("/things/1", "/things/2", "/some/path", "/another"):
        await http.get(path)
    assert (count("/things/{number}", "200"), count("other", "404")) == (
        before[0] + 2,
        before[1] + 2,
    )
    exposed = (await http.get("/metrics")).text
    assert 'sensor_http_requests_total{function="test"' in exposed


async def test_the_document_is_complete_and_made_once(http: httpx.AsyncClient) -> None:
    document: dict[str, Any] = (await http.get("/openapi.json")).json()
    assert gaps(document) == []
    again = await http.get("/openapi.json")
    assert again.json() == document
    assert again.headers["cache-control"] == "public, max-age=60"
    tag = {"If-None-Match": again.headers["etag"]}
    assert (await http.get("/openapi.json", headers=tag)).status_code == 304
    assert set(document["paths"]["/letters"]["post"]["responses"]) == {
        "200", "400", "408", "413", "422", "500",
    }  # fmt: skip
    assert document["paths"]["/broken"]["get"]["security"] == []


def test_gaps_are_found() -> None:
    operation = {"responses": {"200": {}, "404": {}}, "tags": ["x"], "security": [{"bearer": []}]}
    document = {"paths": {"/a": {"get": operation}}, "other": {"$ref": "#/components/none"}}
    assert set(gaps(document)) == {
        "#/components/none leads nowhere",
        "GET /a: no summary",
        "GET /a: no description",
        "GET /a: x is not described",
        "GET /a: 401 is not described",
        "GET /a: 403 is not described",
        "GET /a: 429 is not described",
        "GET /a: 503 is not described",
        "GET /a: 500 is not described",
        "GET /a: 200 has no schema",
        "GET /a: 404 is no problem document",
    }


async def answered(
    settings: CorsSettings, method: str, path: str, headers: dict[str, str]
) -> httpx.Response:
    service = rest_service(title="t", description="d", routers=[routes()], tags=[])
    exchange = Exchange("test", cross_origin(service, settings), RestServerSettings())
    transport = httpx.ASGITransport(exchange)
    async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
        return await client.request(method, path, headers=headers)


ORIGIN = "https://dashboard.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization, x-api-key",
}


async def test_no_page_of_another_origin_is_let_in_by_default() -> None:
    answer = await answered(CorsSettings(), "GET", "/things/1", {"Origin": ORIGIN})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    answer = await answered(CorsSettings(), "OPTIONS", "/things/1", PREFLIGHT)
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_page_of_an_origin_that_is_named_is_let_in_without_credentials() -> None:
    settings = CorsSettings(origins=f"{ORIGIN}, https://other.example.com", max_age=60)
    preflight = await answered(settings, "OPTIONS", "/things/1", PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert preflight.headers["access-control-max-age"] == "60"
    assert "X-API-Key" in preflight.headers["access-control-allow-headers"]
    for path, status in (("/things/1", 200), ("/nothing", 404), ("/broken", 500)):
        answer = await answered(settings, "GET", path, {"Origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in answer.headers["vary"]
        assert "RateLimit" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_another_origin_is_refused_with_a_problem_document() -> None:
    settings = CorsSettings(origins=ORIGIN)
    headers = PREFLIGHT | {"Origin": "https://evil.example.com"}
    answer = await answered(settings, "OPTIONS", "/things/1", headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in answer.headers
    for origin in ("null", f"{ORIGIN}.evil.example.com", "http://dashboard.example.com"):
        answer = await answered(settings, "GET", "/things/1", {"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origins", ["dashboard.example.com", "https://a/b", "ftp://a", "https://"])
def test_what_is_no_origin_is_a_mistake_of_the_settings(origins: str) -> None:
    with pytest.raises(ValidationError):
        CorsSettings(origins=origins)


async def test_hsts_is_sent_only_when_it_is_configured(http: httpx.AsyncClient) -> None:
    assert "strict-transport-security" not in (await http.get("/things/1")).headers
