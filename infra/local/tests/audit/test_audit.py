"""The audit finds what is lost, doubled, changed, late or given up, and nothing else."""

import asyncio

import pytest

from sensor_producer.account import read_ledger
from sensor_producer.faults import Fault

from .flow import Flow

pytestmark = pytest.mark.integration


async def test_everything_stored_once_is_a_good_account(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.receive(flow.rows[:2], Fault.REPEATED)
    flow.receive(flow.rows[:1], Fault.FAILED)
    await flow.store(flow.rows)
    await flow.store(flow.rows[:2])
    await flow.reject(1)
    found = await flow.audit()
    assert found.good
    assert (found.runs, found.minutes) == (1, 2)
    assert str(found) == (
        "audit: received 33 = stored 30 + duplicate 2 + rejected 1 + dead-lettered 0"
        " + in flight 0; lost 0, duplicated 0"
    )
    assert read_ledger(flow.folder).totals().acknowledged == 33


async def test_each_lost_reading_is_counted(flow: Flow) -> None:
    flow.receive(flow.rows)
    await flow.store(flow.rows[:-4])
    found = await flow.audit()
    assert (found.stored, found.lost, found.status) == (26, 4, 1)
    assert str(found).endswith("+ in flight 0 + lost 4; lost 4, duplicated 0")


async def test_a_second_copy_does_not_stand_in_for_a_lost_reading(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.receive(flow.rows[:1], Fault.REPEATED)
    await flow.store(flow.rows[:4])
    await flow.store([flow.rows[0], *flow.rows[5:]])
    found = await flow.audit()
    assert (found.stored, found.duplicate, found.lost, found.duplicated) == (29, 1, 1, 0)


async def test_a_reading_with_another_time_is_seen_by_the_checksum(flow: Flow) -> None:
    flow.receive(flow.rows)
    device, ms = flow.rows[-1]
    await flow.store([*flow.rows[:-1], (device, ms + 1)])
    found = await flow.audit()
    assert (found.lost, found.different, found.status) == (0, 1, 1)
    assert "1 device minutes hold other readings than were sent" in str(found)


async def test_what_is_not_committed_is_in_flight_unless_it_is_stored(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.produce(flow.rows[:10])
    flow.commit(1)
    flow.produce(flow.rows[10:20])
    flow.produce(flow.rows[20:])
    await flow.store(flow.rows[:10] + flow.rows[20:25])
    found = await flow.audit()
    assert (found.stored, found.in_flight, found.lost, found.status) == (15, 15, 0, 0)
    await flow.store(flow.rows[10:20] + flow.rows[25:])
    assert (await flow.audit()).in_flight == 0


async def test_a_group_that_has_committed_nothing_has_everything_in_flight(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.produce(flow.rows)
    assert (await flow.audit()).in_flight == 30


async def test_what_is_committed_and_not_stored_is_lost(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.produce(flow.rows[:29])
    flow.commit(1)
    flow.produce(flow.rows[29:])
    await flow.store(flow.rows[:20])
    found = await flow.audit()
    assert (found.stored, found.in_flight, found.lost) == (20, 1, 9)


async def test_dead_letters_of_the_consumer_are_counted_until_they_are_stored(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.produce(flow.rows)
    flow.commit(1)
    flow.give_up(flow.rows[:7])
    await flow.store(flow.rows[9:])
    found = await flow.audit()
    assert (found.stored, found.dead_lettered, found.lost) == (21, 7, 2)
    await flow.store(flow.rows[:9])
    found = await flow.audit()
    assert (found.stored, found.dead_lettered, found.good) == (30, 0, True)


async def test_dead_letters_of_others_explain_nothing(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.give_up(flow.rows, destination="http://analytics.test")
    assert (await flow.audit()).lost == 30


async def test_a_reject_is_kept_given_up_in_flight_or_lost(flow: Flow) -> None:
    flow.receive(flow.rows[:8], Fault.FAILED)
    kept = flow.produce([], invalid=2)
    await flow.reject(2, kept)
    flow.give_up([], invalid=1)
    flow.produce([], invalid=3)
    found = await flow.audit()
    terms = (found.rejected, found.dead_lettered, found.in_flight, found.lost)
    assert terms == (2, 1, 3, 2)


async def test_a_reject_of_somebody_else_explains_nothing(flow: Flow) -> None:
    flow.receive(flow.rows[:1], Fault.FAILED)
    await flow.reject(3, source="urn:somebody:else")
    found = await flow.audit()
    assert (found.rejected, found.lost) == (0, 1)


async def test_rows_that_nobody_sent_twice_are_duplicated(flow: Flow) -> None:
    flow.receive(flow.rows)
    flow.receive(flow.rows[:1], Fault.REPEATED)
    await flow.store(flow.rows)
    await flow.store(flow.rows[:4])
    found = await flow.audit()
    assert (found.stored, found.lost, found.duplicated, found.status) == (30, 0, 3, 1)
    assert str(found).endswith("lost 0, duplicated 3")


async def test_a_copy_is_explained_when_the_ledger_hears_of_it_a_moment_later(flow: Flow) -> None:
    flow.receive(flow.rows)
    await flow.store(flow.rows)
    await flow.store(flow.rows[:1])

    async def hear() -> None:
        await asyncio.sleep(0.5)
        flow.receive(flow.rows[:1], Fault.REPEATED)

    found, _ = await asyncio.gather(flow.audit(), hear())
    assert found.duplicated == 0


async def test_copies_of_what_a_killed_producer_did_not_write_down_are_no_duplicates(
    flow: Flow,
) -> None:
    flow.receive(flow.rows[:-1])
    await flow.store(flow.rows)
    await flow.store(flow.rows[-2:])
    found = await flow.audit()
    assert (found.stored, found.lost, found.duplicated) == (29, 0, 0)


async def test_a_reading_that_answers_count_twice_is_duplicated(flow: Flow) -> None:
    created = await flow.client.query("SHOW CREATE TABLE readings")
    ddl = created.result_rows[0][0]
    # With another key, FINAL keeps rows of the same device and time.
    other = ddl.replace(
        "ORDER BY (device_id, timestamp)", "ORDER BY (device_id, timestamp, status)"
    )
    assert other != ddl
    await flow.client.command("DROP TABLE readings")
    await flow.client.command(other)
    flow.receive(flow.rows)
    flow.receive(flow.rows[:2], Fault.REPEATED)
    await flow.store(flow.rows)
    await flow.client.command(
        "INSERT INTO readings (device_id, timestamp, temperature, status) "
        "SELECT device_id, timestamp, 20, 'error' FROM readings "
        "ORDER BY device_id, timestamp LIMIT 2"
    )
    found = await flow.audit()
    assert (found.lost, found.duplicated) == (0, 2)


@pytest.mark.parametrize("copies", [0, 1])
async def test_a_rollup_that_counts_a_reading_twice_is_duplicated(flow: Flow, copies: int) -> None:
    flow.receive(flow.rows)
    flow.receive(flow.rows[:copies], Fault.REPEATED)
    await flow.store(flow.rows)
    await flow.store(flow.rows[:copies])
    await flow.roll_up(flow.devices[0], readings=5)
    assert (await flow.audit()).good
    await flow.roll_up(flow.devices[0], readings=7)
    assert (await flow.audit()).duplicated == 2


async def test_other_devices_and_earlier_runs_are_left_out(flow: Flow) -> None:
    flow.receive(flow.rows)
    await flow.store([*flow.rows, ("somebody-else", flow.start_ms)])
    assert (await flow.audit()).good
    found = await flow.audit(since_ms=flow.start_ms + 1)
    assert (found.received, found.runs, found.minutes, found.good) == (0, 0, 0, True)
