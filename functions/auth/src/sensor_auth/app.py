"""The auth service put together."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from sensor_auth.accounts import Accounts
from sensor_auth.admin_routes import oversight_routes, user_routes
from sensor_auth.administration import Administration
from sensor_auth.api_keys import ApiKeys
from sensor_auth.attempts import Attempts
from sensor_auth.domain import SecurityEvent
from sensor_auth.first_admin import FirstAdmin
from sensor_auth.key_routes import KEY_TAG, key_routes
from sensor_auth.keyring import KeyRing
from sensor_auth.passwords import Passwords
from sensor_auth.routes import TAGS, account_routes, service_routes, session_routes
from sensor_auth.security_history import SecurityHistory
from sensor_auth.security_log import SecurityLog
from sensor_auth.sessions import Sessions
from sensor_auth.settings import AuthSettings
from sensor_auth.tokens import Issuer
from sensor_auth.users import Users
from sensor_shared.adapters import redis
from sensor_shared.adapters.api_keys import KeyCheck
from sensor_shared.adapters.database import Database
from sensor_shared.adapters.sessions import SessionCheck
from sensor_shared.adapters.tokens import TokenVerifier
from sensor_shared.contracts.access import REFRESH_TOKEN
from sensor_shared.runtime.function import Receive, Scope, Send
from sensor_shared.runtime.http.application import rest_service
from sensor_shared.runtime.http.cors import cross_origin
from sensor_shared.runtime.http.exchange import Exchange
from sensor_shared.runtime.http.guard import Guard
from sensor_shared.runtime.http.limits import Limits
from sensor_shared.runtime.settings import ServerSettings, config_file
from sensor_shared.runtime.tasks import end

_QUERY_SECONDS = 5


class Auth:
    """The function `auth`.

    Args:
        settings: all of it.
        shown_on: where a generated password of the first admin is shown, once.

    Raises:
        SettingsError: when the signing key cannot be used.
    """

    name = "auth"

    def __init__(self, settings: AuthSettings, *, shown_on: TextIO):
        policy = settings.auth
        self.server: ServerSettings = settings.server
        self.logger = settings.logger
        # More requests at a time than connections is not Redis away: they wait for one.
        self._redis = redis.connect(settings.redis, wait=settings.redis.timeout, pause=1.0)
        self._database = Database(settings.clickhouse, max_execution_time=_QUERY_SECONDS)
        self._passwords = Passwords(settings.passwords)
        self._security = SecurityLog(self._database)
        self._keys = KeyRing(
            policy.signing_key_file,
            policy.keys_dir,
            seconds=policy.keys_seconds,
            changed=self._tell_of_keys,
        )
        users = Users(self._database, self._redis)
        sessions = Sessions(
            self._redis,
            self._database,
            life=policy.refresh_seconds,
            most=policy.max_sessions,
            repeat=policy.refresh_repeat_seconds,
        )
        accounts = Accounts(
            users=users,
            passwords=self._passwords,
            attempts=Attempts(self._redis, policy),
            sessions=sessions,
            issuer=Issuer(
                self._keys.signer,
                issuer=policy.issuer,
                audience=policy.audience,
                access_seconds=policy.access_seconds,
                refresh_seconds=policy.refresh_seconds,
            ),
            refresh_tokens=TokenVerifier(
                self._keys,
                issuer=policy.issuer,
                audience=policy.issuer,
                token_type=REFRESH_TOKEN,
                remembered=0,
            ),
            security=self._security,
        )
        limits = Limits(self._redis, settings.limits)
        guard = Guard(
            TokenVerifier(self._keys, issuer=policy.issuer, audience=policy.audience),
            SessionCheck(self._redis, self._database),
            keys=KeyCheck(self._redis, self._database),
            limits=limits,
        )
        self._first_admin = FirstAdmin(
            users, self._passwords, policy.admin_password, self._security, shown_on=shown_on
        )
        self._settling: asyncio.Task[None] | None = None
        self.rest = rest_service(
            title="TWINUP auth",
            description="Logs people in and says who they are. Tokens are Ed25519-signed JWTs.",
            tags=[*TAGS, KEY_TAG],
            routers=[
                session_routes(accounts, guard, limits),
                account_routes(accounts, guard),
                key_routes(
                    ApiKeys(self._database, self._redis, self._security, settings.keys), guard
                ),
                user_routes(
                    Administration(users, self._passwords, sessions, self._redis, self._security),
                    guard,
                ),
                oversight_routes(SecurityHistory(self._database), guard),
                service_routes(self._keys.public, self.ready),
            ],
        )
        self._app = Exchange("auth", cross_origin(self.rest, settings.cors), settings.server)

    async def start(self) -> None:
        """Begins to look for the first admin; ClickHouse may come later."""
        self._security.start()
        self._keys.start()
        self._settling = asyncio.create_task(self._first_admin.settle(), name="first-admin")

    async def stop(self) -> None:
        """Closes the clients."""
        await end([self._settling])
        await self._keys.stop()
        await self._security.stop()
        self._passwords.close()
        await self._redis.aclose()
        await self._database.close()

    def alive(self) -> bool:
        """False when the search for the first admin failed in a way nothing foresaw."""
        task = self._settling
        return task is None or not task.done() or task.exception() is None

    def ready(self) -> bool:
        """True once the users could be read."""
        return self._first_admin.settled

    def troubles(self) -> Sequence[str]:
        """Returns what is wrong although logins are served."""
        return [self._keys.trouble] if self._keys.trouble else []

    def _tell_of_keys(self, kids: Sequence[str]) -> None:
        detail = f"signs {kids[0]}; published too: {', '.join(kids[1:]) or 'none'}"
        self._security.record(SecurityEvent.KEYS_CHANGED, detail=detail)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._app(scope, receive, send)


def new() -> Auth:
    """Returns the function as the environment configures it.

    Raises:
        SettingsError: naming every mistake.
    """
    settings = AuthSettings.load(os.environ, config_file(os.environ, "auth"))
    return Auth(settings, shown_on=sys.stderr)
