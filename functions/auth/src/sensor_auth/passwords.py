"""Password hashes: argon2id in threads of their own, so many at a time and no more."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sensor_auth.domain import BusyError
from sensor_auth.settings import PasswordSettings

_T = TypeVar("_T")


class Passwords:
    """Hashes and verifies; the event loop goes on meanwhile.

    Verifying without a user costs as much as with one: a hash of nobody's password, made
    with the same cost, takes the place of the missing one.
    """

    def __init__(self, settings: PasswordSettings):
        self._hasher = PasswordHasher(
            time_cost=settings.time_cost,
            memory_cost=settings.memory_kib,
            parallelism=settings.parallelism,
        )
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="argon2")
        self._room = settings.concurrency + settings.waiting
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Returns the hash as a PHC string.

        Raises:
            BusyError: when too many wait already.
        """
        return await self._run(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tells whether the password is right; never for the hash None.

        Raises:
            BusyError: when too many wait already.
        """
        right = await self._run(self._verify, password_hash or self._nobodys, password)
        return right and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Tells whether the hash was made at another cost than the settings say now."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Ends the threads after the hash each is computing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., _T], *arguments: str) -> _T:
        if self._room == 0:
            raise BusyError("too many logins at a time")
        self._room -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, *arguments)
        finally:
            self._room += 1
