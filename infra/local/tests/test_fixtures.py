"""The real parts answer through the fixtures that every integration test uses."""

import json
import smtplib
import urllib.request
import uuid
from email.message import EmailMessage

import aiomqtt
import clickhouse_connect
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from redis.asyncio import Redis

from sensor_local.testing import Address, ClickHouseServer, SmtpSink
from sensor_local.topics import Topic, create

pytestmark = pytest.mark.integration


def _topic(name: str, partitions: int = 2) -> Topic:
    return Topic(name, partitions, retention_hours=1, retention_mb=1, max_message_kb=64)


def test_kafka_keeps_what_was_acknowledged(kafka_broker: str) -> None:
    topic = f"kept-{uuid.uuid4().hex}"
    assert create(kafka_broker, [_topic(topic)]) == [f"created {topic} with 2 partitions"]
    producer = Producer({"bootstrap.servers": kafka_broker, "enable.idempotence": True})
    producer.produce(topic, b"value", b"key", headers=[("ce_id", b"1")])
    assert producer.flush(20) == 0
    settings = {"bootstrap.servers": kafka_broker, "group.id": topic}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(30)
        assert message is not None
        assert message.error() is None
        assert (message.key(), message.value()) == (b"key", b"value")
        assert message.headers() == [("ce_id", b"1")]
    finally:
        consumer.close()


def test_kafka_makes_no_topic_out_of_a_typing_error(kafka_broker: str) -> None:
    failed: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": kafka_broker, "message.timeout.ms": 3000})
    producer.produce(f"typo-{uuid.uuid4().hex}", b"lost", on_delivery=lambda e, _: failed.append(e))
    producer.flush(20)
    assert len(failed) == 1
    assert failed[0] is not None


def test_topics_are_created_once_and_get_more_partitions_when_declared(kafka_broker: str) -> None:
    name = f"grows-{uuid.uuid4().hex}"
    create(kafka_broker, [_topic(name, 1)])
    assert create(kafka_broker, [_topic(name, 1)]) == []
    assert create(kafka_broker, [_topic(name, 3)]) == [f"{name} has 3 partitions now"]


def test_a_broker_that_does_not_answer_is_reported() -> None:
    with pytest.raises(KafkaException):
        create("127.0.0.1:1", [], timeout=0.1)


def test_clickhouse_has_the_migrated_tables_in_a_database_of_its_own(
    clickhouse_server: ClickHouseServer,
) -> None:
    first, second = clickhouse_server.database(), clickhouse_server.database()
    assert first != second
    with clickhouse_connect.get_client(
        host=clickhouse_server.host,
        port=clickhouse_server.port,
        username=clickhouse_server.user,
        password=clickhouse_server.password,
        database=first,
    ) as client:
        tables = {row[0] for row in client.query("SHOW TABLES").result_rows}
    assert {"readings", "rejects", "alerts", "users"} <= tables


async def test_redis_is_version_8_without_a_graph_module_and_never_evicts(
    redis_server: Address,
) -> None:
    async with Redis(host=redis_server.host, port=redis_server.port) as client:
        assert (await client.info("server"))["redis_version"].startswith("8.")
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert (await client.info("persistence"))["aof_enabled"] == 1
        modules = {module[b"name"] for module in await client.module_list()}
        assert modules <= {b"vectorset"}  # it is built in


async def test_mqtt_delivers_with_qos_1_to_a_subscriber(mqtt_broker: Address) -> None:
    topic = f"tests/{uuid.uuid4().hex}/trend"
    async with (
        aiomqtt.Client(mqtt_broker.host, mqtt_broker.port) as listener,
        aiomqtt.Client(mqtt_broker.host, mqtt_broker.port) as talker,
    ):
        await listener.subscribe(topic, qos=1)
        await talker.publish(topic, b"rising", qos=1)
        message = await anext(aiter(listener.messages))
    assert (str(message.topic), message.payload) == (topic, b"rising")


def test_a_mail_that_was_sent_can_be_listed_and_read(smtp_sink: SmtpSink) -> None:
    mail = EmailMessage()
    recipient = f"{uuid.uuid4().hex}@example.com"
    mail["From"], mail["To"], mail["Subject"] = "alerts@example.com", recipient, "Too hot: 91 °C"
    mail.set_content("sensor-00001 is too hot")
    with smtplib.SMTP(smtp_sink.host, smtp_sink.port, timeout=10) as client:
        client.send_message(mail)
    listed = [
        one for one in json.loads(_get(f"{smtp_sink.url}/messages")) if recipient in one["to"]
    ]
    assert [one["subject"] for one in listed] == ["Too hot: 91 °C"]
    assert "sensor-00001 is too hot" in _get(f"{smtp_sink.url}/messages/{listed[0]['id']}")
    assert "Too hot: 91 °C" in _get(smtp_sink.url)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own URL
        body: bytes = answer.read()
    return body.decode()
