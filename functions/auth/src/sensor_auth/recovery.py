"""Lets an operator of the machine back in when no admin can log in any more.

`python -m sensor_auth.recovery admin` gives a user another password, which is shown once, ends the
user's sessions, and makes the user an admin who may log in. It needs ClickHouse, where users are
kept, by the settings that auth has; Redis too, unless nothing of auth runs. `--stdin` reads the
password from standard input instead of making one.
"""

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from clickhouse_connect.driver.exceptions import ClickHouseError

from sensor_auth.domain import (
    ConflictError,
    SecurityEvent,
    UnavailableError,
    UnknownError,
    WeakPasswordError,
)
from sensor_auth.passwords import Passwords
from sensor_auth.security_log import SecurityLog
from sensor_auth.sessions import Sessions
from sensor_auth.settings import PasswordSettings
from sensor_auth.users import Users
from sensor_shared.adapters import redis
from sensor_shared.adapters.clickhouse import ClickHouseSettings
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.redis import RedisSettings
from sensor_shared.contracts.access import Role
from sensor_shared.runtime.settings import Settings, SettingsError
from sensor_shared.telemetry.logs import LoggerSettings, configure

_DAY_SECONDS = 24 * 60 * 60


class RecoverySettings(Settings):
    """What the command reads from its environment."""

    clickhouse: ClickHouseSettings = ClickHouseSettings()
    redis: RedisSettings = RedisSettings()
    passwords: PasswordSettings = PasswordSettings()


async def recover(
    settings: RecoverySettings, username: str, password: str | None
) -> tuple[str, str]:
    """Makes the user an admin who may log in with a new password.

    Returns:
        The password, and what went wrong although it holds: the user's sessions may still stand.

    Raises:
        UnknownError: when there is no such user.
        WeakPasswordError: when the password given is no good.
        ConflictError: when the account is changed by somebody else at the same time.
        DatabaseAwayError, ClickHouseError: when ClickHouse does not do it.
    """
    client = redis.connect(settings.redis)
    database = Database(settings.clickhouse)
    passwords = Passwords(settings.passwords)
    users = Users(database, client)
    sessions = Sessions(client, database, life=_DAY_SECONDS, most=1, repeat=0)
    security = SecurityLog(database)
    try:
        if password is not None:
            passwords.check_new(password, username)
        new = password or secrets.token_urlsafe(18)
        user = await users.stored(username)
        if user is None or user.deleted:
            raise UnknownError(f"no user {username!r}")
        changed = user.changed(
            password_hash=await passwords.hash(new), role=Role.ADMIN, disabled=False
        )
        await users.save(changed)
        security.record(
            SecurityEvent.PASSWORD_RESET, username=username, detail="by an operator of the machine"
        )
        try:
            await sessions.end_all(username, "password", before=changed.version)
        except UnavailableError as error:
            return new, f"the user's sessions have not ended: {error}"
        return new, ""
    finally:
        await security.stop()
        passwords.close()
        await client.aclose()
        await database.close()


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    given: TextIO = sys.stdin,
    out: TextIO = sys.stdout,
) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_auth.recovery", description=__doc__)
    parser.add_argument("username")
    parser.add_argument("--stdin", action="store_true", help="read the password there")
    options = parser.parse_args(arguments)
    configure(LoggerSettings(level="warning", format="console"))
    try:
        settings = RecoverySettings.load(os.environ if environ is None else environ)
        password = given.readline().rstrip("\r\n") if options.stdin else None
        shown, trouble = asyncio.run(recover(settings, options.username, password))
    except (
        SettingsError,
        UnknownError,
        WeakPasswordError,
        ConflictError,
        DatabaseAwayError,
        ClickHouseError,
    ) as error:
        sys.exit(str(error))
    out.write(
        "the password is set\n"
        if options.stdin
        else f"user {options.username!r}, password {shown!r}. It is shown only now.\n"
    )
    if trouble:
        sys.exit(trouble)


if __name__ == "__main__":
    main()
