"""Whether a session still stands, as auth writes it and whoever takes a token asks.

What is kept, and why a revoked token can never become valid again:

- Redis holds one key per session that stands. It is a list of what is allowed, not of what
  is forbidden: losing it, all or in part, ends sessions and costs a new login, no more.
- ClickHouse's table `revocations` holds each revocation as a fact. It answers when Redis
  cannot be reached, so that reads go on without Redis and an ended session stays ended.
- A logout has succeeded only when both have it. One that answers 503 may have ended the
  session in neither, or in one of the two, which keeps it out while it is the one asked:
  until the logout is repeated and succeeds, a token may open something.
- When neither answers, nobody is let in.

A session that was opened while Redis was away is not in it, and ends when Redis is back.
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_shared.adapters.database import Database
from sensor_shared.adapters.group_commit import GroupCommit

_REVOKED: Final = "SELECT session FROM revocations WHERE session IN {sessions:Array(String)}"
_GROUP: Final = 1_000
_FLIGHTS: Final = 2
"""Queries under way at once, however many sessions ask."""


def session_key(session: str) -> str:
    """Returns the key in Redis that exists while the session stands.

    What stands before the dot in the session's id is the same in all of a user's: on a Redis
    cluster they are in one place.
    """
    return f"auth:session:{{{session.partition('.')[0]}}}:{session}"


class SessionCheck:
    """Looks a session up: one EXISTS in Redis, or its part of a query in ClickHouse.

    All who ask ClickHouse share its queries, whatever their sessions: what is asked while queries
    are under way goes with the next one. So its work is bounded, and every answer is from after
    its question. No answer is kept: the end of a session holds without Redis too.
    """

    def __init__(self, redis: Redis, database: Database):
        self._redis = redis
        self._database = database
        self._ask = GroupCommit(self._not_revoked, max_items=_GROUP, max_commits=_FLIGHTS)

    async def stands(self, session: str) -> bool:
        """Tells whether the session has not ended.

        Raises:
            DatabaseAwayError: when neither Redis nor ClickHouse can tell.
        """
        try:
            return bool(await self._redis.exists(session_key(session)))
        except (RedisError, OSError):
            return await self._ask(session)

    async def _not_revoked(self, sessions: Sequence[str]) -> list[bool]:
        rows = await self._database.rows(_REVOKED, sessions=list(dict.fromkeys(sessions)))
        revoked = {session for (session,) in rows}
        return [session not in revoked for session in sessions]
