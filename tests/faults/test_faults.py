"""Whatever is killed, paused, cut or refused under load: nothing is lost and nothing is doubled.

The tests run in this order, on one system: each fault meets what the ones before it have left.
"""

import time
from collections.abc import Sequence

import pytest

from sensor_local.audit.result import Audit
from tests.e2e.system_under_test import wait_for

from .live import PATIENCE_SECONDS, LiveSystem
from .proxy import Proxy, Spoil, exception
from .record import Record

pytestmark = [pytest.mark.faults, pytest.mark.timeout(500)]

KILLED = (
    ("kafka",),
    ("clickhouse",),
    ("redis",),
    ("mqtt",),
    ("consumer",),
    ("alerts",),
    ("analytics",),
    ("dispatcher",),
    ("producer",),
    # The store, and the only one who knows what it has acknowledged: what was applied without
    # an answer comes again to a consumer that has no memory of it.
    ("clickhouse", "consumer"),
    # Both memories of what is stored already go at once, Redis's and the consumer's own.
    ("redis", "consumer"),
    # Offsets not committed and the log's own end: what was delivered is delivered again.
    ("kafka", "dispatcher"),
    # What the producer keeps while Kafka is away, and the one who keeps it.
    ("kafka", "producer"),
)

# Each pause is longer than what waits for the part.
PAUSED = (
    ("kafka", 15),  # the group's session (10 s), seen by a broker that wakes up
    (
        "clickhouse",
        8,
    ),  # an insert (5 s here): given up, and applied all the same
    ("redis", 4),  # a group of events (0.5 s), then one command (1 s)
    ("mqtt", 12),  # a message (10 s)
    ("alerts", 5),  # a call by gRPC (1 s): breaches go to Kafka
    ("consumer", 24),  # a delivery (20 s): it is made again beside the one that still waits
    ("dispatcher", 14),  # its membership (10 s): the group gives it its partitions anew
    ("producer", 12),  # an acknowledgement (1 s): on waking it takes Kafka to be away, and spools
)

_AWAY = exception(503, 241, "Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)")

SPOILT = {
    "500 TOO_MANY_PARTS": Spoil(0, exception(500, 252, "Too many parts. (TOO_MANY_PARTS)")),
    "503 MEMORY_LIMIT_EXCEEDED": Spoil(0, _AWAY),
    "403 the insert is refused": Spoil(
        0, exception(403, 497, "twinup: Not enough privileges. (ACCESS_DENIED)")
    ),
    "cut in the insert's body": Spoil(0.5),
    # The nastiest: it is stored, and nobody is told.
    "cut before the answer": Spoil(1),
    "applied, but answered by an error": Spoil(
        1, exception(500, 319, "Unknown status of insert. (UNKNOWN_STATUS_OF_INSERT)")
    ),
}
_SPOIL_SECONDS = 4

# Both that look readings up begin with it, nothing else that the consumer asks does.
_LOOK_UP = b"SELECT device_id,"
NO_ANSWERS = {
    "questions refused": Spoil(0, _AWAY, statement=_LOOK_UP),
    "questions cut": Spoil(1, statement=_LOOK_UP),
}


@pytest.mark.parametrize("names", KILLED, ids="+".join)
def test_a_killed_process_costs_no_reading(
    system: LiveSystem, record: Record, names: Sequence[str]
) -> None:
    system.kill(*names)
    seconds = system.recover()
    record.add(f"kill {' + '.join(names)}", seconds, system.audit())
    if "redis" in names:
        system.latest_values_are_right()


@pytest.mark.parametrize(("name", "seconds"), PAUSED)
def test_a_paused_process_costs_no_reading(
    system: LiveSystem, record: Record, name: str, seconds: int
) -> None:
    with system.paused(name):
        time.sleep(seconds)
    recovery = system.recover()
    record.add(f"pause {name} for {seconds} s", recovery, system.audit())
    if name == "redis":
        system.latest_values_are_right()


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_insert_costs_no_reading(
    system: LiveSystem, record: Record, proxy: Proxy, what: str
) -> None:
    """First every third insert, which its own repetition mends, then all, which nothing mends."""
    spoil = SPOILT[what]
    spoilt, applied = proxy.spoilt, proxy.applied
    for every in (3, 1):
        with proxy.spoiling(spoil, every=every):
            time.sleep(_SPOIL_SECONDS)
    seconds = system.recover()
    record.add(what, seconds, system.audit())
    assert proxy.spoilt > spoilt
    assert (proxy.applied > applied) is (spoil.reaches == 1)


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_a_consumer_that_may_not_ask_what_is_stored_waits_until_it_may(
    system: LiveSystem, record: Record, proxy: Proxy, what: str
) -> None:
    """A killed one leaves events that its successor must look up before it stores them."""
    with proxy.spoiling(Spoil(0, _AWAY)):
        time.sleep(1)
        system.kill("consumer")
    spoilt = proxy.spoilt
    with proxy.spoiling(NO_ANSWERS[what]):
        wait_for(lambda: proxy.spoilt > spoilt, "a look-up", PATIENCE_SECONDS)
        time.sleep(_SPOIL_SECONDS)
    seconds = system.recover()
    record.add(f"kill consumer, {what}", seconds, system.audit())


def test_without_a_producer_all_of_it_is_accounted_for_and_a_lost_reading_shows(
    system: LiveSystem, record: Record
) -> None:
    wait_for(lambda: system.stored() > 5 * system.devices, "some readings", PATIENCE_SECONDS)
    with system.paused("producer"):
        wait_for(lambda: system.in_flight() == 0, "everything to be delivered", PATIENCE_SECONDS)
        whole = system.audit()
        record.add("producer away, all delivered", None, whole)
        assert whole.in_flight == 0
        assert whole.received == whole.stored + whole.duplicate + whole.rejected

        row = system.take_away_a_reading()
        without = system.command("audit", "--json")
        assert without.returncode == 1
        account = Audit.from_json(without.stdout)
        record.add("one reading deleted on purpose", None, account)
        # In a minute in which a producer was killed or paused, a device may have one reading more
        # than the ledger knows: with one less, the number is right and the checksum is not.
        assert account.lost + account.different == 1
        # A rollup may count it still.
        assert account.duplicated <= 1

        system.give_back(row)
        assert system.audit().stored == whole.stored


def test_down_leaves_a_good_account_and_no_process(system: LiveSystem, record: Record) -> None:
    down = system.command("down", timeout=400)
    assert down.returncode == 0, down.stdout + down.stderr
    assert system.processes() == []
    account = system.audit()
    record.add("down", None, account)
    assert account.in_flight == 0
