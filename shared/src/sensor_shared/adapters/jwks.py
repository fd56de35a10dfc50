"""Public keys of the token issuer, fetched from its JWKS address and kept."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from sensor_shared.contracts.access import ALGORITHM
from sensor_shared.runtime.settings import Section
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry.logs import logger

_MAX_BYTES = 64 * 1024
_RETRY_SECONDS = 1.0


class KeysAwayError(Exception):
    """The issuer's keys are not known yet: nobody can tell a good token from a bad one."""


class JwksSettings(Section):
    """Section JWKS: where the issuer's public keys are, and how often they are looked at."""

    url: str = "http://127.0.0.1:8082/.well-known/jwks.json"
    refresh_seconds: Annotated[float, Field(gt=0)] = 300.0
    unknown_key_seconds: Annotated[float, Field(gt=0)] = 10.0
    """An unknown key id makes it look again, at most this often: ids are chosen by strangers."""
    timeout: Annotated[float, Field(gt=0)] = 3.0


class RemoteKeys:
    """Keys fetched in the background; those known stay when the issuer is away."""

    def __init__(self, settings: JwksSettings, *, clock: Callable[[], float] = time.monotonic):
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._looked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="jwks")

    @property
    def known(self) -> bool:
        """False until the issuer has answered for the first time."""
        return bool(self._keys)

    def start(self) -> None:
        """Begins to fetch; must be called in a running event loop."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout)
        )
        self._task = asyncio.create_task(self._run(), name="jwks")

    async def stop(self) -> None:
        """Ends the background task and closes the connection."""
        await end([self._task])
        if self._session is not None:
            await self._session.close()

    async def get(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the key of that id; looks once more at the issuer for one not yet known.

        Raises:
            KeysAwayError: when the issuer has not answered yet.
        """
        if kid not in self._keys and (self._may_look() or self._lock.locked()):
            # Who comes while somebody looks waits for what that brings.
            async with self._lock:
                if kid not in self._keys and self._may_look():
                    await self._fetch()
        if not self._keys:
            raise KeysAwayError("the token issuer has not answered yet")
        return self._keys.get(kid)

    def _may_look(self) -> bool:
        return self._clock() - self._looked_at >= self._settings.unknown_key_seconds

    async def _run(self) -> None:
        while True:
            async with self._lock:
                fetched = await self._fetch()
            await asyncio.sleep(self._settings.refresh_seconds if fetched else _RETRY_SECONDS)

    async def _fetch(self) -> bool:
        if self._session is None:
            return False
        self._looked_at = self._clock()
        try:
            async with self._session.get(self._settings.url, allow_redirects=False) as response:
                response.raise_for_status()
                keys = read_keys(await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._log.warning("keys not fetched", url=self._settings.url, error=str(error))
            return False
        if keys.keys() != self._keys.keys():
            self._log.info("keys fetched", kids=sorted(keys))
        self._keys = keys
        return True


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise ValueError("the JWK set is too large")
    return bytes(body)


def read_keys(document: bytes) -> dict[str, Ed25519PublicKey]:
    """Returns the Ed25519 keys of a JWK set by their ids; other kinds of keys are left out.

    Raises:
        ValueError: when it is no JWK set, or has no key that can be used.
    """
    try:
        keys = jwt.PyJWKSet.from_json(document.decode()).keys
    except (jwt.PyJWTError, AttributeError, TypeError) as error:
        raise ValueError(f"no JWK set: {error}") from error
    usable = {
        key.key_id: key.key
        for key in keys
        if key.key_id and isinstance(key.key, Ed25519PublicKey) and key.algorithm_name == ALGORITHM
    }
    if not usable:
        raise ValueError("no Ed25519 key with an id")
    return usable


def key_set(keys: Mapping[str, Ed25519PublicKey]) -> dict[str, Any]:
    """Returns the JWK set (RFC 7517, 8037) that publishes the keys."""
    return {
        "keys": [
            {
                **jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True),
                "kid": kid,
                "use": "sig",
                "alg": ALGORITHM,
            }
            for kid, key in keys.items()
        ]
    }
