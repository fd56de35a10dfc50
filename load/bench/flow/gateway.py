"""How old a reading is when a user sees it: asked over REST, as a user would."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from sensor_producer.devices import Devices, make_devices
from sensor_producer.dice import Dice
from sensor_producer.faults import Fault
from sensor_producer.fleet import Fleet
from sensor_producer.settings import ProducerConfig

_FIRST_ASKED_MS = 10
_PAUSE_SECONDS = 0.004
_PATIENCE_MS = 2_000


@dataclass(frozen=True)
class Expected:
    """A reading that a device is going to send."""

    device_id: str
    moment_ms: int


class Oracle:
    """Knows what the simulated fleet is going to measure: its readings are a pure function.

    Args:
        fleet, devices: those of the producer that runs.
    """

    def __init__(self, fleet: Fleet, devices: Devices):
        self._fleet = fleet
        self._devices = devices

    @classmethod
    def of(cls, config: ProducerConfig) -> Self:
        """Returns the oracle of a producer with this configuration."""
        settings = config.producer
        devices = make_devices(settings.device_count, settings.seed)
        dice = Dice(settings.seed, settings.device_count)
        return cls(Fleet(devices, dice, settings.produce_interval, config.faults), devices)

    def after(self, moment_us: int) -> Expected:
        """Returns the first reading measured at `moment_us` (epoch µs) or later that is valid."""
        number = self._fleet.moments(moment_us)
        while True:
            readings = self._fleet.measure(number, number + 1)
            if len(readings) and not readings.suffering(Fault.FAILED)[0]:
                return Expected(
                    self._devices.ids[readings.device[0]], int(readings.timestamp_ms[0])
                )
            number += 1


@dataclass
class Seen:
    """What the sampler has found.

    Attributes:
        ages_ms: of each reading when the answer with it was there; one that was not seen
            within two seconds counts with that.
        requests: that it took.
        failed: answers that were no reading.
    """

    ages_ms: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0


class Sampler(threading.Thread):
    """Waits for one reading after the other and asks the gateway until it shows.

    Which ones is left to chance: at a steady pace, a multiple of the producer's, it would always
    ask for those that are measured in the same moment of a tick.

    It asks every 4 ms or so, and each answer takes its time too, so what it finds is up to
    that much too high, never too low.

    Args:
        port: of the gateway.
        token: access token of somebody who may read.
        oracle: tells which reading comes next.
        per_second: readings to wait for, which bounds the requests.
    """

    def __init__(
        self,
        port: int,
        token: str,
        oracle: Oracle,
        *,
        per_second: float = 8.0,
        clock: Callable[[], float] = time.time,
    ):
        super().__init__(name="gateway sampler", daemon=True)
        self.seen = Seen()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._oracle = oracle
        self._interval = 1 / per_second
        self._clock = clock
        self._stopping = threading.Event()

    def run(self) -> None:
        """Samples until it is stopped."""
        while not self._stopping.is_set():
            began = self._clock()
            # A while ahead, so that the time to find it out is not in the way.
            ahead = random.uniform(0.02, 0.08)  # noqa: S311 - nothing secret
            self._wait_for(self._oracle.after(round((began + ahead) * 1_000_000)))
            self._stopping.wait(max(0.0, began + self._interval - self._clock()))
        self._connection.close()

    def stop(self) -> Seen:
        """Ends it and returns what was found."""
        self._stopping.set()
        self.join()
        return self.seen

    def _wait_for(self, expected: Expected) -> None:
        age_ms = self._clock() * 1000 - expected.moment_ms
        time.sleep(max(0.0, (_FIRST_ASKED_MS - age_ms) / 1000))
        while True:
            shown_ms = self._ask(expected.device_id)
            age_ms = self._clock() * 1000 - expected.moment_ms
            if shown_ms >= expected.moment_ms or age_ms > _PATIENCE_MS:
                self.seen.ages_ms.append(min(age_ms, _PATIENCE_MS))
                return
            if self._stopping.wait(_PAUSE_SECONDS):
                return

    def _ask(self, device_id: str) -> float:
        """Returns the time of the device's latest reading, epoch ms; 0 when none was shown."""
        self.seen.requests += 1
        try:
            self._connection.request(
                "GET", f"/api/v1/devices/{device_id}/metrics", headers=self._headers
            )
            answer = self._connection.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError):
            self._connection.close()
            self.seen.failed += 1
            return 0.0
        if answer.status != 200:
            self.seen.failed += 1
            return 0.0
        return datetime.fromisoformat(json.loads(body)["timestamp"]).timestamp() * 1000


def log_in(port: int, password: str) -> str:
    """Returns an access token of the admin, from auth's port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        body = json.dumps({"username": "admin", "password": password})
        connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        token: str = json.loads(answer.read())["access_token"]
    finally:
        connection.close()
    return token
