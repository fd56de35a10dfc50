"""Lag counts what is not finished, wherever the group stands."""

import pytest

from sensor_dispatcher.lag import Partition, unfinished

P: Partition = ("t", 0)


@pytest.mark.parametrize(
    ("committed", "positions", "from_end", "expected"),
    [
        ({}, {}, False, 90),
        ({}, {}, True, 0),
        ({P: 60}, {}, False, 40),
        ({P: 60}, {}, True, 40),
        ({P: 60}, {P: 75}, True, 25),
        ({P: 60}, {P: 100}, False, 0),
        # The log has lost what was committed last: only what is left can be behind.
        ({P: 2}, {}, False, 90),
    ],
    ids=["new earliest", "new latest", "other member", "other latest", "own", "drained", "expired"],
)
def test_lag_is_end_of_log_minus_first_unfinished_record(
    committed: dict[Partition, int],
    positions: dict[Partition, int],
    from_end: bool,
    expected: int,
) -> None:
    found = unfinished({P: 10}, {P: 100}, committed, positions, from_end=from_end)
    assert found == {P: expected}
