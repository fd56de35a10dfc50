"""The spool on disk: nothing whole is lost by any cut, kill or restart, and the order is kept."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor_producer.fleet import Readings
from sensor_producer.records import Record
from sensor_producer.segment import Segment, frame_bytes
from sensor_producer.spool import Place, Spool

MakeReadings = Callable[..., Readings]

LIMIT = 10_000_000
SMALL = 300  # bytes of a segment: a record or two


def record_of(make_readings: MakeReadings, number: int) -> Record:
    return Record(
        partition=number % 3,
        key=b"key %d" % number,
        value=b"%d" % number + bytes(number % 50),
        headers=[("ce_id", b"%d" % number), ("text", "t"), ("none", None)],
        readings=make_readings([number, number + 1], [number * 1000, 2**45], faults=number % 256),
    )


def open_spool(folder: Path, run: str, limit: int = LIMIT, segment_bytes: int = SMALL) -> Spool:
    return Spool(folder, run, limit=limit, segment_bytes=segment_bytes)


def take_all(spool: Spool) -> list[tuple[Place, Record]]:
    taken = []
    while (item := spool.next()) is not None:
        taken.append(item)
    return taken


def numbers_of(taken: list[tuple[Place, Record]]) -> list[int]:
    return [int(record.key.removeprefix(b"key ")) for _, record in taken]


def segments_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.spool"))


def test_a_record_comes_back_with_its_identity_and_what_the_ledger_counts(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    spool = open_spool(tmp_path, "run")
    record = record_of(make_readings, 7)
    spool.append(record, handed_out=False)
    ((_, found),) = take_all(spool)
    assert (found.partition, found.key, found.value, found.run) == (
        record.partition,
        record.key,
        record.value,
        "",
    )
    assert found.headers == [("ce_id", b"7"), ("text", b"t"), ("none", None)]
    for column in ("device", "timestamp_ms", "faults"):
        expected, restored = getattr(record.readings, column), getattr(found.readings, column)
        assert restored.dtype == expected.dtype
        np.testing.assert_array_equal(restored, expected)
    spool.close()


def test_what_is_on_its_way_already_is_kept_but_not_handed_out(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    spool = open_spool(tmp_path, "run")
    place = spool.append(record_of(make_readings, 1), handed_out=True)
    spool.append(record_of(make_readings, 2), handed_out=False)
    assert place is not None
    assert numbers_of(take_all(spool)) == [2]
    assert (spool.records, spool.readings) == (2, 4)
    spool.acknowledge(place)
    assert (spool.records, spool.readings) == (1, 2)
    spool.close()


def test_segments_go_when_all_their_records_are_acknowledged_and_not_before(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    spool = open_spool(tmp_path, "run")
    for number in range(10):
        spool.append(record_of(make_readings, number), handed_out=False)
    taken = take_all(spool)
    assert numbers_of(taken) == list(range(10))
    files = len(segments_of(tmp_path))
    assert files > 2
    assert spool.bytes == sum(path.stat().st_size for path in segments_of(tmp_path))
    for place, _ in taken[1:-1]:
        spool.acknowledge(place)
    assert taken[0][0].segment.path.exists()
    assert len(segments_of(tmp_path)) == 2
    spool.acknowledge(taken[0][0])
    assert len(segments_of(tmp_path)) == 1
    spool.acknowledge(taken[-1][0])
    assert segments_of(tmp_path) == []
    assert (spool.records, spool.readings, spool.bytes) == (0, 0, 0)
    spool.close()
    assert not (tmp_path / "run").exists()


def test_the_limit_holds_and_room_is_made_by_acknowledgements(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    spool = open_spool(tmp_path, "run", limit=1_500)
    places = []
    while (place := spool.append(record_of(make_readings, 1), handed_out=True)) is not None:
        places.append(place)
        assert not spool.full
    assert spool.full
    assert 1_000 < spool.bytes <= 1_500
    for place in places[:4]:
        spool.acknowledge(place)
    assert not spool.full
    assert spool.append(record_of(make_readings, 1), handed_out=True) is not None
    spool.close()


def test_a_disk_that_takes_no_more_is_a_full_spool_and_harms_nothing(
    tmp_path: Path, make_readings: MakeReadings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path, "run", segment_bytes=100_000)
    spool.append(record_of(make_readings, 1), handed_out=False)
    write = os.pwrite
    calls = []

    def pwrite(file: int, data: bytes, offset: int) -> int:
        """Writes the first bytes, as a disk does that is filled up meanwhile."""
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:5], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        assert spool.append(record_of(make_readings, 2), handed_out=False) is None
    assert spool.full
    assert segments_of(tmp_path)[0].stat().st_size == spool.bytes
    assert spool.append(record_of(make_readings, 3), handed_out=False) is not None
    assert not spool.full
    assert numbers_of(take_all(spool)) == [1, 3]
    spool.close()


def test_what_ended_runs_left_comes_first_under_their_names(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    for run, number in (("a", 1), ("b", 2)):
        spool = open_spool(tmp_path, run)
        spool.append(record_of(make_readings, number), handed_out=True)
        spool.close()
    spool = open_spool(tmp_path, "c")
    spool.append(record_of(make_readings, 3), handed_out=False)
    assert (spool.records, spool.readings) == (3, 6)
    taken = take_all(spool)
    assert numbers_of(taken) == [1, 2, 3]
    assert [record.run for _, record in taken] == ["a", "b", ""]
    for place, _ in taken:
        spool.acknowledge(place)
    spool.close()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_living_producers_spool_is_left_alone(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    living = open_spool(tmp_path, "a")
    living.append(record_of(make_readings, 1), handed_out=False)
    other = open_spool(tmp_path, "b")
    assert other.records == 0
    other.close()
    assert numbers_of(take_all(living)) == [1]
    living.close()


def test_a_damaged_segment_is_read_up_to_the_damage_and_never_deleted(
    tmp_path: Path, make_readings: MakeReadings
) -> None:
    spool = open_spool(tmp_path, "a", segment_bytes=LIMIT)
    sizes = []
    for number in range(3):
        spool.append(record_of(make_readings, number), handed_out=False)
        sizes.append(spool.bytes)
    spool.close()
    (path,) = segments_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[sizes[0] + 20] ^= 1
    path.write_bytes(content)
    spool = open_spool(tmp_path, "b")
    ((place, record),) = take_all(spool)
    assert record.key == b"key 0"
    spool.acknowledge(place)
    spool.close()
    (kept,) = tmp_path.glob("*/*.damaged")
    assert len(kept.read_bytes()) == sizes[2]
    assert segments_of(tmp_path) == []


def test_a_restart_tells_what_could_not_be_read(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "1", "run")
    segment.append(b"whole", 1, handed_out=False)
    segment.append(b"torn", 1, handed_out=False)
    segment.close()
    os.truncate(tmp_path / "1", segment.size - 1)
    again = Segment(tmp_path / "1", "run")
    assert again.unreadable == frame_bytes(b"torn") - 1
    assert not again.damaged
    assert (tmp_path / "1").stat().st_size == again.size == frame_bytes(b"whole")
    again.close()


appends = st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=12)


@settings(max_examples=200, deadline=None)
@given(appends, st.data())
def test_a_cut_at_any_byte_costs_the_last_frames_only(
    frames: list[tuple[bytes, bool]], data: st.DataObject
) -> None:
    """Whatever was written, acknowledged and cut off: the whole frames are there, in order."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "segment"
        segment = Segment(path, "run")
        ends = []
        for body, acknowledged in frames:
            offset = segment.append(body, 1, handed_out=False)
            ends.append(segment.size)
            if acknowledged:
                segment.acknowledge(offset)
        segment.close()
        cut = data.draw(st.integers(0, ends[-1] if ends else 0))
        os.truncate(path, cut)
        for _ in range(2):  # opening it changes nothing that counts
            segment = Segment(path, "run")
            found = []
            while (frame := segment.next()) is not None:
                found.append(frame.body)
            segment.close()
            assert found == [
                body
                for (body, acknowledged), end in zip(frames, ends, strict=True)
                if end <= cut and not acknowledged
            ]
            assert segment.records == segment.readings == len(found)
            assert not segment.damaged


