"""The signing keys: one signs, all are published, and files that change are read again.

A key comes and goes without a moment in which a good token is refused: it is published before
it signs, and stays published until its last token has expired (`sensor_auth.rotation`).
"""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from sensor_shared.runtime.settings import SettingsError
from sensor_shared.runtime.tasks import end
from sensor_shared.telemetry.logs import logger

_LOOK_SECONDS = 1.0
_FILE = "TWINUP_AUTH_SIGNING_KEY_FILE"
_FOLDER = "TWINUP_AUTH_KEYS_DIR"


class SigningKey:
    """An Ed25519 key with its id, the thumbprint of its public half (RFC 7638)."""

    def __init__(self, private: Ed25519PrivateKey):
        self.private = private
        self.kid = thumbprint(private.public_key())

    @classmethod
    def read(cls, path: Path) -> "SigningKey":
        """Reads a PEM file.

        Raises:
            SettingsError: when it is not there or holds something else.
        """
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError(f"{_FILE}: {path}: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{_FILE}: {path}: not an Ed25519 key")
        return cls(key)


class KeyRing:
    """The key that signs and those that are published.

    Args:
        file: private key that signs.
        folder: whose files `*.pem`, private or public keys, are published as well; the
            file that signs may be one of them.
        seconds: between two looks at the files.
        changed: called with the ids of all keys, the signing one first, when they are others.
        clock: seconds.

    Raises:
        SettingsError: when a file cannot be used.
    """

    def __init__(
        self,
        file: Path,
        folder: Path | None,
        *,
        seconds: float,
        changed: Callable[[Sequence[str]], None] = lambda _kids: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._file = file
        self._folder = folder
        self._seconds = seconds
        self._changed = changed
        self._clock = clock
        self._looked_at = clock()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._log = logger(part="keys")
        self._signer, self._public = self._read()
        self.trouble = ""
        """Why the files could not be read lately; what was read before holds."""

    def signer(self) -> SigningKey:
        """Returns the key that signs now."""
        return self._signer

    def public(self) -> Mapping[str, Ed25519PublicKey]:
        """Returns the published keys by their ids, the signing one first."""
        return self._public

    async def get(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the published key of that id.

        For an id that is not known the files are looked at once more, once in a second at
        most: another replica may have seen a new key first.
        """
        if kid not in self._public and (self._may_look() or self._lock.locked()):
            # Who comes while somebody looks waits for what that brings.
            async with self._lock:
                if self._may_look():
                    await self._look()
        return self._public.get(kid)

    def start(self) -> None:
        """Begins to look at the files; must be called in a running event loop."""
        self._changed(list(self._public))
        self._task = asyncio.create_task(self._run(), name="keys")

    async def stop(self) -> None:
        """Ends that."""
        await end([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            async with self._lock:
                await self._look()

    def _may_look(self) -> bool:
        return self._clock() - self._looked_at >= _LOOK_SECONDS

    async def _look(self) -> None:
        self._looked_at = self._clock()
        try:
            signer, public = await asyncio.to_thread(self._read)
        except SettingsError as error:
            if str(error) != self.trouble:
                self.trouble = str(error)
                self._log.error("keys not read again", error=self.trouble)
            return
        self.trouble = ""
        if list(public) != list(self._public):
            self._signer, self._public = signer, public
            self._changed(list(public))

    def _read(self) -> tuple[SigningKey, dict[str, Ed25519PublicKey]]:
        while True:
            signer = SigningKey.read(self._file)
            keys = {signer.kid: signer.private.public_key()}
            keys.update(_published(self._folder) if self._folder is not None else {})
            # Between the two looks another key may have come to sign, and left the folder for it.
            if SigningKey.read(self._file).kid == signer.kid:
                return signer, keys


def _published(folder: Path) -> dict[str, Ed25519PublicKey]:
    if not folder.is_dir():
        raise SettingsError(f"{_FOLDER}: {folder}: no folder")
    keys = [_public_half(path) for path in sorted(folder.glob("*.pem"))]
    return {thumbprint(key): key for key in keys}


def _public_half(path: Path) -> Ed25519PublicKey:
    try:
        pem = path.read_bytes()
        if b"PRIVATE KEY" in pem:
            private = load_pem_private_key(pem, password=None)
            key = private.public_key()
        else:
            key = load_pem_public_key(pem)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{_FOLDER}: {path}: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{_FOLDER}: {path}: not an Ed25519 key")
    return key


def thumbprint(key: Ed25519PublicKey) -> str:
    """Returns the id of a key (RFC 7638, 8037)."""
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True)
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    digest = hashlib.sha256(members.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
