"""What server and client agree on: names of ciphers, and which hosts need no TLS."""

import ipaddress
from typing import Literal

# NOTE(paper): the service of section 2.4.3.4 shuffles bits. A few vectors break that, so here it is not the default.
CipherName = Literal["xchacha20-poly1305", "shufflebits"]
SEALED: CipherName = "xchacha20-poly1305"
SHUFFLEBITS: CipherName = "shufflebits"


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine, so that nobody between could listen."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
