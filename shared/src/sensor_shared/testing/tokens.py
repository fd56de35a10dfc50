"""Tokens for tests: good ones, and those that are wrong in one way, as an attacker makes them."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sensor_shared.contracts.access import ACCESS_TOKEN, ALGORITHM


def access_token(
    key: Ed25519PrivateKey, kid: str, role: str, session: str, *, life: int = 900
) -> str:
    """Returns an access token as auth issues it with its default settings."""
    now = int(time.time())
    claims = {
        "iss": "twinup-auth",
        "aud": "twinup",
        "sub": role,
        "role": role,
        "sid": session,
        "jti": uuid.uuid4().hex,
        "iat": now,
        "nbf": now,
        "exp": now + life,
    }
    headers = {"kid": kid, "typ": ACCESS_TOKEN}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers=headers)


def forged(
    token: str, key: Ed25519PrivateKey, *, elsewhere: str = "https://keys.example.com/jwks.json"
) -> dict[str, str]:
    """Returns wrong variants of a good access token, by what is wrong with them.

    Args:
        token: that is good.
        key: that signed it.
        elsewhere: where some of them say that their key is.
    """
    header = jwt.get_unverified_header(token)
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    start, _, signature = token.rpartition(".")
    stranger = Ed25519PrivateKey.generate()
    stranger_jwk = jwt.algorithms.OKPAlgorithm.to_jwk(stranger.public_key(), as_dict=True)

    def signed(changes: dict[str, Any] | None = None, **headers: Any) -> str:
        return jwt.encode(
            {**claims, **(changes or {})}, key, algorithm="EdDSA", headers={**header, **headers}
        )

    def by_stranger(**headers: Any) -> str:
        return jwt.encode(claims, stranger, algorithm="EdDSA", headers={**header, **headers})

    def by_hmac(secret: bytes) -> str:
        text = f"{_part({**header, 'alg': 'HS256'})}.{_part(claims)}"
        return f"{text}.{_base64(hmac.digest(secret, text.encode(), hashlib.sha256))}"

    return {
        "nothing": "",
        "no token": "not-a-token",
        "three dots": "...",
        "expired": signed({"iat": 1, "nbf": 1, "exp": claims["iat"] - 60}),
        "not yet valid": signed({"nbf": claims["exp"] + 3600, "exp": claims["exp"] + 7200}),
        "wrong audience": signed({"aud": "somebody-else"}),
        "audience among others": signed({"aud": [claims["aud"], "somebody-else"]}),
        "wrong issuer": signed({"iss": "somebody-else"}),
        "unknown role": signed({"role": "root"}),
        "no session": signed({"sid": ""}),
        "session is no text": signed({"sid": {"a": 1}}),
        "refresh token": signed(typ="rt+jwt"),
        "no type": signed(typ=None),
        "unknown key id": signed(kid="somebody-else"),
        "key id is a path": signed(kid="../../etc/passwd"),
        "key id is SQL": signed(kid=f"{header['kid']}' OR '1'='1"),
        "key id ends early": signed(kid=f"{header['kid']}\0"),
        "a critical extension": signed(crit=["b64"], b64=True),
        "its own key": by_stranger(jwk=stranger_jwk),
        "its own key under our id": by_stranger(jwk={**stranger_jwk, "kid": header["kid"]}),
        "keys from elsewhere": by_stranger(jku=elsewhere),
        "certificate from elsewhere": by_stranger(x5u=elsewhere),
        "its own certificate": by_stranger(x5c=["AAAA"]),
        "HS256 with no secret": by_hmac(b""),
        "HS256 with the key id": by_hmac(header["kid"].encode()),
        "signature of another token": f"{start}.{signed({'jti': 'b'}).rpartition('.')[2]}",
        "wrong key": by_stranger(),
        "changed claims": f"{_part(header)}.{_part({**claims, 'role': 'admin'})}.{signature}",
        "no signature": f"{start}.",
        "alg none": f"{_part({**header, 'alg': 'none'})}.{_part(claims)}.",
        "alg None": f"{_part({**header, 'alg': 'None'})}.{_part(claims)}.{signature}",
        "HS256 with the public key": by_hmac(public),
        "HS256 with the raw public key": by_hmac(raw),
        "too long": f"{start}{'A' * 8192}.{signature}",
        **{
            f"without {name}": jwt.encode(
                {other: value for other, value in claims.items() if other != name},
                key,
                algorithm="EdDSA",
                headers=header,
            )
            for name in claims
        },
    }


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
