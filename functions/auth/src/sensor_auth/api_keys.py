"""API keys as their owners see them: made, listed, revoked.

`sensor_shared.adapters.api_keys` says what is kept where, and when a revocation takes effect.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_auth.domain import Client, SecurityEvent
from sensor_auth.security_log import SecurityLog
from sensor_auth.settings import KeySettings
from sensor_shared.adapters.api_key_copies import KeyCopies, KeyRecord
from sensor_shared.adapters.api_keys import used_key
from sensor_shared.adapters.database import Database, utc
from sensor_shared.contracts.access import FOR_MACHINES, Action, Claims
from sensor_shared.contracts.api_keys import ApiKey
from sensor_shared.telemetry.logs import logger

_COLUMNS = (
    "id, digest, owner, name, scopes, created_at, expires_at, revoked_at, revoked_by, version"
)
_BY_ID = f"SELECT {_COLUMNS} FROM api_keys FINAL WHERE id = {{id:String}}"  # noqa: S608
_PAGE = (
    f"SELECT {_COLUMNS} FROM api_keys FINAL"  # noqa: S608
    " WHERE id > {after:String} AND (owner = {owner:String} OR {everybody:Bool})"
    " ORDER BY id LIMIT {limit:UInt32}"
)
_ALIVE = (
    "SELECT count() FROM api_keys FINAL"
    " WHERE owner = {owner:String} AND revoked_at IS NULL AND expires_at > {now:DateTime64(3)}"
)


class KeyRefusedError(Exception):
    """A key cannot be as it was asked for; the message says why."""


class TooManyKeysError(KeyRefusedError):
    """The user has as many as one may have."""


class KeyBeyondRoleError(KeyRefusedError):
    """The key would be allowed more than its owner."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of `api_keys`; the highest version is what holds."""

    id: str
    digest: str
    owner: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str
    version: int

    def record(self) -> KeyRecord:
        """Returns what is needed to check the key."""
        return KeyRecord(
            digest=self.digest,
            owner=self.owner,
            scopes=self.scopes,
            created_at=int(self.created_at.timestamp()),
            expires_at=int(self.expires_at.timestamp()),
            revoked=self.revoked_at is not None,
            version=self.version,
        )


