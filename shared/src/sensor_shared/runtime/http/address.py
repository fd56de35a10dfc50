"""Who a request comes from, as limits count it."""

import functools
from ipaddress import IPv6Address, ip_address
from typing import Final

from sensor_shared.runtime.function import Scope

_UNKNOWN: Final = "unknown"
_NETWORK_BITS: Final = 64


def client_address(scope: Scope) -> str:
    """Returns the client's address; of IPv6 its /64, which is what one customer has.

    The address is that of the socket. X-Forwarded-For has replaced it only when the socket's other
    end is one of `TWINUP_SERVER_TRUSTED_PROXIES`, and then by the last address that is none of
    them: a stranger cannot choose it. Addresses, not a number of proxies, because on Knative the
    activator is in the way at some times and at others not.
    """
    client = scope.get("client")
    return _normal(client[0]) if client else _UNKNOWN


@functools.lru_cache(maxsize=4096)
def _normal(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return _UNKNOWN  # a socket in the file system, or what a proxy made up
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = int(address) >> _NETWORK_BITS << _NETWORK_BITS
    return f"{IPv6Address(network)}/{_NETWORK_BITS}"
