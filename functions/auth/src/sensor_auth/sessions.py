"""Sessions: opened by a login, carried on by refreshes, ended by logout, reuse or limit.

`sensor_shared.adapters.sessions` says what is kept where, and why no revoked token can come
back to life. All keys of one user have the same hash tag, so each script is one atomic step on
a Redis cluster too.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth import session_scripts
from sensor_auth.domain import (
    Client,
    InvalidCredentialsError,
    Session,
    SessionEndedError,
    UnavailableError,
    User,
)
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.sessions import session_key
from sensor_shared.contracts.events import new_id
from sensor_shared.telemetry.logs import logger

_AWAY = "sessions cannot be looked up now"


class Sessions:
    """The sessions of all users.

    Args:
        redis: holds those that stand, each with the id of its current refresh token.
        database: holds those that were ended.
        life: seconds from the last login or refresh.
        most: of one user.
        repeat: seconds in which the refresh token before the current one is answered as a
            repeated request, whose first answer was lost; 0 ends the session at once.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        redis: Redis,
        database: Database,
        *,
        life: int,
        most: int,
        repeat: float,
        now: Callable[[], float] = time.time,
    ):
        self._redis = redis
        self._database = database
        self._open = redis.register_script(session_scripts.OPEN)
        self._rotate = redis.register_script(session_scripts.ROTATE)
        self._end = redis.register_script(session_scripts.END)
        self._end_all = redis.register_script(session_scripts.END_ALL)
        self._life_ms = life * 1000
        self._most = most
        self._repeat_ms = int(repeat * 1000)
        self._now = now
        self._log = logger(part="sessions")

    async def open(self, user: User, refresh_id: str, client: Client) -> tuple[str, Sequence[str]]:
        """Opens a session, and ends the user's oldest ones beyond the limit.

        Without Redis it is open all the same, until Redis is back.

        Returns:
            The session's id, and those that ended for it.

        Raises:
            InvalidCredentialsError: when the account was changed since `user` was read.
        """
        keys = _Keys(user.username)
        session = keys.new_session()
        about = [refresh_id, client.address, client.agent]
        limits = [self._now_ms(), self._life_ms, self._most, user.version]
        try:
            over = await self._open(
                keys=[keys.all, session_key(session), keys.barrier],
                args=[session, keys.prefix, *limits, *about],
            )
        except (RedisError, OSError) as error:
            self._log.warning("session only until Redis is back", error=str(error))
            return session, ()
        if over is None:
            raise InvalidCredentialsError
        ended = [old.decode() for old in over]
        try:
            await self._record(ended, user.username, "limit")
        except DatabaseAwayError as error:
            # Nobody asked for this end: the limit is kept by Redis as long as it is there.
            self._log.warning("end of session not recorded", error=str(error))
        return session, ended

    async def rotate(
        self, session: str, username: str, old: str, new: str, client: Client
    ) -> tuple[str, bool]:
        """Replaces the refresh token's id.

        Returns:
            The id that holds now, and whether it was a repetition: then it is the one that the
            first request was answered with.

        Raises:
            SessionEndedError: when the session has ended; with `reused` when it ends now,
                because `old` was used before: one of the two who used it has stolen it.
            UnavailableError: when Redis, which decides who is first, is away.
        """
        keys = _Keys(username)
        try:
            outcome, current = await self._rotate(
                keys=[keys.all, session_key(session)],
                args=[
                    *(session, old, new, self._now_ms(), self._life_ms, self._repeat_ms),
                    *(client.address, client.agent),
                ],
            )
        except (RedisError, OSError) as error:
            raise UnavailableError("sessions cannot be carried on now") from error
        if outcome == session_scripts.REUSED:
            await self._keep_out([session], username, "reuse", redis_failure=None)
            raise SessionEndedError(reused=True)
        if outcome == session_scripts.GONE:
            raise SessionEndedError
        return current.decode(), outcome == session_scripts.REPEATED

    async def end(self, session: str, username: str, reason: str) -> None:
        """Ends a session for good.

        Raises:
            UnavailableError: when one of Redis and ClickHouse does not have it yet. The
                other one has, and to ask again does no harm.
        """
        failure: Exception | None = None
        try:
            await self._end(keys=[_Keys(username).all, session_key(session)], args=[session])
        except (RedisError, OSError) as error:
            failure = error
        await self._keep_out([session], username, reason, redis_failure=failure)

    async def end_all(
        self, username: str, reason: str, *, but: str = "", before: int = 0
    ) -> Sequence[str]:
        """Ends all sessions of a user and returns them.

        Args:
            username: whose.
            reason: kept in `revocations`.
            but: one that goes on.
            before: version of the user; a login that read an older one opens nothing any more.

        Raises:
            UnavailableError: as `end`; without Redis nothing has been ended.
        """
        keys = _Keys(username)
        try:
            ended = await self._end_all(
                keys=[keys.all, keys.barrier], args=[keys.prefix, but, before]
            )
        except (RedisError, OSError) as error:
            raise UnavailableError(_AWAY) from error
        sessions = [session.decode() for session in ended]
        await self._keep_out(sessions, username, reason, redis_failure=None)
        return sessions

    async def must_answer(self) -> None:
        """Checks that sessions could be ended now.

        Raises:
            UnavailableError: when Redis is away.
        """
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise UnavailableError(_AWAY) from error

    async def standing(self, username: str) -> list[Session]:
        """Returns the user's sessions, the one used last first.

        Raises:
            UnavailableError: when Redis is away.
        """
        try:
            members: list[Any] = await self._redis.zrevrange(_Keys(username).all, 0, -1)
            sessions = [str(member, "ascii") for member in members]
            async with self._redis.pipeline(transaction=False) as pipeline:
                for session in sessions:
                    pipeline.hgetall(session_key(session))
                found = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise UnavailableError(_AWAY) from error
        return [
            _session(session, fields)
            for session, fields in zip(sessions, found, strict=True)
            if fields
        ]

    async def _keep_out(
        self,
        sessions: Sequence[str],
        username: str,
        reason: str,
        *,
        redis_failure: Exception | None,
    ) -> None:
        failure = redis_failure
        try:
            await self._record(sessions, username, reason)
        except DatabaseAwayError as error:
            failure = error
        if failure is not None:
            raise UnavailableError("the end of the session is not everywhere yet") from failure

    async def _record(self, sessions: Sequence[str], username: str, reason: str) -> None:
        if not sessions:
            return
        moment = datetime.fromtimestamp(self._now(), UTC)
        about = {"username": username, "reason": reason, "revoked_at": moment}
        rows = [{"session": session, **about} for session in sessions]
        await self._database.insert_many("revocations", rows)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


class _Keys:
    """Names in Redis of what belongs to one user."""

    def __init__(self, username: str):
        self._tag = hashlib.blake2s(username.encode(), digest_size=6).hexdigest()
        self.all = f"auth:sessions:{{{self._tag}}}:{username}"
        self.barrier = f"auth:barrier:{{{self._tag}}}:{username}"
        self.prefix = session_key(f"{self._tag}.").removesuffix(f"{self._tag}.")

    def new_session(self) -> str:
        """Returns a new id of a session; its key has the tag of the user's."""
        return f"{self._tag}.{new_id()}"


def _session(session: str, fields: Mapping[bytes, bytes]) -> Session:
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    return Session(
        session=session,
        created_at=_moment(texts["created"]),
        used_at=_moment(texts["used"]),
        address=texts["address"],
        agent=texts["agent"],
    )


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
