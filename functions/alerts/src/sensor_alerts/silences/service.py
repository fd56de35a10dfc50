"""SilenceService: the gRPC contract on top of the silences."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import grpc

from sensor_alerts import calls, places
from sensor_alerts.calls import Context
from sensor_alerts.domain.alert import epoch_ms
from sensor_alerts.places import Place
from sensor_alerts.silences import messages
from sensor_alerts.silences.silences import (
    SilenceError,
    SilenceOverError,
    Silences,
    UnknownSilenceError,
)
from sensor_shared.adapters.database import DatabaseAwayError
from sensor_shared.telemetry.logs import logger
from twinup.alert.v1 import silence_pb2, silence_pb2_grpc


class SilenceService(silence_pb2_grpc.SilenceServiceServicer):
    """Answers INVALID_ARGUMENT with what is wrong, NOT_FOUND, UNAVAILABLE when ClickHouse is away.

    Who the author is, the caller says: it has the service token, and knows the user.

    Args:
        silences: makes, changes and ends them.
        timeout: seconds that a call may take.
        now: the time, UTC.
    """

    def __init__(
        self,
        silences: Silences,
        *,
        timeout: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._silences = silences
        self._timeout = timeout
        self._now = now
        self._log = logger(part="grpc")

    async def CreateSilence(  # noqa: N802  (gRPC's name)
        self, request: silence_pb2.CreateSilenceRequest, context: Context
    ) -> silence_pb2.Silence:
        """Makes a silence; it holds on this replica at once."""
        async with self._answering(context):
            fields = {"scope": {}, "author": "", "reason": ""} | messages.fields(request)
            silence = await self._silences.create(fields)
            self._log.info("silence made", silence=silence.silence_id, author=silence.author)
            return messages.message(silence, self._now())

    async def GetSilence(  # noqa: N802
        self, request: silence_pb2.GetSilenceRequest, context: Context
    ) -> silence_pb2.Silence:
        """Returns one."""
        async with self._answering(context):
            silence = await self._silences.get(request.silence_id)
            return messages.message(silence, self._now())

    async def ListSilences(  # noqa: N802
        self, request: silence_pb2.ListSilencesRequest, context: Context
    ) -> silence_pb2.ListSilencesResponse:
        """Lists them, a page at a time."""
        async with self._answering(context):
            limit = calls.limit(request.limit)
            after = places.read(request.cursor, request.ended, "cursor")
            found = await self._silences.page(ended=request.ended, after=after, limit=limit + 1)
            now, shown = self._now(), found[:limit]
            last = Place(epoch_ms(shown[-1].ends_at), shown[-1].silence_id) if shown else None
            return silence_pb2.ListSilencesResponse(
                silences=[messages.message(silence, now) for silence in shown],
                next_cursor=last.write(request.ended) if last and len(found) > limit else "",
            )

    async def UpdateSilence(  # noqa: N802
        self, request: silence_pb2.UpdateSilenceRequest, context: Context
    ) -> silence_pb2.Silence:
        """Changes one."""
        async with self._answering(context):
            if not request.author:
                raise SilenceError("author: must say who changes it")
            silence = await self._silences.change(request.silence_id, messages.fields(request))
            self._log.info("silence changed", silence=silence.silence_id, author=silence.author)
            return messages.message(silence, self._now())

    async def EndSilence(  # noqa: N802
        self, request: silence_pb2.EndSilenceRequest, context: Context
    ) -> silence_pb2.Silence:
        """Ends one."""
        async with self._answering(context):
            if not request.author:
                raise SilenceError("author: must say who ends it")
            silence = await self._silences.end(request.silence_id, request.author)
            self._log.info("silence ended", silence=silence.silence_id, author=request.author)
            return messages.message(silence, self._now())

    @asynccontextmanager
    async def _answering(self, context: Context) -> AsyncIterator[None]:
        """Turns errors into status codes."""
        async with calls.answering(context, self._timeout, self._log):
            try:
                yield
            except UnknownSilenceError as error:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            except SilenceOverError as error:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            except SilenceError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except DatabaseAwayError as error:
                self._log.warning("call refused", reason=str(error))
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the silences are away")
