"""The REST operations on API keys."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response, Security
from starlette.exceptions import HTTPException

from sensor_auth.answers import Caller
from sensor_auth.api_keys import (
    ApiKeys,
    KeyBeyondRoleError,
    KeyRefusedError,
    StoredKey,
    TooManyKeysError,
)
from sensor_auth.key_models import KeyInfo, KeyPage, MadeKey, NewKey
from sensor_shared.contracts.access import Action, Claims
from sensor_shared.contracts.api_keys import ID_PATTERN
from sensor_shared.runtime.http.guard import Guard, GuardedRoute
from sensor_shared.runtime.http.problems import responses

KEY_TAG = {"name": "keys", "description": "API keys, with which machines call the services."}
_EVERYBODY = "*"
KeyId = Annotated[str, Path(pattern=ID_PATTERN, examples=["3pXn0Zq8wT1mB6cK"])]


def key_routes(keys: ApiKeys, guard: Guard, *, now: Callable[[], float] = time.time) -> APIRouter:
    """Returns making, listing and revoking of API keys, all of which need a session."""
    router = APIRouter(prefix="/auth/keys", tags=["keys"], route_class=GuardedRoute)
    owner_of_keys = Security(guard, scopes=[Action.KEYS_MANAGE])

    @router.post("", summary="Make an API key", status_code=201, responses=responses(403, 409))
    async def make_key(
        caller: Annotated[Claims, owner_of_keys], client: Caller, wanted: NewKey
    ) -> MadeKey:
        """Answers the key, once: what is kept of it is a hash."""
        try:
            stored, key = await keys.create(
                caller,
                client,
                name=wanted.name,
                scopes=wanted.scopes,
                expires_at=wanted.expires_at,
            )
        except KeyBeyondRoleError as error:
            raise HTTPException(403, str(error)) from error
        except TooManyKeysError as error:
            raise HTTPException(409, str(error)) from error
        except KeyRefusedError as error:
            raise HTTPException(422, str(error)) from error
        return MadeKey(**_info(stored, None, now()).model_dump(), key=key.text)

    @router.get("", summary="API keys")
    async def list_keys(
        caller: Annotated[Claims, owner_of_keys],
        owner: Annotated[
            str | None,
            Query(
                min_length=1,
                max_length=64,
                description="whose; default: the caller's. Admins: any user's, or `*`, everybody's",
            ),
        ] = None,
        after: Annotated[
            str, Query(pattern=rf"{ID_PATTERN}|^$", description="`next` of the page before")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> KeyPage:
        """Answers a page of keys: those that are good, have expired or were revoked.

        A key is forgotten 90 days after it would have expired.
        """
        whose = owner or caller.subject
        if whose != caller.subject and not caller.may(Action.USERS_READ):
            raise HTTPException(403, "other users' keys are for admins")
        found = await keys.page(whose, everybody=whose == _EVERYBODY, after=after, limit=limit + 1)
        items = [_info(key, used, now()) for key, used in found[:limit]]
        return KeyPage(items=items, next=items[-1].id if len(found) > limit else None)

    @router.delete(
        "/{key_id}", summary="Revoke an API key", status_code=204, responses=responses(404)
    )
    async def revoke_key(
        caller: Annotated[Claims, owner_of_keys], client: Caller, key_id: KeyId
    ) -> Response:
        """Ends a key of the caller's, or for an admin anybody's, for good."""
        if not await keys.revoke(key_id, caller, client):
            raise HTTPException(404, "no such key")
        return Response(status_code=204)

    return router


def _info(key: StoredKey, used: datetime | None, now: float) -> KeyInfo:
    status: Literal["active", "expired", "revoked"] = "active"
    if key.revoked_at is not None:
        status = "revoked"
    elif key.expires_at <= datetime.fromtimestamp(now, UTC):
        status = "expired"
    return KeyInfo(
        id=key.id,
        name=key.name,
        owner=key.owner,
        scopes=[Action(scope) for scope in key.scopes if scope in set(Action)],
        created_at=key.created_at,
        expires_at=key.expires_at,
        status=status,
        last_used_at=used,
    )
