"""Who ends a query must never end the next one on the same connection."""

import threading
from typing import cast

from sensor_local.clickhouse.connection import Connection
from sensor_local.clickhouse.engine import Lease


class Named:
    label = "connection 7"


def leased(given_back: list[bool]) -> Lease:
    return Lease(cast("Connection", Named()), given_back.append)


def test_a_connection_is_not_given_back_while_its_query_is_being_ended() -> None:
    given_back: list[bool] = []
    lease = leased(given_back)
    with lease.held() as label:
        assert label == "connection 7"
        ended = threading.Thread(target=lambda: lease.release(reusable=True))
        ended.start()
        ended.join(0.2)
        assert not given_back
    ended.join(5)
    assert given_back == [True]


def test_nothing_is_ended_on_a_connection_that_was_given_back() -> None:
    lease = leased([])
    lease.release(reusable=True)
    with lease.held() as label:
        assert label is None


def test_a_connection_is_given_back_once() -> None:
    given_back: list[bool] = []
    lease = leased(given_back)
    lease.release(reusable=False)
    lease.release(reusable=True)
    assert given_back == [False]


def test_a_query_may_name_itself_to_be_ended() -> None:
    given_back: list[bool] = []
    lease = leased(given_back)
    with lease.held():
        lease.release(reusable=True)
    assert given_back == [True]
