"""The sockets of all workers, opened by the supervisor before there is a worker, and held open as long as it lives.

For each `[[listen]]` that is one for each worker, at the same port (SO_REUSEPORT), bound in the order of the workers, so
that `steering` can name them; and a mailbox for what workers hand to each other. A worker gets its own by their descriptors.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from sbc.config import Listen
from sbc.config.implied import tcp_beside
from sbc.transport.tcp import listening_socket
from sbc.transport.udp import bound_socket
from sbc.workers.steering import steer


class CannotBind(Exception):  # noqa: N818 (told to an operator)
    """An address is taken, or is none of this machine."""


class Sockets:
    """Everything that is open for the workers."""

    def __init__(
        self, listens: Sequence[Listen], workers: int, unsteered: Callable[[str], object], beside: Sequence[int] = ()
    ) -> None:
        """Raises CannotBind. `unsteered` is called with the reason where the kernel leaves the steering to us. `beside`: the
        places of UDP sockets that want TCP beside them; those that got it are in `beside` afterwards."""
        self.addresses: list[tuple[str, int]] = []
        """As bound, one for each `[[listen]]`, and then one for each of `beside`."""
        self.transports = [listen.transport for listen in listens]
        self.beside: list[int] = []
        self._shared = [self._open(listen, workers, unsteered) for listen in listens]
        for place in beside:
            listen = replace(tcp_beside(listens[place]), port=self.addresses[place][1])
            try:
                self._shared.append(self._open(listen, workers, unsteered))
            except CannotBind:
                continue  # servers reach us by the connections that we make
            self.transports.append("tcp")
            self.beside.append(place)
        self._mail = [_mailbox() for _ in range(workers)]

    def _open(self, listen: Listen, workers: int, unsteered: Callable[[str], object]) -> list[socket.socket]:
        is_udp = listen.transport == "udp"
        opener = bound_socket if is_udp else listening_socket
        try:
            # Alone first: who shares a port is not told that somebody else has it, too.
            first = opener(listen.address, listen.port)
            port = first.getsockname()[1]
            first.close()
            sockets = [opener(listen.address, port, share=True) for _ in range(workers)]
        except OSError as error:
            raise CannotBind(f"cannot listen on {listen}: {error.strerror}") from error
        if is_udp:
            try:
                steer(sockets[0])
            except OSError as error:
                unsteered(f"{listen}: {error.strerror}")
        self.addresses.append(sockets[0].getsockname()[:2])
        return sockets

    def descriptors_for(self, worker: int) -> list[int]:
        """What that worker inherits, in the order in which `Inherited` reads it."""
        inbox = self._mail[worker][0].fileno()
        outlets = [outlet.fileno() for _, outlet in self._mail]
        return [inbox, *outlets, *(sockets[worker].fileno() for sockets in self._shared)]

    def close(self) -> None:
        for each in (each for sockets in [*self._shared, *self._mail] for each in sockets):
            each.close()


class Inherited:
    """A worker's sockets, from the descriptors that it was started with."""

    def __init__(self, listens: int, workers: int, first: int) -> None:
        """`listens` is their number; `first` is the lowest descriptor, the others follow."""
        numbers = iter(range(first, first + 1 + workers + listens))
        self.inbox = socket.socket(fileno=next(numbers))
        self.outlets = [socket.socket(fileno=next(numbers)) for _ in range(workers)]
        """By worker; this one's own among them."""
        self.shared = [socket.socket(fileno=next(numbers)) for _ in range(listens)]
        """By `[[listen]]`, and then the TCP ones beside UDP."""


def _mailbox() -> tuple[socket.socket, socket.socket]:
    """Inbox and outlet for datagrams to one worker. Unnamed, so that nobody else on the machine can write into it."""
    inbox, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in (inbox, outlet):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)  # some hundred messages for a successor
    return inbox, outlet
