"""The operator's way back in, on the real Redis and ClickHouse."""

import asyncio
import io
import re
from typing import Any

import httpx
import pytest

from sensor_auth import recovery
from sensor_shared.testing.parts import Lines

from .conftest import PASSWORD, bearer, log_in

pytestmark = pytest.mark.integration


def environment(lines: Lines) -> dict[str, str]:
    return {
        f"TWINUP_{section.upper()}_{key.upper()}": str(value)
        for section, keys in lines.sections.items()
        for key, value in keys.items()
    } | {"TWINUP_PASSWORDS_MEMORY_KIB": "64", "TWINUP_PASSWORDS_TIME_COST": "1"}


async def recovered(lines: Lines, *words: str, given: str = "") -> str:
    out = io.StringIO()
    options: dict[str, Any] = {"given": io.StringIO(given), "out": out}
    await asyncio.to_thread(recovery.main, words, environment(lines), **options)
    return out.getvalue()


async def test_a_disabled_user_becomes_an_admin_with_a_password_shown_once(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    said = await recovered(lines, "gone")
    [password] = re.findall(r"password '([^']{20,})'", said)
    body = {"username": "gone", "password": password}
    tokens = (await http.post("/auth/login", json=body)).json()
    headers = bearer(tokens["access_token"])
    assert (await http.get("/auth/admin/users", headers=headers)).status_code == 200
    async with asyncio.timeout(20):
        parameters = {"event": "password.reset", "username": "gone"}
        while not (  # noqa: ASYNC110
            await http.get("/auth/admin/events", params=parameters, headers=headers)
        ).json()["events"]:
            await asyncio.sleep(0.1)


async def test_sessions_of_the_user_end(lines: Lines, http: httpx.AsyncClient) -> None:
    tokens = await log_in(http, "user")
    assert await recovered(lines, "user", "--stdin", given=f"{PASSWORD} anew\n") == (
        "the password is set\n"
    )
    headers = bearer(tokens["access_token"])
    assert (await http.get("/auth/profile", headers=headers)).status_code == 401
    body = {"username": "user", "password": f"{PASSWORD} anew"}
    assert (await http.post("/auth/login", json=body)).status_code == 200


async def test_a_mistake_is_told_and_changes_nothing(lines: Lines, http: httpx.AsyncClient) -> None:
    for words, given, message in (
        (["nobody"], "", "no user 'nobody'"),
        (["user", "--stdin"], "short\n", "12 characters"),
    ):
        with pytest.raises(SystemExit, match=message):
            await recovered(lines, *words, given=given)
    await log_in(http, "user")


async def test_without_redis_the_password_is_shown_all_the_same(
    lines: Lines, http: httpx.AsyncClient
) -> None:
    await lines.redis.cut()
    out = io.StringIO()
    with pytest.raises(SystemExit, match="sessions have not ended"):
        await asyncio.to_thread(recovery.main, ["user"], environment(lines), out=out)
    [password] = re.findall(r"password '([^']{20,})'", out.getvalue())
    await lines.redis.mend()
    async with asyncio.timeout(90):  # what Redis kept of the user is gone in a minute at most
        body = {"username": "user", "password": password}
        assert (await http.post("/auth/login", json=body)).status_code == 200
