"""What admins do with the accounts of others.

One change at a time, whatever the number of replicas: otherwise two admins could demote each
other at the same moment, and nobody would be left. A change of role, password or state ends the
user's sessions, so that no token says what was true before.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import (
    Client,
    ConflictError,
    SecurityEvent,
    Session,
    UnavailableError,
    UnknownError,
    User,
)
from sensor_auth.passwords import Passwords
from sensor_auth.security_log import SecurityLog
from sensor_auth.sessions import Sessions
from sensor_auth.users import Users
from sensor_shared.contracts.access import Claims, Role

_LOCK = "auth:administration"
_LOCK_SECONDS = 30.0
_CHANGE_SECONDS = 20.0
"""Less than the lock lasts: what takes longer has failed before somebody else begins."""
_WAIT_SECONDS = 5.0


class Administration:
    """Creates, changes and deletes users.

    Args:
        users: the accounts.
        passwords: hashes them.
        sessions: that changes end.
        redis: has the lock.
        security: is told what happens.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        users: Users,
        passwords: Passwords,
        sessions: Sessions,
        redis: Redis,
        security: SecurityLog,
        *,
        now: Callable[[], float] = time.time,
    ):
        self._users = users
        self._passwords = passwords
        self._sessions = sessions
        self._redis = redis
        self._security = security
        self._now = now

    async def page(self, after: str, limit: int) -> list[User]:
        """Returns so many users after a name, in the order of their names.

        Raises:
            DatabaseAwayError: try again later.
        """
        return await self._users.page(after, limit)

    async def user(self, username: str) -> User:
        """Returns one user as it is now.

        Raises:
            UnknownError: when there is no such user.
            DatabaseAwayError: try again later.
        """
        user = await self._users.stored(username)
        if user is None or user.deleted:
            raise UnknownError("no such user")
        return user

    async def create(
        self,
        caller: Claims,
        client: Client,
        username: str,
        *,
        role: Role,
        email: str,
        password: str | None,
    ) -> tuple[User, str | None]:
        """Creates a user and returns it, with the password if that was made here.

        Raises:
            WeakPasswordError: when the password given is no good.
            ConflictError: when somebody has the name, or had it.
            BusyError, UnavailableError, DatabaseAwayError: try again later.
        """
        password_hash, shown = await self._new_password(username, password)
        user = User(
            username=username,
            password_hash=password_hash,
            role=role,
            email=email,
            disabled=False,
            created_at=datetime.fromtimestamp(self._now(), UTC),
            version=1,
        )
        async with self._alone():
            if await self._users.stored(username) is not None:
                raise ConflictError("somebody has this user name, or had it")
            await self._users.save(user)
        self._tell(SecurityEvent.USER_CREATED, caller, client, username, f"role {role}")
        return user, shown

    async def change(
        self,
        caller: Claims,
        client: Client,
        username: str,
        *,
        role: Role | None = None,
        email: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Changes what is given, and ends the sessions when role or state are among it.

        Raises:
            UnknownError: when there is no such user.
            ConflictError: when nobody could administer any more.
            UnavailableError, DatabaseAwayError: try again later; to ask again does no harm.
        """
        given = {"role": role, "email": email, "disabled": disabled}
        async with self._alone():
            user = await self.user(username)
            fields = {
                name: value
                for name, value in given.items()
                if value is not None and value != getattr(user, name)
            }
            changed = user.changed(**fields) if fields else user
            await self._somebody_is_left(user, changed)
            await (self._users.save(changed) if fields else self._users.announce(user))
            if fields:
                detail = ", ".join(f"{name} {value}" for name, value in fields.items())
                self._tell(SecurityEvent.USER_CHANGED, caller, client, username, detail)
            if role is not None or disabled is not None:
                await self._sessions.end_all(username, "changed", before=changed.version)
        return changed

    async def reset_password(
        self, caller: Claims, client: Client, username: str, password: str | None
    ) -> str | None:
        """Sets a user's password, ends the sessions, and returns the password if it was made here.

        Raises:
            WeakPasswordError: when the password given is no good.
            UnknownError: when there is no such user.
            BusyError, UnavailableError, DatabaseAwayError: try again later.
        """
        password_hash, shown = await self._new_password(username, password)
        async with self._alone():
            changed = (await self.user(username)).rehashed(password_hash)
            await self._users.save(changed)
            self._tell(SecurityEvent.PASSWORD_RESET, caller, client, username)
            await self._sessions.end_all(username, "password", before=changed.version)
        return shown

    async def delete(self, caller: Claims, client: Client, username: str) -> None:
        """Deletes a user; the name stays taken.

        Raises:
            UnknownError: when there is no such user.
            ConflictError: when nobody could administer any more.
            UnavailableError, DatabaseAwayError: try again later.
        """
        async with self._alone():
            user = await self._users.stored(username)
            if user is None:
                raise UnknownError("no such user")
            if not user.deleted:
                erased = user.erased()
                await self._somebody_is_left(user, erased)
                await self._users.save(erased)
                self._tell(SecurityEvent.USER_DELETED, caller, client, username)
                await self._sessions.end_all(username, "deleted", before=erased.version)
                return
            # The answer to an earlier request may have been that this is not sure yet.
            await self._users.announce(user)
            await self._sessions.end_all(username, "deleted", before=user.version)
            raise UnknownError("no such user")

    async def sessions(self, username: str) -> list[Session]:
        """Returns the sessions of a user.

        Raises:
            UnknownError: when there is no such user.
            UnavailableError, DatabaseAwayError: try again later.
        """
        await self.user(username)
        return await self._sessions.standing(username)

    async def end_sessions(self, caller: Claims, client: Client, username: str) -> int:
        """Ends all sessions of a user and returns how many.

        Raises:
            UnknownError: when there is no such user.
            UnavailableError, DatabaseAwayError: try again later.
        """
        await self.user(username)
        ended = await self._sessions.end_all(username, "ended")
        detail = f"{len(ended)} by an admin"
        self._tell(SecurityEvent.SESSIONS_ENDED, caller, client, username, detail)
        return len(ended)

    async def _new_password(self, username: str, password: str | None) -> tuple[str, str | None]:
        if password is not None:
            self._passwords.check_new(password, username)
            return await self._passwords.hash(password), None
        made = secrets.token_urlsafe(18)
        return await self._passwords.hash(made), made

    async def _somebody_is_left(self, before: User, after: User) -> None:
        could, can = (user.active and user.role is Role.ADMIN for user in (before, after))
        if could and not can and not await self._users.admins_beside(before.username):
            raise ConflictError("this is the last admin")

    def _tell(
        self, event: SecurityEvent, caller: Claims, client: Client, username: str, detail: str = ""
    ) -> None:
        self._security.record(
            event,
            username=username,
            actor=caller.subject,
            address=client.address,
            session=caller.session,
            detail=detail,
        )

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        lock = self._redis.lock(_LOCK, timeout=_LOCK_SECONDS, blocking_timeout=_WAIT_SECONDS)
        try:
            acquired = await lock.acquire()
        except (RedisError, OSError) as error:
            raise UnavailableError("users cannot be changed now") from error
        if not acquired:
            raise UnavailableError("somebody else changes users now")
        try:
            async with asyncio.timeout(_CHANGE_SECONDS):
                yield
        except TimeoutError as error:
            raise UnavailableError("it took too long; look whether it was done") from error
        finally:
            # Not released, it ends by itself.
            with contextlib.suppress(RedisError, OSError):
                await lock.release()
