"""The sockets of all workers, opened by the supervisor before there is a worker, and held open as long as it lives.

For each `[[listen]]` that is N sockets at the port of the configuration, which share it (SO_REUSEPORT), and where servers are
on that side N sockets more, each with a port of its own. A worker gets its two of each, by their descriptors.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sbc.config import Config, Listen
from sbc.transport.udp import bound_socket


class Pair(NamedTuple):
    """What one worker has of one `[[listen]]`."""

    shared: socket.socket
    own: socket.socket | None
    """Towards the servers; None where there are only phones."""


class CannotBind(Exception):  # noqa: N818 (told to an operator)
    """An address is taken, or is none of this machine."""


class Sockets:
    """Everything that is open for the workers."""

    def __init__(self, listens: Sequence[Listen], workers: int) -> None:
        """Raises CannotBind."""
        self._pairs: list[list[Pair]] = [[] for _ in range(workers)]
        self.addresses: list[tuple[str, int]] = []
        """As bound, one for each `[[listen]]`."""
        for listen in listens:
            self._open(listen, workers)
        self._mail = [_mailbox() for _ in range(workers)]

    def _open(self, listen: Listen, workers: int) -> None:
        try:
            # Alone first: who shares a port is not told that somebody else has it, too.
            first = bound_socket(listen.address, listen.port)
            port = first.getsockname()[1]
            first.close()
            for worker in range(workers):
                shared = bound_socket(listen.address, port, share=True)
                self._pairs[worker].append(Pair(shared, None))
            self.addresses.append(shared.getsockname()[:2])
        except OSError as error:
            raise CannotBind(f"cannot listen on {listen}: {error.strerror}") from error
        if listen.side == "phones":
            return
        for worker in range(workers):
            own_port = listen.worker_port + worker if listen.worker_port else 0
            try:
                own = bound_socket(listen.address, own_port)
            except OSError as error:
                text = f"cannot listen on {replace(listen, port=own_port)} for worker {worker}: {error.strerror}"
                raise CannotBind(text) from error
            self._pairs[worker][-1] = self._pairs[worker][-1]._replace(own=own)

    def descriptors_for(self, worker: int) -> list[int]:
        """What that worker inherits, in the order in which `Inherited` reads it."""
        found = [self._mail[worker][0].fileno()]
        found += [outlet.fileno() for _, outlet in self._mail]
        for pair in self._pairs[worker]:
            found += [each.fileno() for each in pair if each is not None]
        return found

    def own_ports(self) -> list[list[int]]:
        """For each `[[listen]]`, the workers' ports towards the servers. A Route may name any of them."""
        return [
            [pairs[place].own.getsockname()[1] for pairs in self._pairs if pairs[place].own is not None]
            for place in range(len(self.addresses))
        ]

    def close(self) -> None:
        for pairs in self._pairs:
            for each in (each for pair in pairs for each in pair if each is not None):
                each.close()
        for each in (each for mailbox in self._mail for each in mailbox):
            each.close()


class Inherited:
    """A worker's sockets, from the descriptors that it was started with."""

    def __init__(self, config: Config, workers: int, first: int) -> None:
        """`first` is the lowest descriptor; the others follow."""
        numbers = iter(range(first, first + 1000))
        self.inbox = socket.socket(fileno=next(numbers))
        self.outlets = [socket.socket(fileno=next(numbers)) for _ in range(workers)]
        """By worker; this one's own among them."""
        self.pairs = []
        for listen in config.listens:
            shared = socket.socket(fileno=next(numbers))
            own = socket.socket(fileno=next(numbers)) if listen.side != "phones" else None
            self.pairs.append(Pair(shared, own))


def _mailbox() -> tuple[socket.socket, socket.socket]:
    """Inbox and outlet for datagrams to one worker. Unnamed, so that nobody else on the machine can write into it."""
    inbox, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in (inbox, outlet):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)  # about a second of calls for a successor
    return inbox, outlet
