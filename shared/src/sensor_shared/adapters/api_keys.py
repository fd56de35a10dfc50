"""Whether an API key opens anything, as auth writes it and whoever takes a key asks.

ClickHouse has the facts: the table `api_keys`, and the owner's role and state in `users`. Redis has
copies of both. A copy is good for a minute; then ClickHouse is asked again, and only where that is
away is a copy good for an hour. What is changed is written to ClickHouse first and over its copy in
Redis then, unless a later version is there already; and a copy made from ClickHouse replaces only
the one that was there before ClickHouse was asked. So nobody who has the old fact can put it back.

A revoked key, and every key of a user who was disabled or lost a role, is refused

- from the next request on, at every replica, while Redis is there;
- within 10 seconds when Redis is away: so long does a process keep what ClickHouse said;
- within a minute when only the one who changes it could not reach Redis; if ClickHouse leaves in
  that minute, within an hour.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_shared.adapters.api_key_copies import (
    KeyCopies,
    KeyRecord,
    copy_of,
    is_good,
    key_name,
    key_said,
    key_says,
    owner_name,
    said,
)
from sensor_shared.adapters.database import Database, DatabaseAwayError, utc
from sensor_shared.adapters.single_flight import SingleFlight
from sensor_shared.adapters.tokens import InvalidTokenError
from sensor_shared.contracts.access import Action, Claims, Role
from sensor_shared.contracts.api_keys import ApiKey
from sensor_shared.telemetry import metrics

_HERE_SECONDS: Final = 10.0
_REMEMBERED: Final = 10_000
_USED_EVERY_SECONDS: Final = 60.0
USED_KEPT_SECONDS: Final = 400 * 86_400
_KEY: Final = (
    "SELECT digest, owner, scopes, created_at, expires_at, revoked_at IS NOT NULL, version"
    " FROM api_keys FINAL WHERE id = {id:String}"
)
_OWNER: Final = "SELECT role, disabled, version FROM users FINAL WHERE username = {username:String}"


class KeyCheck:
    """Looks a key up: one round trip to Redis, or point queries in ClickHouse.

    Args:
        redis: with the copies.
        database: with the facts.
        now: seconds since the epoch.
        clock: seconds, for what is kept in this process.
    """

    def __init__(
        self,
        redis: Redis,
        database: Database,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._redis = redis
        self._copies = KeyCopies(redis)
        self._database = database
        self._now = now
        self._clock = clock
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._here: OrderedDict[str, tuple[float, KeyRecord | None, str]] = OrderedDict()
        self._used: OrderedDict[str, float] = OrderedDict()
        self._asking: SingleFlight[Any] = SingleFlight()

    async def verify(self, text: str) -> Claims:
        """Returns whose key it is and what it may do.

        Raises:
            InvalidTokenError: when it opens nothing (any more).
            DatabaseAwayError: when neither Redis nor ClickHouse can tell.
        """
        key = ApiKey.read(text)
        if key is None:
            raise _refused("form", "the API key has a typing error")
        record, role = await self._found(key.id)
        if record is None or not hmac.compare_digest(record.digest, key.digest()):
            raise _refused("unknown", "the API key is not known")
        if record.revoked:
            raise _refused("revoked", "the API key has been revoked")
        if record.expires_at <= self._now():
            raise _refused("expired", "the API key has expired")
        if not role:
            raise _refused("owner", "the API key's owner is disabled")
        await self._mark_used(key.id)
        return Claims(
            subject=record.owner,
            role=Role(role),
            session="",
            token_id=key.id,
            issued_at=record.created_at,
            expires_at=record.expires_at,
            scopes=frozenset(Action(scope) for scope in record.scopes if scope in set(Action)),
        )

    async def stands(self, id_: str) -> bool:
        """Tells whether a key that was verified before still opens something.

        Args:
            id_: of the key: `Claims.token_id`.

        Raises:
            DatabaseAwayError: when neither Redis nor ClickHouse can tell.
        """
        record, role = await self._found(id_)
        return (
            record is not None
            and not record.revoked
            and record.expires_at > self._now()
            and bool(role)
        )

    async def _found(self, id_: str) -> tuple[KeyRecord | None, str]:
        """Returns the record and the owner's role, "" for who is not there or disabled."""
        try:
            return await self._in_redis(id_)
        except (RedisError, OSError):
            return await self._without_redis(id_)

    async def _in_redis(self, id_: str) -> tuple[KeyRecord | None, str]:
        """Returns the record and the owner's role; copies to Redis what is not there."""
        owner = self._owners.get(id_, "")
        # Two keys of a Redis cluster may be at two servers, so this is no MGET.
        pipeline = self._redis.pipeline(transaction=False)
        for name in (key_name(id_), owner_name(owner)):
            pipeline.get(name)
            pipeline.pttl(name)
        stored, stored_ms, role, role_ms = await pipeline.execute()
        if not is_good(stored, stored_ms):
            stored = await self._renewed(key_name(id_), stored, lambda: self._key_copy(id_))
        says = said(stored)
        record = None if says is None else key_said(says)
        if record is None:
            return None, ""
        if record.owner != owner:
            owner = record.owner
            _remember(self._owners, id_, owner)
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(owner_name(owner))
            pipeline.pttl(owner_name(owner))
            role, role_ms = await pipeline.execute()
        if not is_good(role, role_ms):
            role = await self._renewed(owner_name(owner), role, lambda: self._owner_copy(owner))
        return record, (said(role) or b"").decode()

    async def _renewed(
        self, name: str, before: bytes | None, ask: Callable[[], Any]
    ) -> bytes | None:
        """Returns what is in Redis after ClickHouse was asked; without it the copy of before."""
        try:
            copy = await self._asking.ask(name, ask)
        except DatabaseAwayError:
            if said(before) is None:
                raise
            return before
        return await self._copies.renew(name, before, copy)

    async def _without_redis(self, id_: str) -> tuple[KeyRecord | None, str]:
        until, record, role = self._here.get(id_, (float("-inf"), None, ""))
        if self._clock() < until:
            return record, role
        record = await self._asking.ask(f"key {id_}", lambda: self._stored_key(id_))
        if record is not None:
            owner = record.owner
            role, _ = await self._asking.ask(f"owner {owner}", lambda: self._stored_role(owner))
        _remember(self._here, id_, (self._clock() + _HERE_SECONDS, record, role))
        return record, role

    async def _key_copy(self, id_: str) -> bytes:
        record = await self._stored_key(id_)
        return copy_of(0 if record is None else record.version, key_says(record))

    async def _owner_copy(self, username: str) -> bytes:
        role, version = await self._stored_role(username)
        return copy_of(version, role)

    async def _stored_key(self, id_: str) -> KeyRecord | None:
        rows = await self._database.rows(_KEY, id=id_)
        if not rows:
            return None
        digest, owner, scopes, created_at, expires_at, revoked, version = rows[0]
        return KeyRecord(
            digest=digest,
            owner=owner,
            scopes=tuple(scopes),
            created_at=_epoch(created_at),
            expires_at=_epoch(expires_at),
            revoked=bool(revoked),
            version=int(version),
        )

    async def _stored_role(self, username: str) -> tuple[str, int]:
        """Returns the role, "" for who is not there or disabled, and the user's version."""
        rows = await self._database.rows(_OWNER, username=username)
        if not rows:
            return "", 0
        role, disabled, version = rows[0]
        return "" if disabled else str(role), int(version)

    async def _mark_used(self, id_: str) -> None:
        """Says at most once a minute that the key was used; nothing depends on it."""
        now = self._clock()
        if now < self._used.get(id_, float("-inf")):
            return
        _remember(self._used, id_, now + _USED_EVERY_SECONDS)
        try:
            await self._redis.set(used_key(id_), int(self._now()), ex=USED_KEPT_SECONDS)
        except (RedisError, OSError):
            return


def used_key(id_: str) -> str:
    """Returns the key in Redis that holds when an API key was last used, to a minute or so."""
    return f"auth:apikey:used:{id_}"


def _refused(reason: str, detail: str) -> InvalidTokenError:
    metrics.API_KEYS_REFUSED.labels(reason).inc()
    return InvalidTokenError(detail)


def _epoch(moment: datetime) -> int:
    return int(utc(moment).timestamp())


def _remember(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
