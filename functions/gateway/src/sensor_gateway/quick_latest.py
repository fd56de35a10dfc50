"""The way that `GET /api/v1/devices/{id}/metrics` takes when all is well.

It answers only what the operation of the same path would answer with 200 or 304 from Redis, to a
token that was verified before. Whatever else is asked, or is not as it should be, is handed on
untouched: there is one place for each rule and each error.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from sensor_gateway.joined_reads import JoinedReads
from sensor_gateway.parameters import DEVICE_ID_PATTERN
from sensor_shared.adapters import latest_record
from sensor_shared.adapters.bucket import Draw
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.contracts.readings.document import encode
from sensor_shared.runtime.function import AsgiApp, Receive, Scope, Send
from sensor_shared.runtime.http import etags
from sensor_shared.telemetry import metrics

PREFIX: Final = "/api/v1/devices/"
SUFFIX: Final = "/metrics"
_DEVICE_ID: Final = re.compile(DEVICE_ID_PATTERN)

_HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"x-data-source", b"redis"),
    (b"cache-control", etags.REVALIDATED.encode()),
)
_API_KEY: Final = b"x-api-key"
_NEVER_TWICE: Final = frozenset({b"authorization", b"if-none-match"})


class KnownTokens(Protocol):
    """What this needs of `adapters.tokens.TokenVerifier`."""

    def known(self, token: str) -> Claims | None:
        """Returns what a token says that was verified before and has not expired."""


class Toll(Protocol):
    """Takes what a request costs from the buckets of its caller."""

    def plain(self, scope: Scope, claims: Claims) -> list[Draw]:
        """Returns what it costs."""

    def refuses(self, draws: Sequence[Draw]) -> bool:
        """Tells, and asks nobody, whether it is known already that there is too little left."""

    async def take(self, scope: Scope, draws: Sequence[Draw]) -> None:
        """Returns when it was taken.

        Raises:
            HTTPException: 429 when there is too little left.
        """


class _Route(NamedTuple):
    """What `Exchange` reads of a route."""

    path: str


_ROUTE: Final = _Route(f"{PREFIX}{{device_id}}{SUFFIX}")


class _Asked(NamedTuple):
    device_id: str
    claims: Claims
    if_none_match: str | None


class QuickLatest:
    """Stands before the REST service, inside of `Exchange`.

    Args:
        app: the REST service.
        tokens: verified before.
        reads: of sessions and latest readings.
        toll: is taken for what is answered here, and only for that, so after the read. Whoever is
            refused is handed on, to be told so where that is told to everybody; and while that is
            known here, without a read.
    """

    def __init__(self, app: AsgiApp, tokens: KnownTokens, reads: JoinedReads, toll: Toll):
        self._app = app
        self._tokens = tokens
        self._reads = reads
        self._toll = toll
        self._counted = metrics.CACHE_READS.labels("redis")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on."""
        asked = self._asked(scope)
        record = None if asked is None else await self._paid_record(scope, asked)
        if asked is None or record is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        self._counted.inc()
        body = encode(latest_record.decode(asked.device_id, record))
        tag = etags.etag(body)
        headers = [*_HEADERS, (b"etag", tag.encode())]
        if etags.fits(asked.if_none_match, tag):
            await send({"type": "http.response.start", "status": 304, "headers": headers[1:]})
            await send({"type": "http.response.body", "body": b""})
            return
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _asked(self, scope: Scope) -> _Asked | None:
        """Returns what is asked, None when it is nothing for this way."""
        path: str = scope["path"]
        if scope["method"] != "GET" or not path.startswith(PREFIX) or not path.endswith(SUFFIX):
            return None
        device_id = path[len(PREFIX) : -len(SUFFIX)]
        if not _DEVICE_ID.fullmatch(device_id):
            return None
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name == _API_KEY:
                return None
            if name in _NEVER_TWICE:
                if name in found:
                    return None
                found[name] = value
        scheme, _, token = found.get(b"authorization", b"").decode("latin-1").partition(" ")
        claims = self._tokens.known(token) if scheme.lower() == "bearer" else None
        if claims is None or not claims.may(Action.READINGS_READ):
            return None
        tag = found.get(b"if-none-match")
        return _Asked(device_id, claims, None if tag is None else tag.decode("latin-1"))

    async def _paid_record(self, scope: Scope, asked: _Asked) -> bytes | None:
        draws = self._toll.plain(scope, asked.claims)
        if self._toll.refuses(draws):
            return None
        record = await self._record(asked)
        if record is None:
            return None
        try:
            await self._toll.take(scope, draws)
        except HTTPException:
            return None
        return record

    async def _record(self, asked: _Asked) -> bytes | None:
        """Returns the record, None when the session has ended or Redis has none."""
        try:
            read = await self._reads.ask(asked.claims.session, asked.device_id)
        except (RedisError, OSError):
            return None
        return read.record if read.stands else None
