"""Signatures of webhooks, as Standard Webhooks has them: receivers find libraries for them.

Signed is `{webhook-id}.{webhook-timestamp}.{body}` with HMAC-SHA256; the header holds one
signature for each secret that is valid, so that a secret can be exchanged without a gap.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
_MIN_BYTES: Final = 24
_MAX_BYTES: Final = 64
_VERSION: Final = "v1"


def key_of(secret: str) -> bytes:
    """Returns the key of a secret: 24 to 64 bytes in base64, after `whsec_`.

    Raises:
        ValueError: when it is no such secret; the text does not show it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a webhook's secret must be base64, with whsec_ before it") from error
    if not secret.startswith(PREFIX) or not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise ValueError(
            f"a webhook's secret must be whsec_ and base64 of {_MIN_BYTES} to {_MAX_BYTES} bytes"
        )
    return key


def headers(keys: Sequence[bytes], delivery: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Returns the headers that let a receiver know a delivery.

    Args:
        keys: of the endpoint, at least one; the receiver may have any of them.
        delivery: the same for every try of it, so that a repetition is recognised.
        timestamp: epoch seconds of this try; a receiver refuses old ones.
        body: exactly as it is sent.
    """
    signed = f"{delivery}.{timestamp}.".encode() + body
    signatures = (
        base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys
    )
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"{_VERSION},{one}" for one in signatures),
    }
