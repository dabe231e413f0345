"""Whether a host is this machine alone."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=256)  # a server asks for each request
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``, a name or an address.  Of names, that is ``localhost``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
