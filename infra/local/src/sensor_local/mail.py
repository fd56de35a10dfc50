"""The mail sink: takes mails by SMTP, keeps the newest as .eml files, shows them by HTTP.

`python -m sensor_local.mail --data DIR --smtp-port N --http-port N`
GET / is a page, GET /messages a JSON list (newest first), GET /messages/{id} one mail as it came.
"""

import argparse
import asyncio
import contextlib
import html
import json
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import count
from pathlib import Path
from typing import Any

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

KEPT = 500
_MAX_BYTES = 1024 * 1024
_PAGE = """<!doctype html><meta charset="utf-8"><title>Mail sink</title>
<style>body{{font:15px sans-serif;margin:2em}}td,th{{padding:.2em 1em;text-align:left}}</style>
<h1>Mail sink</h1><p>{total} kept, newest first; the oldest go beyond {kept}.</p>
<table><tr><th>Time<th>To<th>Subject</tr>{rows}</table>
"""


class Mailbox:
    """The newest `KEPT` mails as files `<id>.eml` with a `<id>.json` of their envelopes."""

    def __init__(self, folder: Path, kept: int = KEPT):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._kept = kept
        self._ids = sorted(path.stem for path in folder.glob("*.eml"))
        self._counter = count(int(self._ids[-1]) + 1 if self._ids else 1)

    def add(self, content: bytes, sender: str, recipients: list[str], received: datetime) -> None:
        """Keeps a mail, and lets the oldest go when there are too many."""
        name = f"{next(self._counter):010d}"
        message = _parse(content)
        described = {
            "id": name,
            "received_at": received.astimezone(UTC).isoformat(timespec="milliseconds"),
            "from": sender,
            "to": recipients,
            "subject": str(message.get("subject", "")),
            "bytes": len(content),
        }
        (self._folder / f"{name}.json").write_text(json.dumps(described), encoding="utf-8")
        (self._folder / f"{name}.eml").write_bytes(content)
        self._ids.append(name)
        while len(self._ids) > self._kept:
            oldest = self._ids.pop(0)
            (self._folder / f"{oldest}.eml").unlink(missing_ok=True)
            (self._folder / f"{oldest}.json").unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._ids)

    def list(self) -> list[dict[str, Any]]:
        """Returns id, received_at, from, to, subject and bytes of each mail, newest first."""
        files = (self._folder / f"{name}.json" for name in reversed(self._ids))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def content(self, name: str) -> bytes | None:
        """Returns a mail as it came, or None when there is none of that id."""
        return (self._folder / f"{name}.eml").read_bytes() if name in self._ids else None


def _parse(content: bytes) -> EmailMessage:
    return BytesParser(policy=policy.default).parsebytes(content, headersonly=True)


class _Receiver:
    """aiosmtpd's handler."""

    def __init__(self, mailbox: Mailbox):
        self._mailbox = mailbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.original_content or b""
        sender, recipients = envelope.mail_from or "", [str(to) for to in envelope.rcpt_tos]
        self._mailbox.add(content, sender, recipients, datetime.now(UTC))
        return "250 OK"


def web(mailbox: Mailbox) -> Starlette:
    """Returns the HTTP view of a mailbox."""

    async def page(_request: Request) -> Response:
        rows = "".join(
            f"<tr><td>{mail['received_at']}<td>{html.escape(', '.join(mail['to']))}"
            f'<td><a href="/messages/{mail["id"]}">{html.escape(mail["subject"])}</a></tr>'
            for mail in mailbox.list()
        )
        return HTMLResponse(_PAGE.format(total=len(mailbox), kept=KEPT, rows=rows))

    async def messages(_request: Request) -> Response:
        return JSONResponse(mailbox.list())

    async def message(request: Request) -> Response:
        content = mailbox.content(request.path_params["name"])
        if content is None:
            return PlainTextResponse("no such mail", 404)
        # Plain text whatever the mail holds: a browser must not run what a mail brings.
        return Response(
            content, headers={"x-content-type-options": "nosniff"}, media_type="text/plain"
        )

    routes = [
        Route("/", page),
        Route("/messages", messages),
        Route("/messages/{name}", message),
    ]
    return Starlette(routes=routes)


async def serve(folder: Path, host: str, smtp_port: int, http_port: int) -> None:
    """Serves SMTP and HTTP until SIGTERM or SIGINT."""
    mailbox = Mailbox(folder)
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(_Receiver(mailbox), data_size_limit=_MAX_BYTES, enable_SMTPUTF8=True),
        host,
        smtp_port,
    )
    config = uvicorn.Config(
        web(mailbox), host=host, port=http_port, log_level="warning", access_log=False
    )
    async with smtp:
        await uvicorn.Server(config).serve()


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_local.mail", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.data, options.host, options.smtp_port, options.http_port))


if __name__ == "__main__":
    main()
