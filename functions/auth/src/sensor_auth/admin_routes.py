"""The REST operations for admins: users, roles, and the security log."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, Security

from sensor_auth.admin_models import (
    CreatedUser,
    EventFilter,
    EventPage,
    EventView,
    NewUser,
    PasswordReset,
    ShownPassword,
    UserChange,
    Username,
    UserPage,
    UserView,
)
from sensor_auth.administration import Administration
from sensor_auth.answers import Caller, answered
from sensor_auth.domain import USERNAME
from sensor_auth.models import Ended, RolePermissions, SessionList
from sensor_auth.routes import permissions, session_list
from sensor_auth.security_history import SecurityHistory, cursor_of
from sensor_shared.contracts.access import Action, Claims, Role
from sensor_shared.runtime.http.guard import Guard, GuardedRoute
from sensor_shared.runtime.http.problems import responses

Limit = Annotated[int, Query(ge=1, le=1_000, description="most entries of a page")]
Name = Annotated[Username, Path()]


def user_routes(administration: Administration, guard: Guard) -> APIRouter:
    """Returns what admins do with users."""
    router = APIRouter(prefix="/auth/admin", tags=["administration"], route_class=GuardedRoute)
    reader = Security(guard, scopes=[Action.USERS_READ])
    writer = Security(guard, scopes=[Action.USERS_WRITE])

    @router.get("/users", summary="List users")
    async def list_users(
        _caller: Annotated[Claims, reader],
        limit: Limit = 100,
        cursor: Annotated[str | None, Query(pattern=USERNAME)] = None,
    ) -> UserPage:
        """Answers users in the order of their names, page by page."""
        found = await answered(administration.page(cursor or "", limit + 1))
        return UserPage(
            users=[UserView.of(user) for user in found[:limit]],
            next_cursor=found[limit - 1].username if len(found) > limit else None,
        )

    @router.post("/users", summary="Create a user", status_code=201, responses=responses(409))
    async def create_user(
        caller: Annotated[Claims, writer], client: Caller, body: NewUser
    ) -> CreatedUser:
        """Creates a user. Without a password one is made and shown in this answer alone."""
        user, shown = await answered(
            administration.create(
                caller,
                client,
                body.username,
                role=body.role,
                email=body.email,
                password=body.password,
            )
        )
        return CreatedUser(**UserView.of(user).model_dump(), password=shown)

    @router.get("/users/{username}", summary="One user", responses=responses(404))
    async def get_user(_caller: Annotated[Claims, reader], username: Name) -> UserView:
        """Answers the account as it is now."""
        return UserView.of(await answered(administration.user(username)))

    @router.patch("/users/{username}", summary="Change a user", responses=responses(404, 409))
    async def change_user(
        caller: Annotated[Claims, writer], client: Caller, username: Name, body: UserChange
    ) -> UserView:
        """Changes what is given. A role or a state ends the user's sessions, so it holds at once.

        The last admin who can log in stays one: 409.
        """
        changed = administration.change(
            caller, client, username, role=body.role, email=body.email, disabled=body.disabled
        )
        return UserView.of(await answered(changed))

    @router.delete(
        "/users/{username}", summary="Delete a user", status_code=204, responses=responses(404, 409)
    )
    async def delete_user(
        caller: Annotated[Claims, writer], client: Caller, username: Name
    ) -> Response:
        """Erases the account and ends its sessions. Nobody else ever gets the name."""
        await answered(administration.delete(caller, client, username))
        return Response(status_code=204)

    @router.post(
        "/users/{username}/password", summary="Reset a password", responses=responses(404, 409)
    )
    async def reset_password(
        caller: Annotated[Claims, writer], client: Caller, username: Name, body: PasswordReset
    ) -> ShownPassword:
        """Sets a password and ends the sessions. Without one it is made and shown here alone."""
        shown = administration.reset_password(caller, client, username, body.password)
        return ShownPassword(password=await answered(shown))

    @router.get("/users/{username}/sessions", summary="A user's sessions", responses=responses(404))
    async def list_user_sessions(caller: Annotated[Claims, reader], username: Name) -> SessionList:
        """Answers the sessions that stand."""
        return session_list(await answered(administration.sessions(username)), caller)

    @router.delete(
        "/users/{username}/sessions", summary="End a user's sessions", responses=responses(404)
    )
    async def end_user_sessions(
        caller: Annotated[Claims, writer], client: Caller, username: Name
    ) -> Ended:
        """Ends all sessions of the user; the user may log in again."""
        return Ended(ended=await answered(administration.end_sessions(caller, client, username)))

    return router


def oversight_routes(history: SecurityHistory, guard: Guard) -> APIRouter:
    """Returns the permission table and the security log."""
    router = APIRouter(prefix="/auth/admin", tags=["administration"], route_class=GuardedRoute)

    @router.get("/roles", summary="The permission table")
    async def roles(
        _caller: Annotated[Claims, Security(guard, scopes=[Action.ROLES_READ])],
    ) -> RolePermissions:
        """Answers what each role may do."""
        return RolePermissions(roles={role: permissions(role) for role in Role})

    @router.get("/events", summary="The security log")
    async def events(
        _caller: Annotated[Claims, Security(guard, scopes=[Action.EVENTS_READ])],
        wanted: Annotated[EventFilter, Query()],
    ) -> EventPage:
        """Answers events, the newest first. They are there a second after they happened."""
        values = wanted.model_dump()
        limit = values.pop("limit")
        found = await answered(history.page(limit=limit + 1, **values))
        return EventPage(
            events=[EventView.of(one) for one in found[:limit]],
            next_cursor=cursor_of(found[limit - 1]) if len(found) > limit else None,
        )

    return router
