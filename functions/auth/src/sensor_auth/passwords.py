"""Passwords: argon2id in threads of their own, so many at a time and no more; what a new one needs.

The rules for a new one are those of NIST SP 800-63B: length counts, kinds of characters do not.
https://pages.nist.gov/800-63-4/sp800-63b.html#passwordver
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sensor_auth.domain import BusyError, WeakPasswordError
from sensor_auth.settings import PasswordSettings
from sensor_shared.telemetry import metrics

_T = TypeVar("_T")
_DIFFERENT = 5
"""Characters that a password must have, repetitions not counted."""


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
        self._shortest = settings.min_length
        self._room = settings.concurrency + settings.waiting
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    def check_new(self, password: str, username: str) -> None:
        """Checks that a password can become a user's.

        Raises:
            WeakPasswordError: when it cannot.
        """
        text = _canonical(password)
        if len(text) < self._shortest:
            raise WeakPasswordError(f"it must have {self._shortest} characters or more")
        if len(set(text)) < _DIFFERENT:
            raise WeakPasswordError("it repeats too few characters")
        name, folded = username.casefold(), text.casefold()
        if name in (folded, folded[::-1]) or not folded.replace(name, "").strip("0123456789"):
            raise WeakPasswordError("it must not be the user name")

    async def hash(self, password: str) -> str:
        """Returns the hash as a PHC string.

        Raises:
            BusyError: when too many wait already.
        """
        return await self._run(self._hasher.hash, _canonical(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tells whether the password is right; never for the hash None.

        Raises:
            BusyError: when too many wait already.
        """
        kept = password_hash or self._nobodys
        right = await self._run(self._verify, kept, _canonical(password))
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
        metrics.PASSWORD_HASHES.inc()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, *arguments)
        finally:
            self._room += 1


def _canonical(password: str) -> str:
    """The same characters typed on another machine are the same password (RFC 8265)."""
    return unicodedata.normalize("NFC", password)
