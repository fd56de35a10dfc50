"""Issues tokens: the signing key, its public half, and what goes into a token."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sensor_auth.domain import User
from sensor_shared.contracts.access import ACCESS_TOKEN, ALGORITHM, REFRESH_TOKEN
from sensor_shared.runtime.settings import SettingsError


class SigningKey:
    """An Ed25519 key with its id, the thumbprint of its public half (RFC 7638)."""

    def __init__(self, private: Ed25519PrivateKey):
        self.private = private
        self.kid = _thumbprint(private.public_key())

    @classmethod
    def read(cls, path: Path) -> "SigningKey":
        """Reads a PEM file.

        Raises:
            SettingsError: when it is not there or holds something else.
        """
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(f"TWINUP_AUTH_SIGNING_KEY_FILE: {path}: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"TWINUP_AUTH_SIGNING_KEY_FILE: {path}: not an Ed25519 key")
        return cls(key)

    @property
    def public(self) -> dict[str, Ed25519PublicKey]:
        """The public half by its id."""
        return {self.kid: self.private.public_key()}


class OwnKeys:
    """The keys of this service, for its own checks."""

    def __init__(self, keys: dict[str, Ed25519PublicKey]):
        self._keys = keys

    async def get(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the key of that id."""
        return self._keys.get(kid)


class Issuer:
    """Signs access and refresh tokens.

    Args:
        key: that signs.
        issuer: claim `iss`.
        audience: claim `aud` of access tokens; of refresh tokens it is the issuer itself.
        access_seconds: life of an access token.
        refresh_seconds: life of a refresh token.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        key: SigningKey,
        *,
        issuer: str,
        audience: str,
        access_seconds: int,
        refresh_seconds: int,
        now: Callable[[], float] = time.time,
    ):
        self._key = key
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
        headers = {"kid": self._key.kid, "typ": kind}
        return jwt.encode(payload, self._key.private, algorithm=ALGORITHM, headers=headers)


def _about(user: User, session: str) -> dict[str, str]:
    return {"sub": user.username, "role": str(user.role), "sid": session}


def new_token_id() -> str:
    """Returns an id that nobody can guess."""
    return secrets.token_urlsafe(16)


def _thumbprint(key: Ed25519PublicKey) -> str:
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True)
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    digest = hashlib.sha256(members.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
