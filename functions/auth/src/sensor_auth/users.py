"""Users: facts in ClickHouse, kept in Redis for a while."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import ConflictError, User
from sensor_shared.adapters.api_key_copies import KeyCopies
from sensor_shared.adapters.database import Database, utc
from sensor_shared.contracts.access import Role

_KEPT_SECONDS = 60
_COLUMNS = "username, password_hash, role, email, disabled, created_at, version, deleted"
_USERS = f"SELECT {_COLUMNS} FROM users FINAL"  # noqa: S608
_BY_NAME = f"{_USERS} WHERE username = {{username:String}}"
_PAGE = (
    f"{_USERS} WHERE username > {{after:String}} AND NOT deleted "
    "ORDER BY username LIMIT {limit:UInt32}"
)
_COUNT = "SELECT count() FROM users FINAL"
_OTHER_ADMINS = (
    "SELECT count() FROM users FINAL WHERE role = 'admin' AND NOT disabled AND NOT deleted "
    "AND username != {username:String}"
)
# Who read an older version and is late with it does not replace what is kept.
# KEYS: the user. ARGV: version, the user as JSON, life in ms.
_KEEP = """
if tonumber(redis.call('HGET', KEYS[1], 'version') or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'user', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Users:
    """The table `users`, read through Redis.

    That a user does not exist is kept as well: otherwise the second answer for a name would
    come sooner when there is such a user.
    """

    def __init__(self, database: Database, redis: Redis):
        self._database = database
        self._redis = redis
        self._kept = redis.register_script(_KEEP)
        self._owners = KeyCopies(redis)

    async def find(self, username: str) -> User | None:
        """Returns the user of that name, as it was a minute ago at most.

        Raises:
            DatabaseAwayError: when ClickHouse is away and Redis does not know either.
        """
        try:
            kept = await self._redis.hget(_key(username), "user")
        except (RedisError, OSError):
            kept = None
        if kept is not None:
            return _existing(_from_json(kept))
        user = await self.stored(username)
        await self._keep(username, user)
        return _existing(user)

    async def stored(self, username: str) -> User | None:
        """Returns the user as ClickHouse has it now, deleted ones too.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        rows = await self._database.rows(_BY_NAME, username=username)
        return _from_row(rows[0]) if rows else None

    async def page(self, after: str, limit: int) -> list[User]:
        """Returns so many users after a name, in the order of their names.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        rows = await self._database.rows(_PAGE, after=after, limit=limit)
        return [_from_row(row) for row in rows]

    async def none_yet(self) -> bool:
        """Tells whether there is no user at all.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return not (await self._database.rows(_COUNT))[0][0]

    async def admins_beside(self, username: str) -> int:
        """Returns how many other users can administer.

        Raises:
            DatabaseAwayError: when ClickHouse is away.
        """
        return int((await self._database.rows(_OTHER_ADMINS, username=username))[0][0])

    async def save(self, user: User) -> None:
        """Stores the next version of a user.

        ClickHouse takes one row with the token of a name and version; of two who write the same
        version at the same time the later one finds the other's row.

        Raises:
            ConflictError: when that version is there already, and is another one.
            DatabaseAwayError: when ClickHouse is away.
        """
        row = asdict(user) | {"role": str(user.role)}
        await self._database.insert("users", row, token=f"{user.username}/{user.version}")
        stored = await self.stored(user.username)
        if stored is None or _facts(stored) != _facts(user):
            raise ConflictError("the account was changed by somebody else just now")
        await self.announce(user)

    async def announce(self, user: User) -> None:
        """Lets logins and the user's API keys know of a change that ClickHouse has.

        While Redis cannot be reached they go by what was true, for a minute at most.
        """
        await self._keep(user.username, user)
        with contextlib.suppress(RedisError, OSError):
            await self._owners.put_owner(
                user.username, user.role, disabled=user.disabled, version=user.version
            )

    async def _keep(self, username: str, user: User | None) -> None:
        text = json.dumps(None if user is None else asdict(user), default=datetime.isoformat)
        version = 0 if user is None else user.version
        try:
            await self._kept(keys=[_key(username)], args=[version, text, _KEPT_SECONDS * 1000])
        except (RedisError, OSError):
            return


def _key(username: str) -> str:
    return f"auth:account:{username}"


def _existing(user: User | None) -> User | None:
    return None if user is None or user.deleted else user


def _facts(user: User) -> Mapping[str, Any]:
    # ClickHouse keeps milliseconds of the time.
    return {name: value for name, value in asdict(user).items() if name != "created_at"}


def _from_row(row: tuple[Any, ...]) -> User:
    username, password_hash, role, email, disabled, created_at, version, deleted = row
    return User(
        username=username,
        password_hash=password_hash,
        role=Role(role),
        email=email,
        disabled=bool(disabled),
        created_at=utc(created_at),
        version=int(version),
        deleted=bool(deleted),
    )


def _from_json(text: bytes | str) -> User | None:
    kept = json.loads(text)
    if kept is None:
        return None
    created_at = datetime.fromisoformat(kept["created_at"])
    return User(**{**kept, "role": Role(kept["role"]), "created_at": created_at})
