"""What counts as one client."""

import pytest

from sensor_shared.runtime.http.address import client_address


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/twinup.sock", "unknown"),
    ],
)
def test_one_customers_ipv6_addresses_count_as_one(address: str, place: str) -> None:
    assert client_address({"client": (address, 50_000)}) == place


def test_a_socket_without_an_address_is_one_client() -> None:
    assert client_address({"client": None}) == "unknown"
