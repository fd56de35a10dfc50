"""The secrets of the local system, made at its first start."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sensor_local.folder import RunFolder

ADMIN_PASSWORD_VARIABLE = "TWINUP_AUTH_ADMIN_PASSWORD"  # noqa: S105 - a variable's name


@dataclass(frozen=True)
class Credentials:
    """What the processes need to trust each other, and the first admin's password."""

    clickhouse_password_file: Path
    signing_key_file: Path
    """Ed25519 private key, PKCS 8 in PEM."""
    clickhouse_password: str = field(repr=False)
    admin_password: str = field(repr=False)
    service_token: str = field(repr=False)


def load_or_make(run: RunFolder, environ: Mapping[str, str]) -> Credentials:
    """Reads the secrets of a run folder, and makes those that are not there yet.

    The admin's first password is taken from TWINUP_AUTH_ADMIN_PASSWORD when that is set.
    """
    clickhouse = run.secrets / "clickhouse-password"
    signing_key = run.secrets / "jwt-signing-key.pem"
    _keep(run, signing_key, _new_signing_key())
    return Credentials(
        clickhouse_password_file=clickhouse,
        signing_key_file=signing_key,
        clickhouse_password=_keep(run, clickhouse, secrets.token_urlsafe(24)),
        admin_password=_keep(
            run,
            run.path / "admin-password",
            environ.get(ADMIN_PASSWORD_VARIABLE) or secrets.token_urlsafe(15),
        ),
        service_token=_keep(run, run.path / "service-token", secrets.token_urlsafe(32)),
    )


def _keep(run: RunFolder, path: Path, fresh: str) -> str:
    if not path.exists():
        run.write_secret(path, fresh)
    return path.read_text(encoding="utf-8").strip()


def _new_signing_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
