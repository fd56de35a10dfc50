"""The one place that turns an HTTP request into a typed event, and an error into a status."""

import math
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

try:  # cloudevents 2, which func's middleware needs, keeps the code of 1 under another name
    from cloudevents.v1.http import CloudEvent, from_http
except ImportError:
    from cloudevents.http import CloudEvent, from_http

from sensor_shared.contracts.errors import DeliveryError, Retry
from sensor_shared.contracts.events import Event
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.responses import respond, respond_problem
from sensor_shared.telemetry import metrics
from sensor_shared.telemetry.logs import logger

EventHandler = Callable[[Event], Awaitable[None]]

_OUTCOMES = ("ok", "retry", "poison", "malformed", "error")
_LINE_SECONDS = 1.0
_TROUBLE_SECONDS = 10.0
_STRUCTURED = "application/cloudevents+json"
_CONTENT_TYPE = "ce-datacontenttype"  # where there is no header of its own, against the rules
_REQUIRED = frozenset({"ce-specversion", "ce-id", "ce-source", "ce-type"})
_KNOWN = ("id", "source", "type", "specversion", "datacontenttype", "subject", "time")


class MalformedEventError(ValueError):
    """The request is no CloudEvent."""


class BodyTooLargeError(ValueError):
    """The request's body is over the limit."""


class Refusals:
    """Logs refused events, at most one line a second: who sends a million of them gets few.

    Args:
        log: where the lines go.
        clock: seconds.
    """

    def __init__(self, log: Any, *, clock: Callable[[], float] = time.monotonic):
        self._log = log
        self._clock = clock
        self._told = float("-inf")
        self._untold = 0

    def tell(self, outcome: str, reason: str) -> None:
        """Logs a refusal, with the number of those that were not logged since the last line."""
        now = self._clock()
        if now - self._told < _LINE_SECONDS:
            self._untold += 1
            return
        self._log.warning("event refused", outcome=outcome, reason=reason, untold=self._untold)
        self._told, self._untold = now, 0


