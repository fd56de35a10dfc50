"""JSON Web Tokens as they are checked: algorithm, type, issuer and audience are pinned."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sensor_shared.contracts.access import ACCESS_TOKEN, ALGORITHM, Claims, Role

_REQUIRED = ["iss", "aud", "sub", "role", "sid", "jti", "iat", "nbf", "exp"]
_LEEWAY_SECONDS = 5
_MAX_TOKEN_LENGTH = 4096


class InvalidTokenError(ValueError):
    """The token proves nothing; the message says why, without its content."""


class Keys(Protocol):
    """Where public keys come from."""

    async def get(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the key of that id, None when the issuer does not have it."""


class TokenVerifier:
    """Checks tokens; what was checked once is remembered until it expires.

    Only tokens that are valid are remembered, by their whole text, so nothing that a
    stranger sends takes room. A session that was ended is not this class's business.

    Args:
        keys: of the issuer.
        issuer: what `iss` must be.
        audience: what `aud` must be.
        token_type: what the header `typ` must be: a refresh token is no access token.
        remembered: tokens kept; the one used longest ago goes first.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str,
        audience: str,
        token_type: str = ACCESS_TOKEN,
        remembered: int = 10_000,
        now: Callable[[], float] = time.time,
    ):
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._token_type = token_type
        self._capacity = remembered
        self._now = now
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def known(self, token: str) -> Claims | None:
        """Returns what a token says that was verified before and has not expired, else None."""
        claims = self._verified.get(token)
        if claims is None or claims.expires_at + _LEEWAY_SECONDS <= self._now():
            return None
        self._verified.move_to_end(token)
        return claims

    async def verify(self, token: str) -> Claims:
        """Returns what the token says.

        Raises:
            InvalidTokenError: when it is not a token of ours for this audience, or is over.
        """
        known = self._verified.get(token)
        if known is not None:
            if known.expires_at + _LEEWAY_SECONDS <= self._now():
                del self._verified[token]
                raise InvalidTokenError("the token has expired")
            self._verified.move_to_end(token)
            return known
        claims = await self._check(token)
        if self._capacity:
            self._verified[token] = claims
            if len(self._verified) > self._capacity:
                self._verified.popitem(last=False)
        return claims

    async def _check(self, token: str) -> Claims:
        if len(token) > _MAX_TOKEN_LENGTH:
            raise InvalidTokenError("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise InvalidTokenError("the token cannot be read") from error
        kid = header.get("kid")
        if header.get("alg") != ALGORITHM or header.get("typ") != self._token_type:
            raise InvalidTokenError("the token is of another kind")
        key = await self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise InvalidTokenError("the token's key is not known")
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED, "strict_aud": True},
            )
            return _claims(payload)
        except jwt.ExpiredSignatureError as error:
            raise InvalidTokenError("the token has expired") from error
        except (jwt.InvalidTokenError, ValueError, TypeError) as error:
            raise InvalidTokenError("the token is not valid here") from error


def _claims(payload: dict[str, Any]) -> Claims:
    texts = [payload[name] for name in ("sub", "sid", "jti")]
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError("claims must be text")
    return Claims(
        subject=texts[0],
        role=Role(payload["role"]),
        session=texts[1],
        token_id=texts[2],
        issued_at=int(payload["iat"]),
        expires_at=int(payload["exp"]),
    )
