"""Checking tokens, the keys they are checked with, and the permission table."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sensor_shared.adapters.jwks import JwksSettings, KeysAwayError, RemoteKeys, key_set, read_keys
from sensor_shared.adapters.tokens import InvalidTokenError, TokenVerifier
from sensor_shared.contracts.access import PERMISSIONS, Action, Role
from sensor_shared.testing.tokens import access_token, forged

KEY = Ed25519PrivateKey.generate()


class OneKey:
    """Knows one key, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, kid: str) -> Ed25519PublicKey | None:
        self.asked += 1
        return KEY.public_key() if kid == "k" else None


def verifier(keys: OneKey, remembered: int = 10) -> TokenVerifier:
    return TokenVerifier(keys, issuer="twinup-auth", audience="twinup", remembered=remembered)


async def test_a_good_token_is_read_and_remembered() -> None:
    keys = OneKey()
    checking = verifier(keys)
    token = access_token(KEY, "k", "user", "s")
    claims = await checking.verify(token)
    assert (claims.subject, claims.role, claims.session) == ("user", Role.USER, "s")
    assert claims.expires_at - claims.issued_at == 900
    assert await checking.verify(token) is claims
    assert keys.asked == 1


async def test_what_is_remembered_expires() -> None:
    now = 0.0
    checking = TokenVerifier(OneKey(), issuer="twinup-auth", audience="twinup", now=lambda: now)
    token = access_token(KEY, "k", "user", "s")
    claims = await checking.verify(token)
    now = claims.expires_at + 5.0
    with pytest.raises(InvalidTokenError, match="expired"):
        await checking.verify(token)


async def test_wrong_tokens_are_refused_and_take_no_room() -> None:
    checking = verifier(OneKey())
    token = access_token(KEY, "k", "admin", "s")
    for wrong, text in forged(token, KEY).items():
        with pytest.raises(InvalidTokenError):
            pytest.fail(f"{wrong}: {await checking.verify(text)}")
    assert not checking._verified


async def test_only_so_many_tokens_are_remembered() -> None:
    keys = OneKey()
    checking = verifier(keys, remembered=2)
    tokens = [access_token(KEY, "k", "user", str(n)) for n in range(3)]
    for token in tokens:
        await checking.verify(token)
    await checking.verify(tokens[2])
    assert keys.asked == 3
    await checking.verify(tokens[0])
    assert keys.asked == 4


def test_a_key_set_is_read_as_it_was_written() -> None:
    document = json.dumps(key_set({"k": KEY.public_key()})).encode()
    assert read_keys(document) == {"k": KEY.public_key()}
    assert b'"d"' not in document


def test_what_is_no_key_set_is_refused() -> None:
    for document in (
        b"", b"[]", b"{}", b"x", b"\xff", b'{"keys":[]}', b'{"keys":3}',
        b'{"keys":[{"kty":"oct","k":"AAAA","kid":"k"}]}',
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r".+"):
            read_keys(document)


class Served:
    """A JWKS address that answers what the test says."""

    def __init__(self) -> None:
        self.answer = web.Response(status=503)
        self.url = ""
        self.asked = 0

    async def get(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.answer.body, status=self.answer.status)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    app = web.Application()
    app.router.add_get("/keys", made.get)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield made
    await runner.cleanup()


async def test_keys_are_fetched_once_the_issuer_is_there_and_kept_when_it_goes(
    served: Served,
) -> None:
    keys = RemoteKeys(JwksSettings(url=served.url, unknown_key_seconds=0.01, refresh_seconds=0.05))
    keys.start()
    with pytest.raises(KeysAwayError):
        await keys.get("k")
    served.answer = web.json_response(key_set({"k": KEY.public_key()}))
    async with asyncio.timeout(20):
        while not keys.known:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for broken in (web.Response(status=500), web.Response(body=b"x" * 100_000)):
        served.answer = broken
        await keys._fetch()
        assert await keys.get("k") == KEY.public_key()
        assert await keys.get("other") is None
    await keys.stop()


async def test_tokens_of_a_new_key_that_come_together_all_wait_for_one_look(served: Served) -> None:
    served.answer = web.json_response(key_set({"old": KEY.public_key()}))
    clock = 0.0
    keys = RemoteKeys(JwksSettings(url=served.url, refresh_seconds=1_000), clock=lambda: clock)
    keys.start()
    async with asyncio.timeout(20):
        while not keys.known:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    asked = served.asked
    served.answer = web.json_response(key_set({"new": KEY.public_key()}))
    clock = 10.0
    found = await asyncio.gather(*(keys.get("new") for _ in range(20)))
    assert found == [KEY.public_key()] * 20
    # And however many ids are invented: nobody asks again before the time is over.
    await asyncio.gather(*(keys.get(f"invented-{number}") for number in range(100)))
    assert served.asked - asked == 1
    await keys.stop()


def test_every_action_has_its_roles_and_an_admin_may_do_all() -> None:
    assert set(PERMISSIONS) == set(Action)
    assert all(Role.ADMIN in roles for roles in PERMISSIONS.values())
