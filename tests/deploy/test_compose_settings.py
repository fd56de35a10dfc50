"""Processes in Compose are told what they need, and each file, secret and address is there."""

import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sensor_dispatcher.wiring import read

from .compose import (
    EVERY,
    FOLDER,
    GIVEN,
    MODELS,
    OURS,
    PARTS,
    PRODUCTION,
    VARIABLE,
    WHOLE,
    environment,
    service,
    source,
    text,
)
from .dockerfiles import ROOT, stages
from .processes import COMMANDS, FUNCTIONS, TOOLS, leaves, loaded, unknown

every_service = pytest.mark.parametrize(("kind", "name"), EVERY)
every_service_of_ours = pytest.mark.parametrize(("kind", "name"), OURS)
LISTENING = {
    **{name: {8080} for name in FUNCTIONS},
    "alerts": {8080, 50051},
    "kafka": {9092},
    "clickhouse": {8123},
    "redis": {6379},
    "mosquitto": {1883},
    "mailpit": {1025},
}


def settings_of(name: str, found: Mapping[str, Any]) -> list[Any]:
    if (function := environment(found).get("TWINUP_FUNCTION")) is not None:
        assert function == name
        return [FUNCTIONS[function]]
    module = found["command"][0]
    return list(COMMANDS) if name == "tools" else [TOOLS[module]] if module in TOOLS else []


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What secrets.sh makes, and the mail server's password, which nobody can make."""
    folder = tmp_path_factory.mktemp("compose")
    for name in ("secrets.sh", ".env.example"):
        shutil.copy(FOLDER / name, folder)
    subprocess.run([folder / "secrets.sh"], check=True)
    (folder / "secrets" / "smtp-password").write_text("swordfish")
    return folder / "secrets"


@every_service_of_ours
def test_every_variable_is_one_that_its_process_reads(kind: str, name: str) -> None:
    found = service(kind, name)
    assert unknown(environment(found), *settings_of(name, found)) == []


@every_service_of_ours
def test_no_process_is_left_with_the_address_of_another_machine(
    kind: str, name: str, secrets: Path
) -> None:
    """Every address is given, and each is a service's with a port that it listens on."""
    found = service(kind, name)
    image = found["image"].rpartition("-")[2].partition(":")[0]
    given = stages(image)[-1].environment() | environment(found)
    for settings in settings_of(name, found):
        config = name if name in FUNCTIONS else found["command"][0].removeprefix("sensor_")
        values = dict(leaves(loaded(config, settings, given, secrets)))
        local = {k: v for k, v in values.items() if re.search(r"127\.0\.0\.1|localhost", str(v))}
        assert local == {}
        assert values.get("server.host", "0.0.0.0") == "0.0.0.0"
        for host, port in addresses(values):
            if host == GIVEN["SMTP_HOST"]:
                continue
            assert port in LISTENING[host], f"{name} goes to {host}:{port}"


def addresses(values: Mapping[str, Any]) -> set[tuple[str, int]]:
    found = set()
    for name, value in values.items():
        section, _, key = name.partition(".")
        if key == "host" and section not in ("server", "grpc"):
            found.add((value, values[f"{section}.port"]))
        elif key in ("brokers", "target", "url") or key.startswith("sinks"):
            parts = urlsplit(value if "//" in value else f"//{value}")
            found.add((parts.hostname or "", parts.port or 0))
    return found


def test_the_dispatcher_knows_every_service_that_the_wiring_names() -> None:
    wiring = read(ROOT / "eventing")
    given = environment(service("whole", "dispatcher"))["TWINUP_DISPATCHER_SINKS"]
    sinks = dict(entry.split("=") for entry in given.split(","))
    assert sinks == {name: f"http://{name}:8080" for name in wiring.services}
    assert environment(service("whole", "tools"))["TWINUP_DISPATCHER_SINKS"] == given


@every_service
def test_a_service_has_the_secrets_that_it_reads_and_no_other(kind: str, name: str) -> None:
    found = service(kind, name)
    words = json.dumps([found.get(k) for k in ("environment", "command", "entrypoint")])
    assert set(re.findall(r"/run/secrets/([\w-]+)", words)) == set(found.get("secrets", []))
    plain = {
        key
        for key in environment(found)
        if re.search("PASSWORD|TOKEN|SECRET", key) and not key.endswith("_FILE")
    }
    assert plain <= {"GF_SECURITY_ADMIN_PASSWORD"}


