"""Sessions: opened by a login, carried on by refreshes, ended by logout, reuse or limit.

`sensor_shared.adapters.sessions` says what is kept where, and why no revoked token can come
back to life.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import SessionEndedError, UnavailableError
from sensor_shared.adapters.database import Database, DatabaseAwayError
from sensor_shared.adapters.sessions import session_key
from sensor_shared.telemetry.logs import logger

# Each script touches one key, so they work on a Redis cluster too.
# KEYS: the user's sessions by time. ARGV: session, now in ms, life in ms, most sessions.
# Takes the oldest beyond the limit out and returns them.
_ENTER = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] - ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if over <= 0 then return {} end
local old = {}
for i, entry in ipairs(redis.call('ZRANGE', KEYS[1], 0, over - 1)) do old[i] = entry end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1)
return old
"""
# KEYS: the session. ARGV: refresh token's id presented, its new id, life in ms.
# Returns 1 rotated, 0 no such session, -1 an old token: the whole family ends.
_ROTATE = """
local current = redis.call('GET', KEYS[1])
if not current then return 0 end
if current ~= ARGV[1] then
  redis.call('DEL', KEYS[1])
  return -1
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Sessions:
    """The sessions of all users.

    Args:
        redis: holds those that stand, by the id of their current refresh token.
        database: holds those that were ended.
        life: seconds from the last login or refresh.
        most: of one user.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        redis: Redis,
        database: Database,
        *,
        life: int,
        most: int,
        now: Callable[[], float] = time.time,
    ):
        self._redis = redis
        self._database = database
        self._enter = redis.register_script(_ENTER)
        self._rotate = redis.register_script(_ROTATE)
        self._life_ms = life * 1000
        self._most = most
        self._now = now
        self._log = logger(part="sessions")

    async def open(self, session: str, username: str, refresh_id: str) -> None:
        """Opens a session; the user's oldest end when there are too many.

        Without Redis the login goes on: its token is good until Redis is back.
        """
        try:
            await self._redis.set(session_key(session), refresh_id, px=self._life_ms)
            over = await self._touch(session, username)
            for old in over:
                await self._redis.delete(session_key(old))
        except (RedisError, OSError) as error:
            self._log.warning("session only until Redis is back", error=str(error))
            return
        for old in over:
            try:
                await self._record(old, username, "limit")
            except DatabaseAwayError as error:
                # Nobody asked for this end: the limit is kept by Redis as long as it is there.
                self._log.warning("end of session not recorded", error=str(error))

    async def rotate(self, session: str, username: str, old: str, new: str) -> None:
        """Replaces the refresh token's id.

        Raises:
            SessionEndedError: when the session has ended, or ends now because `old` was
                used before: one of the two who used it has stolen it.
            UnavailableError: when Redis, which decides who is first, is away.
        """
        try:
            outcome = int(
                await self._rotate(keys=[session_key(session)], args=[old, new, self._life_ms])
            )
            if outcome == 1:
                await self._touch(session, username)
        except (RedisError, OSError) as error:
            raise UnavailableError("sessions cannot be carried on now") from error
        if outcome == -1:
            self._log.warning("refresh token used twice", session=session, username=username)
            await self.end(session, username, "reuse")
        if outcome != 1:
            raise SessionEndedError

    async def end(self, session: str, username: str, reason: str) -> None:
        """Ends a session for good.

        Raises:
            UnavailableError: when one of Redis and ClickHouse does not have it yet. The
                other one has, and to ask again does no harm.
        """
        failure: Exception | None = None
        try:
            await self._redis.delete(session_key(session))
            await self._redis.zrem(_user_key(username), session)
        except (RedisError, OSError) as error:
            failure = error
        try:
            await self._record(session, username, reason)
        except DatabaseAwayError as error:
            failure = error
        if failure is not None:
            raise UnavailableError("the end of the session is not everywhere yet") from failure

    async def _touch(self, session: str, username: str) -> list[str]:
        """Makes it the user's newest session; returns those beyond the limit."""
        over = await self._enter(
            keys=[_user_key(username)],
            args=[session, self._now_ms(), self._life_ms, self._most],
        )
        return [old.decode() for old in over]

    async def _record(self, session: str, username: str, reason: str) -> None:
        moment = datetime.fromtimestamp(self._now(), UTC)
        row = {"session": session, "username": username, "reason": reason, "revoked_at": moment}
        await self._database.insert("revocations", row)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _user_key(username: str) -> str:
    return f"auth:sessions:{username}"