class EventApp:
    """ASGI application of a function that takes CloudEvents by POST, binary or structured.

    Answers: 202 when the handler returned, 503 or 429 with Retry-After for `Retry`, 400 for
    `Poison` and for what is no CloudEvent, 413 over the body limit, 500 for anything
    unforeseen, which is logged once. GET /metrics shows the process's metrics.
    """

    def __init__(self, function: str, handler: EventHandler, *, max_body_bytes: int):
        self._handler = handler
        self._max_body_bytes = max_body_bytes
        self._log = logger(function=function)
        self._given_back: tuple[float, str] = (float("-inf"), "")
        self._refusals = Refusals(self._log)
        self._handled = {
            outcome: metrics.EVENTS_HANDLED.labels(function, outcome) for outcome in _OUTCOMES
        }
        self._duration = metrics.EVENT_DURATION.labels(function)

    @property
    def trouble(self) -> str | None:
        """Why an event had to be given back just now; None when none had to for a while."""
        moment, reason = self._given_back
        if time.monotonic() - moment > _TROUBLE_SECONDS:
            return None
        return f"events are given back: {reason}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["method"] == "POST":
            await self._post(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD") and scope["path"] == "/metrics":
            body, content_type = metrics.exposition()
            await respond(send, 200, body, content_type=content_type)
        elif scope["method"] in ("GET", "HEAD"):
            await respond_problem(send, 404, "events are sent by POST; see also /metrics")
        else:
            await respond_problem(
                send, 405, "events are sent by POST", headers={"Allow": "POST, GET"}
            )

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        outcome = "error"
        try:
            event = decode_event(scope["headers"], await read_body(receive, self._max_body_bytes))
            await self._handler(event)
            outcome = "ok"
            await respond(send, 202)
        except BodyTooLargeError as error:
            outcome = "malformed"
            self._refusals.tell(outcome, str(error))
            await respond_problem(send, 413, str(error))
        except MalformedEventError as error:
            outcome = "malformed"
            self._refusals.tell(outcome, str(error))
            await respond_problem(send, 400, str(error))
        except DeliveryError as error:
            outcome = "retry" if isinstance(error, Retry) else "poison"
            self._refusals.tell(outcome, str(error))
            if isinstance(error, Retry):
                self._given_back = (time.monotonic(), error.reason)
            await respond_problem(send, _status(error), str(error), headers=_retry_after(error))
        except Exception:  # noqa: BLE001  (whatever a handler did not foresee is answered)
            self._log.exception("event failed")
            await respond_problem(send, 500, "the function failed; its log says why")
        finally:
            self._handled[outcome].inc()
            self._duration.observe((time.perf_counter() - started) * 1000)


def _status(error: DeliveryError) -> int:
    status: int = getattr(error, "status", 500)
    return status


def _retry_after(error: DeliveryError) -> dict[str, str]:
    if isinstance(error, Retry) and error.after is not None:
        return {"Retry-After": str(math.ceil(error.after))}
    return {}


async def read_body(receive: Receive, limit: int) -> bytes:
    """Reads a request's body.

    Raises:
        BodyTooLargeError: as soon as more than `limit` bytes have come.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedEventError("the connection ended in the middle of the body")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(f"the body is larger than {limit} bytes")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def decode_event(headers: list[tuple[bytes, bytes]], body: bytes) -> Event:
    """Decodes a CloudEvent in binary or structured content mode; data stays as it came.

    Args:
        headers: of the request, names in lower case as ASGI has them.
        body: of the request.

    Raises:
        MalformedEventError: when it is no CloudEvent 1.0, or a batch of them.
    """
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/cloudevents-batch+json":
        raise MalformedEventError("batches of CloudEvents are not taken; put many readings in one")
    try:
        if (
            kind != _STRUCTURED
            and fields.get("ce-specversion") == "1.0"
            and fields.keys() >= _REQUIRED
        ):
            # What every data plane sends. The library takes 0.1 ms for it, a third of all that an
            # event of one reading costs, and makes up a time where there is none; a test compares.
            attributes: dict[str, Any] = {
                name[3:]: value for name, value in fields.items() if name.startswith("ce-")
            }
            attributes["datacontenttype"] = fields.get("content-type", fields.get(_CONTENT_TYPE))
            return _event(attributes, body)
        decoded: CloudEvent = from_http(fields, body, data_unmarshaller=_as_it_came)
        return _event(dict(decoded.get_attributes()), _as_bytes(decoded.get_data()))
    except Exception as error:  # the library raises its own and builtin errors for bad input
        raise MalformedEventError(f"not a CloudEvent: {_why(fields, kind, error)}") from error


def _why(fields: dict[str, str], kind: str, error: Exception) -> str:
    missing = _REQUIRED - fields.keys()
    if missing and kind != _STRUCTURED and any(name.startswith("ce-") for name in fields):
        return f"without {', '.join(sorted(missing))}"  # the library names another one
    return str(error)[:200]


def _event(attributes: dict[str, Any], data: bytes) -> Event:
    return Event(
        id=_text(attributes["id"]),
        source=_text(attributes["source"]),
        type=_text(attributes["type"]),
        data=data,
        content_type=_optional(attributes.get("datacontenttype")),
        subject=_optional(attributes.get("subject")),
        time=_time(attributes.get("time")),
        extensions={k: _text(v) for k, v in attributes.items() if k not in _KNOWN},
    )


def _as_it_came(data: Any) -> Any:
    return data


def _text(value: Any) -> str:
    """JSON can spell other types, and lone surrogates, which no UTF-8 and no store can hold."""
    text = str(value)
    text.encode()
    return text


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _as_bytes(data: Any) -> bytes:
    if data is None:
        return b""
    return data.encode() if isinstance(data, str) else bytes(data)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise MalformedEventError("time must be RFC 3339 with an offset")
    return moment