@pytest.mark.parametrize("kind", MODELS)
def test_secrets_and_volumes_are_declared_and_used(kind: str, secrets: Path) -> None:
    found = MODELS[kind]
    used = {name for one in found["services"].values() for name in one.get("secrets", [])}
    assert used == found["secrets"].keys()
    assert used <= {path.name for path in secrets.iterdir()}
    mounted = {volume.split(":")[0] for one in found["services"].values()
               for volume in one.get("volumes", []) if source(volume) is None}  # fmt: skip
    assert mounted == found["volumes"].keys()
    folder = GIVEN["SECRETS_DIR"] if kind == "production" else "./secrets"
    assert {one["file"] for one in found["secrets"].values()} == {f"{folder}/{n}" for n in used}


@every_service
def test_what_is_mounted_from_this_machine_exists_and_is_read_only(
    kind: str, name: str, secrets: Path
) -> None:
    folder = Path(GIVEN["SECRETS_DIR"]) if kind == "production" else FOLDER / "secrets"
    for volume in service(kind, name).get("volumes", []):
        if (path := source(volume)) is not None:
            if path.is_relative_to(folder):
                assert (secrets / path.relative_to(folder)).is_dir(), volume
            else:
                assert path.exists(), volume
                assert path.is_relative_to(ROOT / "infra")
            assert volume.endswith(":ro")


@pytest.mark.parametrize("file", [WHOLE, PARTS, PRODUCTION])
def test_no_variable_has_a_default_and_each_is_explained(file: str) -> None:
    example = text(".env.example")
    asked: set[str] = set()
    for name, message in VARIABLE.findall(text(file)):
        assert message.startswith(":?") or name in asked, (
            f"{name} would be empty when it is not set"
        )
        asked.add(name)
        assert re.search(rf"^#? ?{name}=", example, re.MULTILINE)
    assert re.search(r"^GRAFANA_PASSWORD=$", example, re.MULTILINE), (
        "no password to be left as it is"
    )


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in files(folder)}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_auth_reads_the_keys_that_are_added_to_the_folder_that_it_has_mounted(
    secrets: Path, tmp_path: Path
) -> None:
    """Whoever adds one: containers run as other users."""
    keys = tmp_path / "signing-keys"
    shutil.copytree(secrets / "signing-keys", keys)
    found = environment(service("whole", "auth"))
    [mounted] = service("whole", "auth")["volumes"]
    assert mounted == f"./secrets/signing-keys:{found['TWINUP_AUTH_KEYS_DIR']}:ro"
    given = {
        name: value.replace(found["TWINUP_AUTH_KEYS_DIR"], str(keys))
        for name, value in found.items()
        if name in {"TWINUP_AUTH_KEYS_DIR", "TWINUP_AUTH_SIGNING_KEY_FILE"}
    }
    command = [sys.executable, "-m", "sensor_auth.rotation"]
    subprocess.run([*command, "add"], env=given, check=True, umask=0o077)
    subprocess.run([*command, "sign", "--now"], env=given, check=True, umask=0o077)
    assert len(files(keys)) > 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(keys)} == {0o644}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o755


def test_the_signing_key_of_an_older_version_is_taken_on(tmp_path: Path) -> None:
    for name in ("secrets.sh", ".env.example"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "secrets").mkdir()
    old = tmp_path / "secrets" / "signing-key"
    old.write_text("the key that signs")
    subprocess.run([tmp_path / "secrets.sh"], check=True)
    assert texts(tmp_path / "secrets" / "signing-keys") == {"signing-key.pem": "the key that signs"}
    assert not old.exists()
    old.write_text("a key that signs no more")
    subprocess.run([tmp_path / "secrets.sh"], check=True)
    assert texts(tmp_path / "secrets" / "signing-keys") == {"signing-key.pem": "the key that signs"}


def test_secrets_are_random_kept_and_out_of_others_reach(secrets: Path) -> None:
    script, before = secrets.parent / "secrets.sh", texts(secrets)
    again = subprocess.run([script], capture_output=True, text=True, check=True)
    assert again.stdout + again.stderr == ""
    assert texts(secrets) == before
    assert len(set(before.values())) == len(before)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700, "nobody else gets into the folder"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files(secrets)}
    assert modes <= {0o644, 0o600}
    filled = (secrets.parent / ".env").read_text()
    assert re.search(r"^GRAFANA_PASSWORD=[0-9a-f]{32}$", filled, re.MULTILINE)
    assert stat.S_IMODE((secrets.parent / ".env").stat().st_mode) == 0o600
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/infra/compose/.env", "/infra/compose/secrets/"} <= set(ignored)
