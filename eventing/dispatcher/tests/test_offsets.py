"""Only the contiguous finished prefix may be committed, in whatever order records finish."""

from hypothesis import given
from hypothesis import strategies as st

from sensor_dispatcher.offsets import Prefix

rising_offsets = st.lists(st.integers(0, 10_000), min_size=1, unique=True).map(sorted)


def test_nothing_is_committed_before_the_first_record() -> None:
    assert Prefix().commit is None


def test_a_record_in_flight_holds_back_what_is_finished_after_it() -> None:
    prefix = Prefix()
    for offset in (7, 8, 9):
        prefix.receive(offset)
    prefix.finish(8)
    prefix.finish(9)
    assert prefix.position == 7
    prefix.finish(7)
    assert prefix.position == 10


def test_a_position_that_is_committed_is_not_committed_again() -> None:
    prefix = Prefix()
    prefix.receive(3)
    prefix.finish(3)
    prefix.committed = 4
    assert prefix.commit is None
    prefix.receive(4)
    prefix.finish(4)
    assert prefix.commit == 5


@given(offsets=rising_offsets, data=st.data())
def test_the_position_is_always_the_first_unfinished_record(
    offsets: list[int], data: st.DataObject
) -> None:
    prefix = Prefix()
    waiting = list(offsets)
    open_: list[int] = []
    finished: set[int] = set()
    while waiting or open_:
        if waiting and (not open_ or data.draw(st.booleans())):
            offset = waiting.pop(0)
            prefix.receive(offset)
            open_.append(offset)
        else:
            offset = data.draw(st.sampled_from(open_))
            open_.remove(offset)
            prefix.finish(offset)
            finished.add(offset)
        received = [o for o in offsets if o in finished or o in open_]
        expected = min(open_) if open_ else received[-1] + 1
        assert prefix.position == expected
        # What a restart at this position would not deliver again is all finished.
        assert all(o in finished for o in received if o < expected)
    assert prefix.position == offsets[-1] + 1
