"""Several keys at a time, files that change, and the steps of a rotation."""

import io
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sensor_auth import rotation
from sensor_auth.keyring import KeyRing, SigningKey
from sensor_auth.rotation import Rotation, RotationError
from sensor_auth.settings import PolicySettings
from sensor_shared.runtime.health import readiness
from sensor_shared.runtime.settings import SettingsError
from sensor_shared.testing import rest
from sensor_shared.testing.parts import Lines

from .conftest import log_in, pem, running, settings_of, until

DAY = 24 * 60 * 60


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def policy(key_file: Path) -> PolicySettings:
    return PolicySettings(signing_key_file=key_file, keys_dir=key_file.parent)


def ring(policy: PolicySettings, clock: Clock, seen: list[list[str]] | None = None) -> KeyRing:
    return KeyRing(
        policy.signing_key_file,
        policy.keys_dir,
        seconds=0.02,
        changed=lambda kids: seen.append(list(kids)) if seen is not None else None,
        clock=clock,
    )


def test_the_key_that_signs_is_published_first_and_all_of_the_folder_after_it(
    tmp_path: Path, policy: PolicySettings, clock: Clock, key: Ed25519PrivateKey
) -> None:
    private, public = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (tmp_path / "a.pem").write_bytes(pem(private))
    (tmp_path / "b.pem").write_bytes(
        public.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "note.txt").write_text("no key")
    kids = [SigningKey(one).kid for one in (key, private, public)]
    made = ring(policy, clock)
    assert list(made.public()) == kids
    assert made.signer().kid == kids[0]


def test_without_a_folder_only_the_key_that_signs_is_published(
    key_file: Path, clock: Clock
) -> None:
    made = ring(PolicySettings(signing_key_file=key_file), clock)
    assert list(made.public()) == [made.signer().kid]


@pytest.mark.parametrize("content", [b"no key", b"", b"an old PRIVATE KEY\n"])
def test_a_file_of_the_folder_that_is_no_key_stops_the_start(
    tmp_path: Path, policy: PolicySettings, clock: Clock, content: bytes
) -> None:
    (tmp_path / "other.pem").write_bytes(content)
    with pytest.raises(SettingsError, match=r"TWINUP_AUTH_KEYS_DIR.*other.pem"):
        ring(policy, clock)


def test_a_folder_that_is_not_there_stops_the_start(key_file: Path, clock: Clock) -> None:
    gone = PolicySettings(signing_key_file=key_file, keys_dir=key_file.parent / "gone")
    with pytest.raises(SettingsError, match="no folder"):
        ring(gone, clock)


async def test_an_unknown_key_is_looked_for_once_a_second_at_most(
    tmp_path: Path, policy: PolicySettings, clock: Clock
) -> None:
    made = ring(policy, clock)
    fresh = Ed25519PrivateKey.generate()
    kid = SigningKey(fresh).kid
    (tmp_path / "next.pem").write_bytes(pem(fresh))
    assert await made.get(kid) is None
    clock.now += 1
    assert await made.get(kid) is not None


async def test_files_that_cannot_be_read_any_more_change_nothing_and_are_told(
    tmp_path: Path, policy: PolicySettings, clock: Clock
) -> None:
    seen: list[list[str]] = []
    made = ring(policy, clock, seen)
    before = list(made.public())
    policy.signing_key_file.write_bytes(b"half a ke")
    (tmp_path / "broken.pem").write_bytes(b"")
    clock.now += 1
    assert await made.get("unknown") is None
    assert list(made.public()) == before
    assert made.signer().kid == before[0]
    assert str(policy.signing_key_file) in made.trouble
    assert seen == []


@pytest.mark.integration
async def test_a_broken_key_file_makes_a_running_service_degraded_and_no_more(
    lines: Lines, key_file: Path
) -> None:
    settings = settings_of(lines, key_file, keys_dir=key_file.parent, keys_seconds=0.02)
    async with running(settings) as auth, rest.client(auth) as http:
        await until(auth.ready)
        broken = key_file.with_name("next-broken.pem")
        broken.write_text("no key")
        await until(lambda: bool(auth.troubles()))
        assert readiness(auth) == (True, f"degraded: {auth.troubles()[0]}")
        await log_in(http)
        broken.unlink()
        await until(lambda: not auth.troubles())


async def test_a_rotation_has_no_moment_in_which_a_key_that_is_used_is_not_published(
    policy: PolicySettings, clock: Clock
) -> None:
    steps = Rotation(policy, now=clock)
    old = SigningKey.read(policy.signing_key_file).kid
    made = ring(policy, clock)

    async def published() -> list[str]:
        clock.now += 1
        await made.get("look again")
        return list(made.public())

    new = steps.add()
    assert await published() == [old, new]
    assert made.signer().kid == old
    with pytest.raises(RotationError, match="wait 59"):
        steps.sign(at_once=False)
    with pytest.raises(RotationError, match="already"):
        steps.add()
    clock.now += 600
    assert steps.sign(at_once=False) == new
    assert await published() == [new, old]
    assert made.signer().kid == new
    clock.now += DAY - 10
    with pytest.raises(RotationError, match="expired"):
        steps.retire(at_once=False)
    clock.now += 10
    [name] = steps.retire(at_once=False)
    assert old in name
    assert await published() == [new]


def test_the_private_half_of_an_old_key_is_gone_and_files_are_for_the_same_eyes(
    tmp_path: Path, policy: PolicySettings, clock: Clock, key: Ed25519PrivateKey
) -> None:
    policy.signing_key_file.chmod(0o640)
    steps = Rotation(policy, now=clock)
    steps.add()
    steps.sign(at_once=True)
    files = list(tmp_path.iterdir())
    assert len(files) == 2
    assert not any(pem(key) in path.read_bytes() for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}


def test_a_key_that_has_leaked_is_retired_at_once(policy: PolicySettings, clock: Clock) -> None:
    steps = Rotation(policy, now=clock)
    steps.add()
    steps.sign(at_once=True)
    assert len(steps.retire(at_once=True)) == 1
    assert [line.split()[0] for line in steps.show()] == ["signs"]


def test_the_command_says_what_it_did_and_what_is_to_be_done(policy: PolicySettings) -> None:
    environ = {
        "TWINUP_CONFIG_DIR": "nowhere",
        "TWINUP_AUTH_SIGNING_KEY_FILE": str(policy.signing_key_file),
        "TWINUP_AUTH_KEYS_DIR": str(policy.keys_dir),
    }
    out = io.StringIO()
    for words in (["add"], ["sign", "--now"], ["show"], ["retire", "--now"], ["show"]):
        rotation.main(words, environ, out)
    said = [line.split()[0] for line in out.getvalue().splitlines()]
    assert said == ["published", "signs", "signs", "old", "removed", "signs"]
    with pytest.raises(SystemExit, match="add one first"):
        rotation.main(["sign"], environ, out)
    del environ["TWINUP_AUTH_KEYS_DIR"]
    with pytest.raises(SystemExit, match="TWINUP_AUTH_KEYS_DIR names no folder"):
        rotation.main(["add"], environ, out)
