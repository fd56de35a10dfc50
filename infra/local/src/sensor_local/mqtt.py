"""The MQTT broker rumqttd (from the iotcore wheel): its configuration and command.

MQTT 3.1.1 and MQTT 5 have a port each, because rumqttd takes one protocol a listener.
"""

import sys
from pathlib import Path

_LISTENER = """
[{version}.1]
name = "{version}"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[{version}.1.connections]
connection_timeout_ms = 10000
max_payload_size = 65536
max_inflight_count = 200
# A topic that nobody subscribed to is acknowledged and not kept: with dynamic filters each
# device's topics would have a log of their own.
dynamic_filters = false
"""

# Per subscription the broker keeps at most max_segment_count segments: 8 MiB.
_ROUTER = """id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 8
"""


def configuration(port: int, port_v5: int) -> str:
    """Returns rumqttd's configuration (TOML)."""
    return (
        _ROUTER
        + _LISTENER.format(version="v4", port=port)
        + _LISTENER.format(version="v5", port=port_v5)
    )


def command(config: Path) -> tuple[str, ...]:
    """Returns the broker's command line.

    rumqttd marks each packet's trace as an error; only what it calls critical is one.
    """
    return sys.executable, "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"
