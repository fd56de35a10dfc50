"""Issues tokens: what goes into them, signed with the key that signs now."""

import secrets
import time
from collections.abc import Callable

import jwt

from sensor_auth.domain import User
from sensor_auth.keyring import SigningKey
from sensor_shared.contracts.access import ACCESS_TOKEN, ALGORITHM, REFRESH_TOKEN


class Issuer:
    """Signs access and refresh tokens.

    Args:
        signer: returns the key that signs.
        issuer: claim `iss`.
        audience: claim `aud` of access tokens; of refresh tokens it is the issuer itself.
        access_seconds: life of an access token.
        refresh_seconds: life of a refresh token.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        signer: Callable[[], SigningKey],
        *,
        issuer: str,
        audience: str,
        access_seconds: int,
        refresh_seconds: int,
        now: Callable[[], float] = time.time,
    ):
        self._signer = signer
        self._issuer = issuer
        self._audience = audience
        self.access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds
        self._now = now

    def access(self, user: User, session: str) -> str:
        """Returns an access token."""
        claims = {**_about(user, session), "aud": self._audience, "jti": new_token_id()}
        return self._sign(claims, ACCESS_TOKEN, self.access_seconds)

    def refresh(self, user: User, session: str, token_id: str) -> str:
        """Returns the refresh token of that id."""
        claims = {**_about(user, session), "aud": self._issuer, "jti": token_id}
        return self._sign(claims, REFRESH_TOKEN, self._refresh_seconds)

    def _sign(self, claims: dict[str, str], kind: str, life: int) -> str:
        now = int(self._now())
        payload = {**claims, "iss": self._issuer, "iat": now, "nbf": now, "exp": now + life}
        key = self._signer()
        headers = {"kid": key.kid, "typ": kind}
        return jwt.encode(payload, key.private, algorithm=ALGORITHM, headers=headers)


def _about(user: User, session: str) -> dict[str, str]:
    return {"sub": user.username, "role": str(user.role), "sid": session}


def new_token_id() -> str:
    """Returns an id that nobody can guess."""
    return secrets.token_urlsafe(16)
