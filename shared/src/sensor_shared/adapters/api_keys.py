"""Whether an API key opens anything, as auth writes it and whoever takes a key asks.

ClickHouse has the facts: the table `api_keys`, and the owner's role and state in `users`. Redis has
copies of both. A copy is good for a minute; then ClickHouse is asked again, and only where that is
away is a copy good for an hour. What is changed is written to ClickHouse first and over its copy in
Redis then, and a copy made from ClickHouse replaces only the one that was there before ClickHouse
was asked; so nobody who read the old fact can put it back.

A revoked key, and every key of a user who was disabled or lost a role, is refused

- from the next request on, at every replica, while Redis is there;
- within 10 seconds when Redis is away: so long does a process keep what ClickHouse said;
- within a minute when only the one who changes it could not reach Redis; if ClickHouse leaves in
  that minute, within an hour.
"""

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sensor_shared.adapters.database import Database, DatabaseAwayError, utc
from sensor_shared.adapters.single_flight import SingleFlight
from sensor_shared.adapters.tokens import InvalidTokenError
from sensor_shared.contracts.access import Action, Claims, Role
from sensor_shared.contracts.api_keys import ApiKey
from sensor_shared.telemetry import metrics

GOOD_SECONDS: Final = 60
KEPT_SECONDS: Final = 3_600
_UNKNOWN_KEPT_SECONDS: Final = 10
_HERE_SECONDS: Final = 10.0
_REMEMBERED: Final = 10_000
_USED_EVERY_SECONDS: Final = 60.0
_UNKNOWN: Final = "null"
USED_KEPT_SECONDS: Final = 400 * 86_400
_KEY: Final = (
    "SELECT digest, owner, scopes, created_at, expires_at, revoked_at IS NOT NULL"
    " FROM api_keys FINAL WHERE id = {id:String}"
)
# KEYS: a copy. ARGV: what was there when ClickHouse was asked, what ClickHouse said, for how many
# seconds. Returns what is there now.
_REPLACE: Final = """
if (redis.call('GET', KEYS[1]) or 'nothing') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return redis.call('GET', KEYS[1])
"""
_OWNER: Final = "SELECT role, disabled FROM users FINAL WHERE username = {username:String}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key; times are seconds since the epoch."""

    digest: str
    owner: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int
    revoked: bool


class KeyCopies:
    """The copies in Redis; whoever changes a fact calls it after ClickHouse has the change."""

    def __init__(self, redis: Redis):
        self._redis = redis

    async def put(self, id_: str, record: KeyRecord) -> None:
        """Replaces the copy of a key; raises RedisError or OSError without Redis."""
        await self._redis.set(_key(id_), _to_json(record), ex=KEPT_SECONDS)

    async def put_owner(self, username: str, role: Role, *, disabled: bool) -> None:
        """Replaces what is known of a user; raises RedisError or OSError without Redis."""
        await self._redis.set(_owner(username), "" if disabled else role, ex=KEPT_SECONDS)


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
        try:
            record, role = await self._in_redis(key.id)
        except (RedisError, OSError):
            record, role = await self._without_redis(key.id)
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

    async def _in_redis(self, id_: str) -> tuple[KeyRecord | None, str]:
        """Returns the record and the owner's role; copies to Redis what is not there."""
        owner = self._owners.get(id_, "")
        # Two keys of a Redis cluster may be at two servers, so this is no MGET.
        pipeline = self._redis.pipeline(transaction=False)
        for name in (_key(id_), _owner(owner)):
            pipeline.get(name)
            pipeline.pttl(name)
        stored, stored_ms, role, role_ms = await pipeline.execute()
        if not _good(stored, stored_ms):
            stored = await self._renewed(_key(id_), stored, lambda: self._key_text(id_))
        record = _from_json(stored) if stored is not None else None
        if record is None:
            return None, ""
        if record.owner != owner:
            owner = record.owner
            _remember(self._owners, id_, owner)
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(_owner(owner))
            pipeline.pttl(_owner(owner))
            role, role_ms = await pipeline.execute()
        if not _good(role, role_ms):
            role = await self._renewed(_owner(owner), role, lambda: self._stored_role(owner))
        return record, (role or b"").decode()

    async def _renewed(
        self, name: str, before: bytes | None, ask: Callable[[], Any]
    ) -> bytes | None:
        """Returns what is in Redis after ClickHouse was asked; without it the copy of before."""
        try:
            text = await self._asking.ask(name, ask)
        except DatabaseAwayError:
            if before is None:
                raise
            return before
        seconds = _UNKNOWN_KEPT_SECONDS if text == _UNKNOWN else KEPT_SECONDS
        # Somebody may have revoked it meanwhile: what is in Redis then is newer.
        found: bytes | None = await self._redis.eval(
            _REPLACE, 1, name, b"nothing" if before is None else before, text, seconds
        )
        return found

    async def _without_redis(self, id_: str) -> tuple[KeyRecord | None, str]:
        until, record, role = self._here.get(id_, (float("-inf"), None, ""))
        if self._clock() < until:
            return record, role
        record = await self._asking.ask(f"key {id_}", lambda: self._stored_key(id_))
        if record is not None:
            owner = record.owner
            role = await self._asking.ask(f"owner {owner}", lambda: self._stored_role(owner))
        _remember(self._here, id_, (self._clock() + _HERE_SECONDS, record, role))
        return record, role

    async def _key_text(self, id_: str) -> str:
        return _to_json(await self._stored_key(id_))

    async def _stored_key(self, id_: str) -> KeyRecord | None:
        rows = await self._database.rows(_KEY, id=id_)
        if not rows:
            return None
        digest, owner, scopes, created_at, expires_at, revoked = rows[0]
        return KeyRecord(
            digest, owner, tuple(scopes), _epoch(created_at), _epoch(expires_at), bool(revoked)
        )

    async def _stored_role(self, username: str) -> str:
        rows = await self._database.rows(_OWNER, username=username)
        return "" if not rows or rows[0][1] else str(rows[0][0])

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


def _good(copy: bytes | None, left_ms: int) -> bool:
    """Tells whether a copy can be used without ClickHouse, by how long Redis still keeps it."""
    if copy == _UNKNOWN.encode():
        return True
    return copy is not None and left_ms > (KEPT_SECONDS - GOOD_SECONDS) * 1000


def _key(id_: str) -> str:
    return f"auth:apikey:{id_}"


def _owner(username: str) -> str:
    return f"auth:owner:{username}"


def _refused(reason: str, detail: str) -> InvalidTokenError:
    metrics.API_KEYS_REFUSED.labels(reason).inc()
    return InvalidTokenError(detail)


def _epoch(moment: datetime) -> int:
    return int(utc(moment).timestamp())


def _to_json(record: KeyRecord | None) -> str:
    return json.dumps(None if record is None else asdict(record))


def _from_json(text: bytes) -> KeyRecord | None:
    kept = json.loads(text)
    return None if kept is None else KeyRecord(**{**kept, "scopes": tuple(kept["scopes"])})


def _remember(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