class ApiKeys:
    """The API keys of all users.

    Args:
        database: with the table `api_keys`.
        redis: with the copies of it.
        security: is told what happens.
        settings: how many keys, and for how long.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        redis: Redis,
        security: SecurityLog,
        settings: KeySettings,
        *,
        now: Callable[[], float] = time.time,
    ):
        self._database = database
        self._redis = redis
        self._copies = KeyCopies(redis)
        self._security = security
        self._settings = settings
        self._now = now
        self._log = logger(part="api keys")

    async def create(
        self,
        caller: Claims,
        client: Client,
        *,
        name: str,
        scopes: Sequence[Action],
        expires_at: datetime | None,
    ) -> tuple[StoredKey, ApiKey]:
        """Makes a key of the caller's; its text is nowhere but in what this returns.

        Args:
            caller: with a session.
            client: where the request comes from.
            name: what the owner calls it.
            scopes: what it may do.
            expires_at: None: after the default time.

        Raises:
            KeyRefusedError: for a time that is past or too far, for more than the caller may do,
                and when there are too many. Two requests at the same moment may yield one more.
            DatabaseAwayError: try again later.
        """
        now = datetime.fromtimestamp(self._now(), UTC)
        ends = expires_at or now + timedelta(days=self._settings.default_days)
        if not now < ends <= now + timedelta(days=self._settings.max_days):
            raise KeyRefusedError(
                f"expires_at must be in the future, within {self._settings.max_days} days"
            )
        if not all(scope in FOR_MACHINES and caller.may(scope) for scope in scopes):
            raise KeyBeyondRoleError(f"role {caller.role} may not do all of that")
        alive = await self._database.rows(_ALIVE, owner=caller.subject, now=now)
        if alive[0][0] >= self._settings.max_per_user:
            raise TooManyKeysError(
                f"{self._settings.max_per_user} keys are the most; revoke one first"
            )
        key = ApiKey.make()
        stored = StoredKey(
            id=key.id,
            digest=key.digest(),
            owner=caller.subject,
            name=name,
            scopes=tuple(sorted(set(scopes))),
            created_at=now,
            expires_at=ends.astimezone(UTC),
            revoked_at=None,
            revoked_by="",
            version=1,
        )
        await self._save(stored)
        detail = f"until {ends.isoformat()}: {' '.join(stored.scopes)}"
        self._tell(SecurityEvent.KEY_CREATED, stored, caller, client, detail)
        return stored, key

    async def page(
        self, owner: str, *, everybody: bool, after: str, limit: int
    ) -> list[tuple[StoredKey, datetime | None]]:
        """Returns keys by their ids, each with the time of its last use, if that is known.

        Args:
            owner: whose.
            everybody: all users' keys.
            after: the id that the page begins behind.
            limit: most keys.

        Raises:
            DatabaseAwayError: try again later.
        """
        rows = await self._database.rows(
            _PAGE, owner=owner, everybody=everybody, after=after, limit=limit
        )
        keys = [_from_row(row) for row in rows]
        return list(zip(keys, await self._last_used(keys), strict=True))

    async def revoke(self, id_: str, caller: Claims, client: Client) -> bool:
        """Ends a key for good; does no harm to one that has ended.

        Returns:
            False when there is no such key, or it is another's and the caller is no admin.

        Raises:
            DatabaseAwayError: try again later.
        """
        rows = await self._database.rows(_BY_ID, id=id_)
        key = _from_row(rows[0]) if rows else None
        if key is None or not (key.owner == caller.subject or caller.may(Action.USERS_WRITE)):
            return False
        if key.revoked_at is None:
            moment = datetime.fromtimestamp(self._now(), UTC)
            key = replace(key, revoked_at=moment, revoked_by=caller.subject, version=2)
            await self._database.insert("api_keys", _row(key))
            self._tell(SecurityEvent.KEY_REVOKED, key, caller, client)
        await self._copy(key)
        return True

    def _tell(
        self,
        event: SecurityEvent,
        key: StoredKey,
        caller: Claims,
        client: Client,
        detail: str = "",
    ) -> None:
        self._security.record(
            event,
            username=key.owner,
            actor=caller.subject,
            address=client.address,
            session=caller.session,
            detail=f"{key.id} {key.name!r} {detail}".rstrip(),
        )

    async def _save(self, key: StoredKey) -> None:
        await self._database.insert("api_keys", _row(key))
        await self._copy(key)

    async def _copy(self, key: StoredKey) -> None:
        try:
            await self._copies.put(key.id, key.record())
        except (RedisError, OSError) as error:
            self._log.warning("key not copied; its old copy is good for a minute", error=str(error))

    async def _last_used(self, keys: Sequence[StoredKey]) -> list[datetime | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.get(used_key(key.id))
        try:
            moments = await pipeline.execute()
        except (RedisError, OSError):
            return [None] * len(keys)
        return [None if one is None else datetime.fromtimestamp(int(one), UTC) for one in moments]


def _row(key: StoredKey) -> dict[str, Any]:
    return asdict(key) | {"scopes": list(key.scopes)}


def _from_row(row: tuple[Any, ...]) -> StoredKey:
    id_, digest, owner, name, scopes, created_at, expires_at, revoked_at, revoked_by, version = row
    return StoredKey(
        id=id_,
        digest=digest,
        owner=owner,
        name=name,
        scopes=tuple(scopes),
        created_at=utc(created_at),
        expires_at=utc(expires_at),
        revoked_at=None if revoked_at is None else utc(revoked_at),
        revoked_by=revoked_by,
        version=int(version),
    )
