"""What an attacker sends: every operation of both documents answers by a problem, and no more."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from sensor_shared.contracts.access import Role
from sensor_shared.runtime.responses import PROBLEM
from sensor_shared.testing.rest import Operation
from sensor_shared.testing.tokens import forged

from .services import NAMES, PASSWORD, Services, bearer, person

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("rest")]
TELLTALES = (
    *("Traceback", "Error:", "Exception", 'File "', ".py", "site-packages", "DB::", "SELECT "),
    *("clickhouse", "redis.", "127.0.0.1", "$argon2", "PRIVATE KEY"),
)
"""Words of a stack trace, of a part, or of a secret."""
FRAGMENTS = (
    "' OR '1'='1",
    "'; DROP TABLE readings; --",
    "1 UNION ALL SELECT password_hash FROM users",
    "\\' OR sleep(3) = 0 OR \\'",
    "{device:String}",
    "%' FORMAT JSONEachRow",
    "${jndi:ldap://example.com}",
    "{{7*7}}",
    "a\r\nSet-Cookie: stolen=1",
    "a\x00b",
    "\u202e\u0000\ud7ff\U0010ffff",
    "../../../../etc/passwd",
    "A" * 4_000,
    "-1",
    "1e309",
    "999999999999999999999999",
    "NaN",
)
PATHS = (
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/docs/../../../etc/passwd",
    "/docs/..%2f..%2f..%2fetc%2fpasswd",
    "/docs/%252e%252e%252fdocs.py",
    "/docs/docs.js%00.html",
    "//example.com/docs",
    "/docs//docs.js",
    "/%c0%ae%c0%ae/etc/passwd",
    "/%ff%fe",
    "/a%0d%0aSet-Cookie:%20stolen=1",
    "/api/v1/devices/%2e%2e%2fhealth/metrics",
    "/api/v1/devices/a%2fb/metrics",
    "/api/v1/devices/" + "a" * 8_000 + "/metrics",
    "/api/v1/devices/%ef%bc%8e%ef%bc%8e/metrics",
    "/.git/config",
    "/openapi.json/",
    "/" + "a/" * 4_000,
)


def calls(services: Services) -> Iterator[tuple[str, Operation]]:
    """Every operation but those that end their caller's session, whose answers are empty."""
    for name in NAMES:
        for operation in services.operations(name):
            if "logout" not in operation.path:
                yield name, operation


def send(services: Services, name: str, operation: Operation, **changes: Any) -> requests.Response:
    """One call with an admin's token and some of it changed; no more than a problem comes back."""
    headers = bearer(services.attacker().access)
    answer = services.session.request(
        operation.method,
        services.urls[name] + changes.get("path", operation.path),
        params=operation.query | changes.get("query", {}),
        data=changes.get("body", None if operation.body is None else json.dumps(operation.body)),
        headers=headers | {"Content-Type": "application/json"} | changes.get("headers", {}),
        timeout=10,
        stream=True,
        allow_redirects=False,
    )
    try:
        harmless(answer)
    finally:
        answer.close()
    return answer


def harmless(answer: requests.Response) -> None:
    assert answer.status_code < 500, answer.text
    assert "set-cookie" not in answer.headers
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == PROBLEM, answer.text
        assert [word for word in TELLTALES if word in answer.text] == []
        assert len(answer.content) < 5_000


def parameters(services: Services, name: str, operation: Operation, place: str) -> list[str]:
    described = services.documents[name]["paths"][operation.template][operation.method.lower()]
    return [one["name"] for one in described.get("parameters", []) if one["in"] == place]


def test_fragments_in_every_parameter_are_values_or_refused(services: Services) -> None:
    for name, operation in calls(services):
        for parameter in parameters(services, name, operation, "query"):
            for fragment in FRAGMENTS:
                send(services, name, operation, query={parameter: fragment})
        for parameter in parameters(services, name, operation, "path"):
            for fragment in FRAGMENTS:
                given = quote(fragment, safe="")
                path = operation.template.replace(f"{{{parameter}}}", given)
                send(services, name, operation, path=path.replace("{", "").replace("}", ""))
        for parameter in parameters(services, name, operation, "header"):
            for fragment in ("' OR '1'='1", "A" * 4_000, "{{7*7}}", "-1"):
                send(services, name, operation, headers={parameter: fragment})


def test_fragments_in_every_member_of_a_body_are_values_or_refused(services: Services) -> None:
    for name, operation in calls(services):
        if not isinstance(operation.body, dict):
            continue
        for member in operation.body:
            for fragment in (*FRAGMENTS, None, 0, True, [], {}, {"$ne": None}, ["a"] * 1_000):
                body = json.dumps(operation.body | {member: fragment})
                send(services, name, operation, body=body)


