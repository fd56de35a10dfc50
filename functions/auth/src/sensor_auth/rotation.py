"""Replaces the key that signs tokens, without anybody having to log in again.

`python -m sensor_auth.rotation add`, some minutes later `sign`, a day later `retire`; `show` tells
where one stands. It works on the files that `TWINUP_AUTH_SIGNING_KEY_FILE` and
`TWINUP_AUTH_KEYS_DIR` name, as auth reads them:

- `add` makes a key and has it published. Who checks tokens learns it within minutes.
- `sign` makes it the one that signs. Of the old one only the public half stays, published.
- `retire` takes old ones away whose last token has expired.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sensor_auth.keyring import SigningKey
from sensor_auth.settings import AuthSettings, PolicySettings
from sensor_shared.runtime.settings import SettingsError, config_file

_STAMP = "%Y%m%dT%H%M%SZ"
_PUBLISHED_SECONDS = 10 * 60
"""Twice what a gateway takes to look at the published keys again."""


class RotationError(Exception):
    """The step cannot be taken now; the message says why."""


class Rotation:
    """The files of one set of keys.

    Args:
        policy: names the files, and how long tokens live.
        now: seconds since the epoch.

    Raises:
        RotationError: when no folder for more keys is named.
    """

    def __init__(self, policy: PolicySettings, *, now: Callable[[], float] = time.time):
        if policy.keys_dir is None:
            raise RotationError("TWINUP_AUTH_KEYS_DIR names no folder for the other keys")
        self._file = policy.signing_key_file
        self._folder = policy.keys_dir
        self._life = max(policy.refresh_seconds, policy.access_seconds)
        self._now = now

    def show(self) -> list[str]:
        """Returns one line for each key.

        Raises:
            SettingsError: when the key that signs cannot be read.
        """
        lines = [f"signs    {SigningKey.read(self._file).kid}"]
        lines += [f"next     {path.name}, {self._age(path)} s old" for path in self._files("next")]
        for path in self._files("old"):
            left = self._life - self._age(path)
            until = f"in {left} s" if left > 0 else "now"
            lines.append(f"old      {path.name}, may be retired {until}")
        return lines

    def add(self) -> str:
        """Makes the next key and returns its id.

        Raises:
            RotationError: when there is a next one already.
        """
        if self._files("next"):
            raise RotationError("there is a next key already")
        key = SigningKey(Ed25519PrivateKey.generate())
        pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._write(self._folder / self._name("next", key.kid), pem)
        return key.kid

    def sign(self, *, at_once: bool) -> str:
        """Makes the next key the one that signs and returns its id.

        Args:
            at_once: although not everybody may know it yet.

        Raises:
            RotationError: when there is none, or it was made just now.
        """
        files = self._files("next")
        if not files:
            raise RotationError("there is no next key: add one first")
        wait = _PUBLISHED_SECONDS - self._age(files[0])
        if wait > 0 and not at_once:
            raise RotationError(f"not everybody knows the next key yet: wait {wait} s")
        old, new = SigningKey.read(self._file), SigningKey.read(files[0])
        public = old.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        # In this order both keys are published at every moment.
        self._write(self._folder / self._name("old", old.kid), public)
        self._write(self._file, files[0].read_bytes())
        files[0].unlink()
        return new.kid

    def retire(self, *, at_once: bool) -> list[str]:
        """Removes old keys whose last token has expired, and returns their files' names.

        Args:
            at_once: all of them, because one has leaked: its tokens are refused from now on.

        Raises:
            RotationError: when there is none to remove.
        """
        files = [path for path in self._files("old") if at_once or self._age(path) >= self._life]
        if not files:
            raise RotationError("there is no old key whose last token has expired")
        for path in files:
            path.unlink()
        return [path.name for path in files]

    def _files(self, kind: str) -> list[Path]:
        return sorted(self._folder.glob(f"{kind}-*.pem"))

    def _name(self, kind: str, kid: str) -> str:
        return f"{kind}-{datetime.fromtimestamp(self._now(), UTC):{_STAMP}}-{kid}.pem"

    def _age(self, path: Path) -> int:
        # In the name, because copies of a file are not as old as it.
        stamp = path.name.split("-")[1]
        try:
            made = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        except ValueError as error:
            raise RotationError(f"{path}: no time in its name") from error
        return int(self._now() - made.timestamp())

    def _write(self, path: Path, content: bytes) -> None:
        """Puts a whole file in its place, for whom may read the key that signs."""
        like = self._file.stat()
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if os.geteuid() == 0:
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, like.st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    out: TextIO = sys.stdout,
) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_auth.rotation", description=__doc__)
    parser.add_argument("step", choices=["show", "add", "sign", "retire"])
    parser.add_argument("--now", action="store_true", help="sign, retire: do not wait")
    given = parser.parse_args(arguments)
    environ = os.environ if environ is None else environ
    try:
        rotation = Rotation(AuthSettings.load(environ, config_file(environ, "auth")).auth)
        if given.step == "add":
            out.write(f"published {rotation.add()}\n")
        elif given.step == "sign":
            out.write(f"signs {rotation.sign(at_once=given.now)}\n")
        elif given.step == "retire":
            out.writelines(f"removed {name}\n" for name in rotation.retire(at_once=given.now))
        else:
            out.writelines(f"{line}\n" for line in rotation.show())
    except (SettingsError, RotationError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
