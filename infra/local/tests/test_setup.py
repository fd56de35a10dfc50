"""What a start needs: secrets, topics, jars, the run folder, the Makefile."""

import hashlib
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import cast

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jgo.maven import MavenContext

from sensor_local import credentials, jars, kafka, topics
from sensor_local.checkout import EVENTING, KAFKA_JARS, ROOT
from sensor_local.folder import RunFolder
from sensor_shared.contracts import events


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.make()
    return folder


def test_secrets_are_made_once_and_only_their_owner_reads_them(run: RunFolder) -> None:
    made = credentials.load_or_make(run, {})
    assert credentials.load_or_make(run, {}) == made
    assert mode(run.path) == mode(run.secrets) == 0o700
    files = [
        *(run.path / name for name in ("admin-password", "service-token")),
        *run.secrets.iterdir(),
    ]
    assert len(files) == 4
    assert {mode(file) for file in files} == {0o600}
    assert (run.path / "admin-password").read_text() == made.admin_password
    key = load_pem_private_key(made.signing_key_file.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    assert len({made.admin_password, made.service_token, made.clickhouse_password}) == 3


def test_no_secret_is_shown_by_accident(run: RunFolder) -> None:
    made = credentials.load_or_make(run, {})
    for secret in (made.admin_password, made.service_token, made.clickhouse_password):
        assert secret not in repr(made)


def test_the_first_admins_password_can_be_given(run: RunFolder) -> None:
    given = {credentials.ADMIN_PASSWORD_VARIABLE: "given by the operator"}
    assert credentials.load_or_make(run, given).admin_password == "given by the operator"
    assert (run.path / "admin-password").read_text() == "given by the operator"


def test_documents_are_replaced_whole_and_removed(run: RunFolder) -> None:
    assert run.endpoints is None
    run.endpoints = {"gateway": "http://127.0.0.1:8081"}
    assert run.endpoints == {"gateway": "http://127.0.0.1:8081"}
    assert mode(run.path / "endpoints.json") == 0o600
    assert list(run.path.glob("*.new")) == []
    run.endpoints = None
    assert not (run.path / "endpoints.json").exists()


def test_one_supervisor_holds_the_folder(run: RunFolder) -> None:
    assert not run.is_supervised()
    with run.locked() as first, RunFolder(run.path).locked() as second:
        assert (first, second) == (True, False)
        assert run.is_supervised()
    assert not run.is_supervised()


def test_the_topics_that_the_contracts_name_are_declared() -> None:
    declared = {topic.name: topic for topic in topics.declared({})}
    assert {events.SENSOR_DATA, events.SENSOR_ALERTS, events.DEAD_LETTERS} <= declared.keys()
    assert declared[events.SENSOR_DATA].settings == {
        "retention.ms": "86400000",
        "retention.bytes": "268435456",
        "max.message.bytes": "1048576",
    }


def test_no_consumer_of_a_source_is_idle_for_want_of_partitions() -> None:
    partitions = {topic.name: topic.partitions for topic in topics.declared({})}
    documents = [yaml.safe_load(file.read_text("utf-8")) for file in EVENTING.glob("*.yaml")]
    specs = [document["spec"] for document in documents if document["kind"] == "KafkaSource"]
    assert max(spec["consumers"] for spec in specs) > 1
    for spec in specs:
        for topic in spec["topics"]:
            assert partitions[topic] >= spec["consumers"], topic


def test_partitions_can_be_overridden() -> None:
    declared = topics.declared({"TWINUP_TOPICS_SENSOR_DATA": "12"})
    assert [topic.partitions for topic in declared if topic.name == "sensor-data"] == [12]


@pytest.mark.parametrize("given", ["0", "-1", "many", ""])
def test_a_wrong_number_of_partitions_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="TWINUP_TOPICS_SENSOR_ALERTS: must be a number"):
        topics.declared({"TWINUP_TOPICS_SENSOR_ALERTS": given})


def test_kafka_listens_on_loopback_and_creates_no_topic_by_itself() -> None:
    settings = kafka.properties(Path("data"), 9092, 9093)
    for name in ("listeners", "advertised.listeners", "controller.quorum.voters"):
        assert re.findall(r"[\d.]+(?=:\d)", str(settings[name])) in (
            ["127.0.0.1"],
            ["127.0.0.1", "127.0.0.1"],
        )
    assert settings["auto.create.topics.enable"] == "false"


def test_the_installed_jars_are_exactly_the_locked_ones() -> None:
    locked = jars.locked()
    assert any(jar.filename == "kafka_2.13-4.4.0.jar" for jar in locked)
    assert {path.name for path in KAFKA_JARS.iterdir()} == {jar.filename for jar in locked}
    assert jars.missing(locked, KAFKA_JARS) == []


class Repository:
    """A Maven repository of one jar; it stands in for jgo's context."""

    def __init__(self, jar: Path):
        self._jar = jar

    def project(self, _group: str, _artifact: str) -> "Repository":
        return self

    def at_version(self, _version: str) -> "Repository":
        return self

    def artifact(self) -> "Repository":
        return self

    def resolve(self) -> Path:
        if not self._jar.exists():
            raise RuntimeError("not found")
        return self._jar


def jar_of(content: bytes) -> jars.Jar:
    return jars.Jar("com.example", "thing", "1.0", hashlib.sha256(content).hexdigest())


def fetch(jar: jars.Jar, folder: Path, source: Path) -> list[jars.Jar]:
    wanted = jars.missing([jar], folder)
    return list(jars.fetch(wanted, folder, cast("MavenContext", Repository(source))))


def test_a_jar_is_fetched_once_and_what_is_not_locked_goes(tmp_path: Path) -> None:
    source, folder = tmp_path / "source.jar", tmp_path / "jars"
    source.write_bytes(b"jar")
    folder.mkdir()
    (folder / "stranger-1.0.jar").write_bytes(b"?")
    assert fetch(jar_of(b"jar"), folder, source) == [jar_of(b"jar")]
    assert [path.name for path in folder.iterdir()] == ["thing-1.0.jar"]
    assert fetch(jar_of(b"jar"), folder, source) == []


def test_a_jar_with_another_sum_is_never_used(tmp_path: Path) -> None:
    source = tmp_path / "source.jar"
    source.write_bytes(b"tampered")
    with pytest.raises(jars.JarError, match=r"thing-1\.0\.jar has SHA-256 .* the lock says"):
        fetch(jar_of(b"jar"), tmp_path / "jars", source)
    assert list((tmp_path / "jars").iterdir()) == []


def test_a_jar_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(jars.JarError, match="could not be fetched: not found"):
        fetch(jar_of(b"jar"), tmp_path / "jars", tmp_path / "nowhere")


def test_make_alone_lists_every_target_with_a_line() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    shown = subprocess.run([make], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^  ([a-z-]+) +(.+)$", shown, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)).split()
    assert set(phony) - {"fmt-check"} == listed.keys()
    assert all(len(text) > 5 for text in listed.values())