def test_bodies_that_are_deep_large_or_no_json_are_refused(services: Services) -> None:
    bodies = (
        b"[" * 15_000,
        b'{"a":' * 3_000,
        b"{" + b'"a":1,' * 2_000 + b'"a":1}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'"' + b"\\u0000" * 1_000 + b'"',
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b"null",
        b"[]",
        b'"text"',
        b"NaN",
        b"{}" * 100,
        b"a" * 50_000,
    )
    for name, operation in calls(services):
        if operation.body is None:
            continue
        for body in bodies:
            answer = send(services, name, operation, body=body)
            assert answer.status_code in {400, 413, 422}, (operation, body[:20])


@pytest.mark.parametrize("name", NAMES)
def test_a_path_leads_nowhere_but_to_operations(services: Services, name: str) -> None:
    """Sent as it is written: a client that is kind would tidy it up first."""
    host = urlsplit(services.urls[name])
    for path in PATHS:
        connection = http.client.HTTPConnection(str(host.hostname), host.port, timeout=10)
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "evil.example.com")
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status in {400, 401, 404, 405, 414, 422, 431}, (path[:60], answer.status)
        assert answer.getheader("set-cookie") is None
        assert "root:" not in text
        assert "evil.example.com" not in f"{text}{answer.headers}"
        connection.close()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_client_calls_itself_is_not_believed(services: Services, name: str) -> None:
    headers = {
        "Host": "evil.example.com",
        "X-Forwarded-Host": "evil.example.com",
        "X-Original-URL": "/auth/admin/roles",
        "X-Rewrite-URL": "/auth/admin/roles",
        "X-HTTP-Method-Override": "DELETE",
        "X-Request-ID": "<script>alert(1)</script>",
    }
    answer = requests.get(
        f"{services.urls[name]}/", headers=headers, timeout=10, allow_redirects=False
    )
    assert answer.headers["location"] == "/docs"
    assert "script" not in answer.headers["x-request-id"]
    assert "evil" not in str(answer.headers)


def test_no_token_makes_a_service_fetch_a_key_from_where_it_says(services: Services) -> None:
    """An address in a token's header (jku, x5u) is an attacker's."""
    asked: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.5)

        def wait() -> None:
            while True:
                try:
                    connection, address = trap.accept()
                except OSError:
                    return
                asked.append(address)
                connection.close()

        thread = threading.Thread(target=wait)
        thread.start()
        elsewhere = f"http://127.0.0.1:{trap.getsockname()[1]}/jwks.json"
        good = services.log_in(Role.ADMIN).access
        for name, operation in services.guarded():
            for token in forged(good, services.key, elsewhere=elsewhere).values():
                assert services.call(name, operation, bearer(token)).status_code == 401
        thread.join()
    assert asked == []


def test_a_refresh_token_used_twice_ends_the_session_for_the_thief_and_the_owner(
    services: Services,
) -> None:
    stolen = services.log_in(Role.USER)
    refresh = f"{services.urls['auth']}/auth/refresh"
    verify = f"{services.urls['auth']}/auth/verify"
    first = requests.post(refresh, json={"refresh_token": stolen.refresh}, timeout=10)
    assert first.status_code == 200
    again = requests.post(refresh, json={"refresh_token": stolen.refresh}, timeout=10)
    assert again.status_code == 401
    for token in (stolen.access, first.json()["access_token"]):
        assert requests.post(verify, headers=bearer(token), timeout=10).status_code == 401
    newest = {"refresh_token": first.json()["refresh_token"]}
    assert requests.post(refresh, json=newest, timeout=10).status_code == 401


def test_an_access_token_carries_no_session_on(services: Services) -> None:
    tokens = services.log_in(Role.USER)
    refresh = f"{services.urls['auth']}/auth/refresh"
    for token in (tokens.access, *forged(tokens.access, services.key).values()):
        answer = requests.post(refresh, json={"refresh_token": token}, timeout=10)
        assert answer.status_code in {401, 422}


def test_the_answer_does_not_tell_whether_there_is_such_a_user(services: Services) -> None:
    url = f"{services.urls['auth']}/auth/login"
    answers = [
        requests.post(url, json={"username": name, "password": "a guess"}, timeout=10)
        for name in (person(Role.USER, 299), "nobody of that name", f"{PASSWORD}", "' OR '1'='1")
    ]
    told = {"x-request-id", "date", "ratelimit"}
    first, *others = [
        (
            answer.status_code,
            answer.content,
            {name: value for name, value in answer.headers.items() if name.lower() not in told},
        )
        for answer in answers
    ]
    assert first[0] == 401
    assert all(other == first for other in others)
