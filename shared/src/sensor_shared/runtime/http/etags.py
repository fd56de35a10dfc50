"""Entity tags: an answer that the caller has already is not sent again (RFC 9110, 13.1.2)."""

import hashlib
from collections.abc import Mapping

from fastapi import Response

REVALIDATED = "private, no-cache"
"""Cache-Control of an answer that the caller may keep, and has to ask about each time."""


def etag(body: bytes) -> str:
    """Returns the strong entity tag of a body."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def fits(if_none_match: str | None, tag: str) -> bool:
    """Tells whether the header If-None-Match names the tag; weak ones count, as for any GET."""
    if not if_none_match:
        return False
    named = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return tag in named or named == ["*"]


def answer(
    body: bytes,
    if_none_match: str | None,
    headers: Mapping[str, str],
    *,
    cache_control: str = REVALIDATED,
    media_type: str = "application/json",
) -> Response:
    """Returns 200 with the body, or 304 without it when the caller has it already.

    Args:
        body: whole.
        if_none_match: the request's header.
        headers: further ones of both answers.
        cache_control: of both answers.
        media_type: of the body.
    """
    tag = etag(body)
    named = {**headers, "ETag": tag, "Cache-Control": cache_control}
    if fits(if_none_match, tag):
        return Response(status_code=304, headers=named)
    return Response(body, media_type=media_type, headers=named)
