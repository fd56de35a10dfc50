"""The REST operations on silences."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response, Security

from sensor_gateway.alerts.parameters import AlertId, Cursor
from sensor_gateway.silences.client import Silences
from sensor_gateway.silences.models import (
    ChangedSilence,
    NewSilence,
    Silence,
    SilenceOfAlert,
    SilencePage,
)
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.runtime.http.guard import Guard, GuardedRoute
from sensor_shared.runtime.http.problems import responses

TAG = {
    "name": "silences",
    "description": "Silences and maintenance windows: while one holds, nobody is told of the "
    "alerts in its scope, which are recorded all the same.",
}
SILENCE_ID: Final = "01234567-89ab-7def-8123-456789abcdef"
"""The example."""
MOST: Final = 100
"""Silences of one page: each may be 130 KiB, and an answer over gRPC 32 MiB."""
_PREFIX: Final = "/api/v1/silences"
_MADE: Final[dict[int | str, dict[str, Any]]] = {
    201: {
        "headers": {
            "Location": {"description": "of the silence", "schema": {"type": "string"}},
        }
    }
}
SilenceId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="The silence's id.",
        examples=[SILENCE_ID],
    ),
]


def silence_routes(guard: Guard, silences: Silences) -> APIRouter:
    """Returns the list of silences, one silence, and what people do with it."""
    router = APIRouter(tags=["silences"], route_class=GuardedRoute, responses=responses(502))
    reading = Security(guard, scopes=[Action.SILENCES_READ])
    writing = Security(guard, scopes=[Action.SILENCES_WRITE])

    @router.get(_PREFIX, summary="Silences", dependencies=[reading])
    async def list_silences(
        ended: Annotated[bool, Query(description="also those that are over")] = False,
        limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
        cursor: Cursor = None,
    ) -> SilencePage:
        """Answers a page of the silences, the last to end first."""
        return await silences.page(ended=ended, limit=limit, cursor=cursor)

    @router.post(_PREFIX, summary="Silence", status_code=201, responses=_MADE)
    async def create_silence(
        response: Response, claims: Annotated[Claims, writing], wanted: NewSilence
    ) -> Silence:
        """Makes a silence, or with `recurrence` a maintenance window, in the caller's name."""
        return _located(response, await silences.create(wanted, claims.subject))

    @router.get(
        f"{_PREFIX}/{{silence_id}}",
        summary="One silence",
        dependencies=[reading],
        responses=responses(404),
    )
    async def one_silence(silence_id: SilenceId) -> Silence:
        """Answers a silence; one that is over is there for a year."""
        return await silences.one(silence_id)

    @router.patch(
        f"{_PREFIX}/{{silence_id}}", summary="Change a silence", responses=responses(404, 409)
    )
    async def change_silence(
        claims: Annotated[Claims, writing], silence_id: SilenceId, wanted: ChangedSilence
    ) -> Silence:
        """Changes what is given; the caller is its author then. One that is over is 409."""
        return await silences.change(silence_id, wanted, claims.subject)

    # No DELETE: it is over then, not gone, and its end bears a name.
    @router.post(f"{_PREFIX}/{{silence_id}}/end", summary="End a silence", responses=responses(404))
    async def end_silence(claims: Annotated[Claims, writing], silence_id: SilenceId) -> Silence:
        """Ends it now; one that is over stays as it is."""
        return await silences.end(silence_id, claims.subject)

    @router.post(
        "/api/v1/alerts/{alert_id}/silence",
        summary="Silence what an alert is about",
        status_code=201,
        responses=_MADE | responses(404),
    )
    async def silence_alert(
        response: Response,
        claims: Annotated[Claims, writing],
        alert_id: AlertId,
        wanted: SilenceOfAlert,
    ) -> Silence:
        """Makes a silence for the alert's device and rule, or its type where it has no rule."""
        return _located(response, await silences.of_alert(alert_id, wanted, claims.subject))

    return router


def _located(response: Response, silence: Silence) -> Silence:
    response.headers["Location"] = f"{_PREFIX}/{silence.silence_id}"
    return silence
