"""Every operation of both documents, by every role and every wrong credential: the table holds.

What is called, and with which values, comes from /openapi.json alone; a new operation is in.
"""

import base64
from collections.abc import Iterator

import pytest
import requests

from sensor_shared.contracts.access import PERMISSIONS, Action, Role
from sensor_shared.runtime.responses import PROBLEM
from sensor_shared.testing.tokens import forged

from .services import NAMES, PASSWORD, Services, bearer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("rest")]


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_open_to_everybody_or_needs_exactly_one_action(
    services: Services, name: str
) -> None:
    for operation in services.operations(name):
        assert len(operation.actions) == bool(operation.schemes), operation


def test_every_action_of_the_table_is_needed_somewhere(services: Services) -> None:
    """What no operation needs has no place in the table."""
    needed = {action for _, operation in services.guarded() for action in operation.actions}
    assert needed == set(Action)


@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_the_table_says_and_nothing_else(services: Services, role: Role) -> None:
    for name, operation in services.guarded():
        answer = services.call(name, operation, bearer(services.log_in(role).access))
        if all(role in PERMISSIONS[action] for action in operation.actions):
            assert answer.status_code not in {401, 403}, operation
        else:
            assert answer.status_code == 403, operation
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
            _is_a_problem(answer)


def test_a_wrong_token_is_401_everywhere_whatever_is_wrong_with_it(services: Services) -> None:
    good = services.log_in(Role.ADMIN)
    ended = services.log_in(Role.ADMIN).access
    logout = f"{services.urls['auth']}/auth/logout"
    assert requests.post(logout, headers=bearer(ended), timeout=10).status_code == 204
    wrong = {
        **forged(good.access, services.key),
        "session ended": ended,
        "a real refresh token": good.refresh,
        "an API key that nobody made": f"twk_{'a' * 43}",
    }
    for name, operation in services.guarded():
        for what, token in wrong.items():
            answer = services.call(name, operation, bearer(token))
            assert answer.status_code == 401, (operation, what)
            assert answer.headers["www-authenticate"].startswith("Bearer"), (operation, what)
            _is_a_problem(answer)
            assert not token or token not in answer.text, (operation, what)
    verify = f"{services.urls['auth']}/auth/verify"
    assert requests.post(verify, headers=bearer(good.access), timeout=10).status_code == 200


def test_without_a_bearer_token_it_is_401_everywhere(services: Services) -> None:
    token = services.log_in(Role.ADMIN).access
    basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    headers = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": token},
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Bearer{token}"},
        {"X-Authorization": f"Bearer {token}"},
        {"Cookie": f"access_token={token}; Authorization=Bearer {token}"},
    ]
    for name, operation in services.guarded():
        for without in headers:
            answer = services.call(name, operation, without)
            assert answer.status_code == 401, (operation, without)
            assert "www-authenticate" in answer.headers, (operation, without)
            _is_a_problem(answer)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_another_scheme_that_nobody_made_is_401(services: Services, name: str) -> None:
    components = services.documents[name]["components"].get("securitySchemes", {})
    for operation in services.operations(name):
        for scheme in operation.schemes:
            described = components[scheme]
            for value in ("a", "twk_" + "a" * 43, "A" * 43, "' OR 1=1 --", "*"):
                if described["type"] != "apiKey":
                    continue
                given = {described["name"]: value}
                in_query = described["in"] == "query"
                answer = services.call(
                    name, operation, {} if in_query else given, **(given if in_query else {})
                )
                assert answer.status_code == 401, (operation, scheme, value)


@pytest.mark.parametrize("role", Role)
def test_a_ticket_opens_its_stream_once_and_nothing_else(services: Services, role: Role) -> None:
    token = services.log_in(role).access
    streams = [
        operation.template for _, operation in services.guarded() if "ticket" in operation.schemes
    ]
    assert streams
    for stream in streams:
        url = f"{services.urls['gateway']}{stream}/tickets"
        for name, operation in services.guarded():
            made = requests.post(url, headers=bearer(token), timeout=10)
            assert made.status_code == 201
            ticket = made.json()["ticket"]
            opens = operation.template == stream and all(
                role in PERMISSIONS[action] for action in operation.actions
            )
            first = services.call(name, operation, ticket=ticket)
            assert (first.status_code not in {401, 403}) == opens, operation
            again = services.call(name, operation, ticket=ticket)
            assert again.status_code in {401, 403}, operation


def test_the_credential_is_looked_at_before_anything_else(services: Services) -> None:
    """Whoever has none learns nothing about parameters, bodies and what there is."""
    for name, operation in services.guarded():
        url = services.urls[name] + operation.path
        for path in (url, *_spoilt(services.urls[name], operation.template)):
            for body in (b"", b"{", b'{"a": 1}'):
                answer = requests.request(
                    operation.method,
                    path,
                    params={"page": "x", "limit": "-1", "from": "y"},
                    data=body,
                    headers={"Content-Type": "application/json"},
                    timeout=10,
                )
                assert answer.status_code == 401, (operation, path, body)


@pytest.mark.parametrize("name", NAMES)
def test_an_open_operation_takes_no_notice_of_a_token(services: Services, name: str) -> None:
    for operation in services.operations(name):
        if not operation.schemes:
            without = services.call(name, operation)
            assert without.status_code != 403, operation
            with_wrong = services.call(name, operation, bearer("not-a-token"))
            assert with_wrong.status_code == without.status_code, operation


def _spoilt(url: str, template: str) -> Iterator[str]:
    """The path with a value in its placeholders that no schema allows."""
    if "{" in template:
        start, _, rest = template.partition("{")
        yield f"{url}{start}a'b{rest.partition('}')[2].replace('{', '').replace('}', '')}"


def _is_a_problem(answer: requests.Response) -> None:
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == answer.status_code
