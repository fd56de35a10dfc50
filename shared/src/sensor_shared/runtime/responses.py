"""Answers as ASGI messages: plain bytes and problem documents (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sensor_shared.runtime.function import Send

PROBLEM = "application/problem+json"


async def respond(
    send: Send,
    status: int,
    body: bytes = b"",
    *,
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Sends one whole answer."""
    lines = [(b"content-length", str(len(body)).encode())]
    if content_type is not None:
        lines.append((b"content-type", content_type.encode()))
    lines += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def problem(status: int, detail: str, *, title: str | None = None, **members: Any) -> bytes:
    """Returns a problem document; `detail` and further members are shown to whoever asked."""
    document = {
        "type": "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    return json.dumps(document).encode()


async def respond_problem(
    send: Send, status: int, detail: str, *, headers: Mapping[str, str] | None = None
) -> None:
    """Sends a problem document."""
    await respond(send, status, problem(status, detail), content_type=PROBLEM, headers=headers)
