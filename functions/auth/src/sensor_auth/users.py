"""Users: facts in ClickHouse, kept in Redis for a while."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import User
from sensor_shared.adapters.api_keys import KeyCopies
from sensor_shared.adapters.database import Database
from sensor_shared.contracts.access import Role

_KEPT_SECONDS = 60
_COLUMNS = "username, password_hash, role, email, disabled, created_at, version"
_BY_NAME = f"SELECT {_COLUMNS} FROM users FINAL WHERE username = {{username:String}}"  # noqa: S608
_COUNT = "SELECT count() FROM users FINAL"


class Users:
    """The table `users`, read through Redis.

    That a user does not exist is kept as well: otherwise the second answer for a name would
    come sooner when there is such a user.
    """

    def __init__(self, database: Database, redis: Redis):
        self._database = database
        self._redis = redis

    async def find(self, username: str) -> User | None:
        """Returns the user of that name.

        Raises:
            DatabaseAwayError: when ClickHouse is away and Redis does not know either.
        """
        try:
            kept = await self._redis.get(_key(username))
        except (RedisError, OSError):
            kept = None
        if kept is not None:
            return _from_json(kept)
        rows = await self._database.rows(_BY_NAME, username=username)
        user = _from_row(rows[0]) if rows else None
        await self._keep(username, user)
        return user

    async def none_yet(self) -> bool:
        """Tells whether there is no user at all.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return not (await self._database.rows(_COUNT))[0][0]

    async def save(self, user: User, *, token: str | None = None) -> None:
        """Stores a new version of a user; a second one with the same token is ignored.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        await self._database.insert("users", asdict(user) | {"role": str(user.role)}, token=token)
        try:
            await self._redis.delete(_key(user.username))
            copies = KeyCopies(self._redis)
            await copies.put_owner(user.username, user.role, disabled=user.disabled)
        except (RedisError, OSError):
            return  # what it keeps is gone in a minute

    async def _keep(self, username: str, user: User | None) -> None:
        text = json.dumps(None if user is None else asdict(user), default=datetime.isoformat)
        try:
            await self._redis.set(_key(username), text, ex=_KEPT_SECONDS)
        except (RedisError, OSError):
            return


def _key(username: str) -> str:
    return f"auth:user:{username}"


def _from_row(row: tuple[Any, ...]) -> User:
    username, password_hash, role, email, disabled, created_at, version = row
    return User(
        username=username,
        password_hash=password_hash,
        role=Role(role),
        email=email,
        disabled=bool(disabled),
        created_at=created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC),
        version=int(version),
    )


def _from_json(text: bytes | str) -> User | None:
    kept = json.loads(text)
    if kept is None:
        return None
    created_at = datetime.fromisoformat(kept["created_at"])
    return User(**{**kept, "role": Role(kept["role"]), "created_at": created_at})
