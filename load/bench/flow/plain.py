"""The baseline: one plain process that puts the same records into the same engine.

`python -m load.bench.flow.plain TABLE` polls, decodes Arrow, joins what it got into one insert
and commits the offsets afterwards. No validation, no latest values, no rejects, no alerts, no
retries, no functions: what remains is what the task itself costs in Python.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

import clickhouse_connect
import pyarrow as pa
from confluent_kafka import Consumer, Message

from sensor_shared.contracts.events import SENSOR_DATA
from sensor_shared.contracts.readings import METRICS

_COLUMNS = ("device_id", "timestamp", *METRICS, "status")
_DECIMAL = pa.decimal128(9, 3)
_MOST_RECORDS = 500


def block(values: Sequence[bytes]) -> tuple[bytes, int]:
    """Joins Arrow streams of readings into one with the table's columns; also tells its rows."""
    tables = [pa.ipc.open_stream(value).read_all() for value in values]
    table = pa.concat_tables(tables).select(_COLUMNS).combine_chunks()
    for name in METRICS:
        position = table.schema.get_field_index(name)
        table = table.set_column(position, name, table.column(name).cast(_DECIMAL))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes(), table.num_rows


def consume(consumer: Consumer, table: str, linger: float, stop: threading.Event) -> None:
    """Stores what comes until it is stopped; says on standard output how much it was."""
    client = clickhouse_connect.get_client(
        host=os.environ["TWINUP_CLICKHOUSE_HOST"],
        port=int(os.environ["TWINUP_CLICKHOUSE_PORT"]),
        username=os.environ["TWINUP_CLICKHOUSE_USER"],
        password=os.environ["TWINUP_CLICKHOUSE_PASSWORD"],
        database=os.environ["TWINUP_CLICKHOUSE_DATABASE"],
        compress=False,
    )
    rows = inserts = 0
    while not stop.is_set():
        messages: list[Message] = consumer.consume(_MOST_RECORDS, linger)
        values = [m.value() for m in messages if m.error() is None]
        if not values:
            continue
        data, count = block([value for value in values if isinstance(value, bytes)])
        client.raw_insert(table, _COLUMNS, data, {"async_insert": 0}, "ArrowStream")
        consumer.commit(asynchronous=True)
        rows, inserts = rows + count, inserts + 1
        _tell({"rows": rows, "inserts": inserts})
    consumer.close()


def _tell(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Command line entry; runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="plain", description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--linger", type=float, default=0.025, help="seconds to collect for")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["TWINUP_KAFKA_BROKERS"],
            "group.id": f"bench-{options.table}",
            "auto.offset.reset": "latest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(
        [SENSOR_DATA], on_assign=lambda _consumer, found: _tell({"assigned": len(found)})
    )
    consume(consumer, options.table, options.linger, stop)


if __name__ == "__main__":
    main()
