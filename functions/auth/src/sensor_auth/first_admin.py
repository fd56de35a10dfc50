"""The first admin: made when there is no user at all, as soon as ClickHouse answers."""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import SecretStr

from sensor_auth.domain import ConflictError, SecurityEvent, User
from sensor_auth.passwords import Passwords
from sensor_auth.security_log import SecurityLog
from sensor_auth.users import Users
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.contracts.access import Role
from sensor_shared.telemetry.logs import logger

USERNAME = "admin"
_RETRY_SECONDS = 1.0


class FirstAdmin:
    """Makes the user `admin`, once, whatever the number of replicas.

    The password comes from the settings. Without one it is made, and shown once on
    `shown_on` by the replica whose row ClickHouse took.
    """

    def __init__(
        self,
        users: Users,
        passwords: Passwords,
        password: SecretStr | None,
        security: SecurityLog,
        *,
        shown_on: TextIO,
        now: Callable[[], float] = time.time,
    ):
        self._users = users
        self._passwords = passwords
        self._password = password
        self._security = security
        self._shown_on = shown_on
        self._now = now
        self._made: tuple[User, str] | None = None
        self._log = logger(part="first admin")
        self.settled = False
        """True once it is known that there are users."""

    async def settle(self) -> None:
        """Tries until ClickHouse answers."""
        reported = ""
        while not self.settled:
            try:
                # What was tried before may have got there, and only its answer was lost.
                if self._made or await self._users.none_yet():
                    await self._make()
                self.settled = True
            except (DatabaseAwayError, ClickHouseError) as error:
                # Without the table `users` too: the migrations may still be running.
                if str(error) != reported:
                    reported = str(error)
                    self._log.warning("users cannot be read yet", error=reported[:300])
                await asyncio.sleep(_RETRY_SECONDS)

    async def _make(self) -> None:
        if self._made is None:
            self._made = await self._new()
        admin, password = self._made
        try:
            await self._users.save(admin)
        except ConflictError:
            return  # another replica was first
        self._security.record(
            SecurityEvent.USER_CREATED, username=USERNAME, detail="the first admin"
        )
        if self._password is None:
            self._shown_on.write(
                f"\nFirst start: user {USERNAME!r}, password {password!r}. "
                "It is shown only now.\n\n"
            )
            self._shown_on.flush()

    async def _new(self) -> tuple[User, str]:
        given = self._password
        password = given.get_secret_value() if given else secrets.token_urlsafe(18)
        admin = User(
            username=USERNAME,
            password_hash=await self._passwords.hash(password),
            role=Role.ADMIN,
            email="",
            disabled=False,
            created_at=datetime.fromtimestamp(self._now(), UTC),
            version=1,
        )
        return admin, password