steps = st.lists(
    st.sampled_from(["append", "append sent", "take", "acknowledge first", "acknowledge last",
                     "restart"]),
    max_size=60,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(steps)
def test_any_sequence_of_steps_and_restarts_keeps_what_is_not_acknowledged_in_order(
    steps_: list[str],
) -> None:
    """A queue in memory does the same steps; after a restart, everything is handed out again."""
    values = np.zeros(1)

    def make(device: list[int], timestamp_ms: list[int], faults: int = 0) -> Readings:
        return Readings(
            np.array(device, np.int32), np.array(timestamp_ms), values, values, values,
            np.zeros(len(device), np.int8), np.full(len(device), faults, np.uint16),
        )  # fmt: skip

    with TemporaryDirectory() as name:
        folder, runs, number = Path(name), 0, 0
        spool = open_spool(folder, "0000")
        kept: list[int] = []
        unsent: list[int] = []
        out: list[tuple[int, Place]] = []
        for step in steps_:
            if step.startswith("append"):
                sent = step == "append sent"
                place = spool.append(record_of(make, number), handed_out=sent)
                assert place is not None
                kept.append(number)
                if sent:
                    out.append((number, place))
                else:
                    unsent.append(number)
                number += 1
            elif step == "take":
                item = spool.next()
                expected = unsent.pop(0) if unsent else None
                assert (numbers_of([item])[0] if item else None) == expected
                if item is not None and expected is not None:
                    out.append((expected, item[0]))
            elif step.startswith("acknowledge") and out:
                one, place = out.pop(0 if step.endswith("first") else -1)
                spool.acknowledge(place)
                kept.remove(one)
            elif step == "restart":
                runs += 1
                spool.close()
                spool = open_spool(folder, f"{runs:04d}")
                unsent, out = [*kept], []
            assert spool.records == len(kept)
            assert spool.readings == 2 * len(kept)
            assert spool.bytes == sum(path.stat().st_size for path in segments_of(folder))
        spool.close()
        spool = open_spool(folder, "9999")
        assert numbers_of(take_all(spool)) == kept
        spool.close()
