"""Decodes the events that arrive together in one step, and looks for breaches among them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

from sensor_shared.contracts.events import PLAIN_KAFKA_RECORD, READINGS_V1, Event
from sensor_shared.contracts.readings import Decoded, Reject, decode, decode_all, empty_batch
from sensor_shared.contracts.rules import Breach

TYPES: Final = frozenset({READINGS_V1, PLAIN_KAFKA_RECORD})
_SMALL_BYTES: Final = 4_096
"""Larger events gain nothing from company, and would hold it up."""
_MAX_EVENTS: Final = 64
"""Of one step, which nothing else in the process can interrupt."""
_JOIN_SECONDS: Final = 0.001
"""How long the first of them waits for others, which then cost little more than it alone."""


class Contents(NamedTuple):
    """What an event held, and which of its readings break alert rules."""

    decoded: Decoded
    breaches: Sequence[Breach]


class Rules(Protocol):
    """What this needs of `adapters.rules_file.RulesFile`, or of rules that never change."""

    def breaches(self, batch: pa.RecordBatch) -> Sequence[Breach]:
        """Tests every reading of a batch."""


class Decoder:
    """Joins the small events that come at about the same time, which a busy source makes many.

    Args:
        rules: tested against every reading.
        now_ms: the time, epoch milliseconds.
    """

    def __init__(self, rules: Rules, now_ms: Callable[[], int]):
        self._rules = rules
        self._now_ms = now_ms
        self._waiting: list[tuple[Event, asyncio.Future[Contents]]] = []

    async def __call__(self, event: Event) -> Contents:
        """Returns the contents of an event; bad data becomes rejects, never an error."""
        if event.type not in TYPES:
            detail = f"events of type {event.type[:200]} are not readings"
            reject = Reject(0, "unsupported_type", detail, "", event.data)
            return Contents(Decoded(empty_batch(), [reject]), ())
        if len(event.data) > _SMALL_BYTES:
            decoded = decode(event, self._now_ms())
            return Contents(decoded, self._rules.breaches(decoded.batch))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Contents] = loop.create_future()
        if not self._waiting:
            loop.call_later(_JOIN_SECONDS, self._decode_waiting)
        self._waiting.append((event, future))
        return await future

    def _decode_waiting(self) -> None:
        waiting, self._waiting = self._waiting[:_MAX_EVENTS], self._waiting[_MAX_EVENTS:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._decode_waiting)
        try:
            found = self._decode([event for event, _ in waiting])
        except Exception:  # noqa: BLE001  (nobody foresaw it; it is the matter of one of them)
            for event, future in waiting:
                self._decode_alone(event, future)
            return
        for (_, future), contents in zip(waiting, found, strict=True):
            if not future.done():
                future.set_result(contents)

    def _decode_alone(self, event: Event, future: asyncio.Future[Contents]) -> None:
        if future.done():
            return
        try:
            future.set_result(self._decode([event])[0])
        except Exception as error:  # noqa: BLE001  (the caller answers it)
            future.set_exception(error)

    def _decode(self, events: Sequence[Event]) -> list[Contents]:
        decoded = decode_all(events, self._now_ms())
        together = pa.concat_batches([one.batch for one in decoded])
        if not self._rules.breaches(together):  # nearly always: asked once for all
            return [Contents(one, ()) for one in decoded]
        return [Contents(one, self._rules.breaches(one.batch)) for one in decoded]
