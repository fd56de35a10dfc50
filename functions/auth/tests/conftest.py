"""The auth service on the real Redis and ClickHouse, called in process."""

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sensor_auth.app import Auth
from sensor_auth.settings import AuthSettings

PASSWORD = "the first admin's own"
CHEAP = {"time_cost": 1, "memory_kib": 64, "parallelism": 1}


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def key_file(tmp_path: Path, key: Ed25519PrivateKey) -> Path:
    path = tmp_path / "signing-key.pem"
    path.write_bytes(pem(key))
    return path
