"""No connection leaves the machine: names and addresses other than those of loopback are refused, and remembered."""

import ipaddress
import sys
from typing import Any

# Where in the arguments of an event the host stands, or the pair that begins with it.
HOSTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
refused: list[str] = []


def is_local(address: Any) -> bool:
    """Whether an address is of this machine: loopback, a socket of the file system, or none."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, (bytes, bytearray)):
        host = host.decode(errors="replace")
    # Addresses of sockets in the file system are strings, of the kernel's (netlink) numbers: neither reaches a network.
    if not isinstance(host, str) or host in ("", "localhost") or host[0] in "/\0":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what would leave the machine: an audit hook, which stays for as long as the process."""
    place = HOSTS.get(event)
    if place is not None and not is_local(arguments[place]):
        refused.append(f"{event} {arguments[place]!r}")
        raise ConnectionRefusedError(f"tests stay on this machine: {refused[-1]}")


def install() -> None:
    """Refuse from here on."""
    sys.addaudithook(guard)
