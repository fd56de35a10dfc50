"""Passwords, keys, tokens, settings and the local count of attempts, without any part."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sensor_auth.domain import BusyError, User
from sensor_auth.keyring import SigningKey
from sensor_auth.passwords import Passwords
from sensor_auth.settings import AuthSettings, PasswordSettings
from sensor_auth.slowdown import LocalSlowdown
from sensor_auth.tokens import Issuer
from sensor_auth.tries import OTHERS_FIRST, LocalTries, Outcome
from sensor_shared.contracts.access import Role
from sensor_shared.runtime.settings import SettingsError

from .conftest import CHEAP, pem

USER = User("anna", "", Role.USER, "", disabled=False, created_at=datetime.now(UTC), version=1)


async def test_a_password_is_verified_by_its_argon2id_hash_and_nobody_by_none() -> None:
    passwords = Passwords(CHEAP)
    hashed = await passwords.hash("secret")
    assert hashed.startswith("$argon2id$")
    assert "secret" not in hashed
    assert await passwords.verify(hashed, "secret")
    assert not await passwords.verify(hashed, "Secret")
    assert not await passwords.verify(None, "secret")
    assert not await passwords.verify("not a hash", "secret")
    passwords.close()


async def test_a_hash_made_at_another_cost_is_outdated() -> None:
    cheap, dearer = Passwords(CHEAP), Passwords(CHEAP.model_copy(update={"time_cost": 2}))
    hashed = await cheap.hash("secret")
    assert not cheap.outdated(hashed)
    assert dearer.outdated(hashed)
    cheap.close()
    dearer.close()


async def test_more_logins_than_there_is_room_for_are_refused_at_once() -> None:
    passwords = Passwords(
        PasswordSettings(time_cost=1, memory_kib=64, parallelism=1, concurrency=1, waiting=1)
    )
    outcomes = await asyncio.gather(
        *(passwords.verify(None, "x") for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [bool] * 2 + [BusyError] * 3
    assert await passwords.verify(None, "x") is False
    passwords.close()


def test_the_default_cost_is_what_rfc_9106_recommends_for_little_memory() -> None:
    cost = PasswordSettings()
    assert (cost.time_cost, cost.memory_kib, cost.parallelism) == (3, 65_536, 4)


def test_the_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    """The key and the thumbprint are those of RFC 8037, appendix A."""
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(secret))
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_signing_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    files = {
        "missing.pem": None,
        "text.pem": b"no key",
        "ec.pem": pem(generate_private_key(SECP256R1())),
    }
    for name, content in files.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=f"TWINUP_AUTH_SIGNING_KEY_FILE.*{name}"):
            SigningKey.read(path)


def test_without_a_signing_key_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="TWINUP_AUTH_SIGNING_KEY_FILE: Field required"):
        AuthSettings.load({})


def test_a_short_admin_password_is_refused_and_not_shown() -> None:
    environ = {"TWINUP_AUTH_SIGNING_KEY_FILE": "k", "TWINUP_AUTH_ADMIN_PASSWORD": "s3cr3t"}
    with pytest.raises(SettingsError, match="TWINUP_AUTH_ADMIN_PASSWORD") as raised:
        AuthSettings.load(environ)
    assert "s3cr3t" not in str(raised.value)


def test_the_config_file_holds_the_defaults_and_only_keys_that_exist() -> None:
    file = Path(__file__).parents[3] / "configs" / "auth-config.yaml"
    environ = {"TWINUP_AUTH_SIGNING_KEY_FILE": "k"}
    assert AuthSettings.load(environ, file) == AuthSettings.load(environ)


def test_access_and_refresh_tokens_differ_in_type_and_audience() -> None:
    key = SigningKey(Ed25519PrivateKey.generate())
    issuer = Issuer(
        lambda: key,
        issuer="i",
        audience="a",
        access_seconds=900,
        refresh_seconds=86_400,
        now=lambda: 1_000.9,
    )
    tokens = {"at+jwt": issuer.access(USER, "s"), "rt+jwt": issuer.refresh(USER, "s", "id")}
    for kind, token in tokens.items():
        assert jwt.get_unverified_header(token)["typ"] == kind
    access, refresh = (
        json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        for token in tokens.values()
    )
    assert (access["aud"], access["exp"]) == ("a", 1_900)
    assert (refresh["aud"], refresh["exp"], refresh["jti"]) == ("i", 87_400, "id")


def test_the_local_lock_ends_when_its_time_is_over_and_tries_do_not_extend_it() -> None:
    now = 0.0
    tries = LocalTries(limit=2, seconds=10, clock=lambda: now)
    for _ in range(2):
        assert tries.take("k") == 0
        tries.finish("k", Outcome.WRONG)
    now = 4.0
    assert tries.take("k") == 6_000
    assert tries.take("other") == 0
    now = 10.0
    assert tries.take("k") == 0
    tries.finish("k", Outcome.RIGHT)
    assert [tries.take("k"), tries.take("k")] == [0, 0]


def test_local_tries_under_way_count_as_failures_until_they_are_finished() -> None:
    tries = LocalTries(limit=2, seconds=10, clock=lambda: 0.0)
    assert [tries.take("k"), tries.take("k"), tries.take("k")] == [0, 0, OTHERS_FIRST]
    tries.finish("k", Outcome.WITHDRAWN)
    assert tries.take("k") == 0
    tries.finish("k", Outcome.WRONG)
    assert tries.take("k") == OTHERS_FIRST
    tries.finish("k", Outcome.WRONG)
    assert tries.take("k") > 0


def test_the_local_count_is_bounded() -> None:
    tries = LocalTries(limit=1, seconds=10, clock=lambda: 0.0)
    for number in range(10_001):
        tries.take(str(number))
        tries.finish(str(number), Outcome.WRONG)
    assert len(tries._counts) == 10_000
    assert tries.take("10000") > 0


def test_local_tries_are_slowed_down_when_the_free_ones_are_used_up() -> None:
    now = 100.0
    slow = LocalSlowdown(free=3, seconds=2, clock=lambda: now)
    assert [slow.take("k") for _ in range(4)] == [0, 0, 0, 2]
    assert slow.take("other") == 0
    slow.give_back("k")
    assert [slow.take("k"), slow.take("k")] == [0, 2]
    now = 102.0
    assert [slow.take("k"), slow.take("k")] == [0, 2]
    now = 1_000.0
    assert [slow.take("k") for _ in range(4)] == [0, 0, 0, 2]
