"""The sockets that the server will listen on, bound before anything slow begins."""

import errno
import socket


class Taken(Exception):
    """The address can't be listened on; the message says why, and what to do."""


def bound(host: str, port: int) -> list[socket.socket]:
    """Bind a socket to each address of a host. None of them listens yet, so clients are refused until the server does.

    Raises:
        Taken: the port is another program's, or the host is not this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise Taken(f"{host[:100]}: this is not an address of this machine; set --host or SUB3_HOST.") from None
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        # of the TCP protocol by name: asyncio turns Nagle's delay off only for such sockets
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port == 0 and sockets:  # one free port for all addresses
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            made.bind(address)
        except OSError as error:
            made.close()
            if error.errno == errno.EADDRNOTAVAIL and sockets:  # localhost without IPv6
                continue
            for other in sockets:
                other.close()
            raise Taken(_sentence(error, host, port)) from None
        sockets.append(made)
    return sockets


def _sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is taken by another program; stop it, or choose another by --port or SUB3_PORT."
    if error.errno == errno.EACCES:
        return f"Port {port} needs the rights of an administrator; choose one above 1023 by --port or SUB3_PORT."
    return f"{host}:{port} can't be listened on: {error.strerror}; set --host or SUB3_HOST."
