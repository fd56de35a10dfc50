"""The first admin, on the real ClickHouse."""

import io
import re
from pathlib import Path

import pytest

from sensor_shared.adapters.database import Database
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import ADMIN_PASSWORD, log_in, running, settings_of, until

pytestmark = pytest.mark.integration


async def test_a_generated_password_is_shown_once_and_works(lines: Lines, key_file: Path) -> None:
    settings = settings_of(lines, key_file, admin_password=None)
    shown = io.StringIO()
    async with running(settings, shown) as auth:
        await until(auth.ready)
        [password] = re.findall(r"password '([^']{20,})'", shown.getvalue())
        body = {"username": "admin", "password": password}
        async with rest.client(auth) as http:
            answer = await http.post("/auth/login", json=body)
            assert answer.status_code == 200
    again = io.StringIO()
    async with running(settings, again) as auth:
        await until(auth.ready)
    assert again.getvalue() == ""


async def test_a_password_that_was_given_is_not_shown(lines: Lines, key_file: Path) -> None:
    shown = io.StringIO()
    async with running(settings_of(lines, key_file), shown) as auth:
        await until(auth.ready)
        async with rest.client(auth) as http:
            await log_in(http)
    assert shown.getvalue() == ""


async def test_of_two_replicas_one_makes_the_admin(lines: Lines, key_file: Path) -> None:
    settings = settings_of(lines, key_file, admin_password=None)
    shown = io.StringIO()
    async with running(settings, shown) as one, running(settings, shown) as other:
        await until(lambda: one.ready() and other.ready())
        [password] = re.findall(r"password '([^']{20,})'", shown.getvalue())
        async with rest.client(other) as http:
            body = {"username": "admin", "password": password}
            assert (await http.post("/auth/login", json=body)).status_code == 200


async def test_it_starts_while_clickhouse_is_away_and_makes_the_admin_afterwards(
    lines: Lines, key_file: Path
) -> None:
    await lines.clickhouse.cut()
    async with running(settings_of(lines, key_file)) as auth, rest.client(auth) as http:
        assert (await http.get("/health")).status_code == 503
        body = {"username": "admin", "password": ADMIN_PASSWORD}
        assert (await http.post("/auth/login", json=body)).status_code == 503
        assert not auth.ready()
        assert auth.alive()
        await lines.clickhouse.mend()
        await until(auth.ready)
        assert (await http.get("/health")).json() == {"status": "ok"}
        await log_in(http)


async def test_a_password_given_later_does_not_replace_the_first(
    lines: Lines, key_file: Path
) -> None:
    async with running(settings_of(lines, key_file)) as auth:
        await until(auth.ready)
    async with running(settings_of(lines, key_file, admin_password="quite another one")) as auth:
        await until(auth.ready)
        async with rest.client(auth) as http:
            await log_in(http)


async def test_a_hash_of_another_cost_is_replaced_at_the_next_login(
    lines: Lines, key_file: Path, database: Database
) -> None:
    async with running(settings_of(lines, key_file)) as auth:
        await until(auth.ready)
    dearer = settings_of(lines, key_file).model_copy(
        update={
            "passwords": settings_of(lines, key_file).passwords.model_copy(update={"time_cost": 2})
        }
    )
    async with running(dearer) as auth, rest.client(auth) as http:
        await until(auth.ready)
        await log_in(http)
        sql = "SELECT password_hash, version FROM users FINAL WHERE username = 'admin'"
        [(password_hash, version)] = await database.rows(sql)
        assert "t=2" in password_hash
        assert version == 2
        await log_in(http)
