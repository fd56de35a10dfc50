"""Copies in Redis of API keys and of their owners' roles, each with the version that it is of.

A copy is "version what". Who changes a fact writes over its copy, unless a later version is there
already; a copy made from what ClickHouse says replaces only the one that was there before.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Final

from redis.asyncio import Redis

from sensor_shared.contracts.access import Role

GOOD_SECONDS: Final = 60
KEPT_SECONDS: Final = 3_600
_UNKNOWN_KEPT_SECONDS: Final = 10
_UNKNOWN: Final = b"null"
_NOTHING: Final = b"nothing"
_COPY: Final = re.compile(rb"\d+ (.*)", re.DOTALL)
# KEYS: a copy. ARGV: the version, what it says, for how many seconds.
_PUT: Final = """
local held = redis.call('GET', KEYS[1])
local version = held and tonumber(string.match(held, '^(%d+) '))
if not version or version <= tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'EX', ARGV[3])
end
"""
# KEYS: a copy. ARGV: what was there when ClickHouse was asked, what ClickHouse said, for how many
# seconds. Returns what is there now.
_REPLACE: Final = """
if (redis.call('GET', KEYS[1]) or 'nothing') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return redis.call('GET', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key; times are seconds since the epoch."""

    digest: str
    owner: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int
    revoked: bool
    version: int


class KeyCopies:
    """The copies in Redis; whoever changes a fact calls it after ClickHouse has the change.

    All of it raises RedisError or OSError without Redis.
    """

    def __init__(self, redis: Redis):
        self._put = redis.register_script(_PUT)
        self._replace = redis.register_script(_REPLACE)

    async def put(self, id_: str, record: KeyRecord) -> None:
        """Replaces the copy of a key."""
        says = key_says(record)
        await self._put(keys=[key_name(id_)], args=[record.version, says, KEPT_SECONDS])

    async def put_owner(self, username: str, role: Role, *, disabled: bool, version: int) -> None:
        """Replaces what is known of a user."""
        says = "" if disabled else str(role)
        await self._put(keys=[owner_name(username)], args=[version, says, KEPT_SECONDS])

    async def renew(self, name: str, before: bytes | None, copy: bytes) -> bytes | None:
        """Writes what ClickHouse said, unless somebody wrote meanwhile: that is newer.

        Args:
            name: of the copy.
            before: what was there when ClickHouse was asked.
            copy: what ClickHouse said.

        Returns:
            What is there now.
        """
        seconds = _UNKNOWN_KEPT_SECONDS if said(copy) == _UNKNOWN else KEPT_SECONDS
        there = _NOTHING if before is None else before
        found: bytes | None = await self._replace(keys=[name], args=[there, copy, seconds])
        return found


def key_name(id_: str) -> str:
    """Returns the name of a key's copy."""
    return f"auth:apikey:{id_}"


def owner_name(username: str) -> str:
    """Returns the name of the copy of a user's role."""
    return f"auth:owner:{username}"


def copy_of(version: int, says: str) -> bytes:
    """Returns a copy of what ClickHouse says."""
    return f"{version} {says}".encode()


def said(copy: bytes | None) -> bytes | None:
    """Returns what a copy says; None for what is none."""
    found = None if copy is None else _COPY.fullmatch(copy)
    return None if found is None else found[1]


def is_good(copy: bytes | None, left_ms: int) -> bool:
    """Tells whether a copy can be used without ClickHouse, by how long Redis still keeps it."""
    says = said(copy)
    if says == _UNKNOWN:
        return True
    return says is not None and left_ms > (KEPT_SECONDS - GOOD_SECONDS) * 1000


def key_says(record: KeyRecord | None) -> str:
    """Returns what the copy of a key says; None: there is no such key."""
    return json.dumps(None if record is None else asdict(record))


def key_said(says: bytes) -> KeyRecord | None:
    """Reads it."""
    kept = json.loads(says)
    return None if kept is None else KeyRecord(**{**kept, "scopes": tuple(kept["scopes"])})
