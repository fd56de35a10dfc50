"""Tickets: what a browser's EventSource, which cannot send a header, opens a stream with."""

import hashlib
import json
import secrets
from typing import Final

from redis.asyncio import Redis

from sensor_shared.contracts.access import Action, Claims, Role

TICKET_SECONDS: Final = 30
_BYTES: Final = 32


class Tickets:
    """Each opens one thing, once, for whom it was made, within 30 seconds.

    It stands in an address, which ends up in logs: by then it is used up or too old. Redis holds
    it under its SHA-256, so whoever reads Redis has no ticket either; 256 random bits need no slow
    hash.

    Args:
        redis: the client; its errors and timeouts are passed on.
    """

    def __init__(self, redis: Redis):
        self._redis = redis

    async def make(self, caller: Claims, action: Action) -> str:
        """Returns a ticket with which the caller can do `action`.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        ticket = secrets.token_urlsafe(_BYTES)
        kept = {
            "action": action,
            "subject": caller.subject,
            "role": caller.role,
            "session": caller.session,
            "token_id": caller.token_id,
            "issued_at": caller.issued_at,
            "expires_at": caller.expires_at,
        }
        await self._redis.set(_key(ticket), json.dumps(kept), ex=TICKET_SECONDS)
        return ticket

    async def take(self, ticket: str, action: Action) -> Claims | None:
        """Uses a ticket up; returns who may do `action` with it, None when nobody may.

        Raises:
            RedisError, OSError: when Redis does not answer.
        """
        text = await self._redis.getdel(_key(ticket))
        if text is None:
            return None
        kept = json.loads(text)
        if kept.pop("action") != action:
            return None
        return Claims(**{**kept, "role": Role(kept["role"])})


def _key(ticket: str) -> str:
    return f"live:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
