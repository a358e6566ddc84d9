"""Connections of one worker that another answers over.

A request that came over a connection may be for a phone of another worker. There it has a `LentFlow`: what is sent over that
goes back, as one more parcel, to the worker whose connection it is. `LentFlows` are those of one `[[listen]]`; `Lender` is
the other end.
"""

from __future__ import annotations

import struct
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from sbc.flow import Flow
from sbc.transport.addresses import host_and_port, raw_address
from sbc.workers.handover import SENT, Neighbours, Parcel

_OF_WHOM = struct.Struct("!BQ")
_MOST_REMEMBERED = 4096


class Lender:
    """Gives each connection of this worker a number when the first request of it is handed over."""

    def __init__(self, me: int) -> None:
        self._me = me
        self._numbers = count(1)
        self._lent: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def source_of(self, flow: Any) -> bytes:
        """How parcels name where it came from: the address, and for a connection whose it is and which."""
        raw: bytes | None = getattr(flow, "raw", None)
        if raw is not None:
            return raw
        number = getattr(flow, "lent_as", 0)
        if not number:
            number = flow.lent_as = next(self._numbers)
            self._lent[number] = flow
        return _OF_WHOM.pack(self._me, number) + raw_address(*flow.remote)

    def send(self, source: bytes, data: bytes) -> None:
        """Another worker's message for one of our connections; dropped when that is gone."""
        _, number = _OF_WHOM.unpack_from(source)
        flow = self._lent.get(number)
        if flow is not None and not flow.gone:
            flow.send(data)


class LentFlow(Flow):
    """A connection of another worker."""

    def __init__(self, neighbours: Neighbours, listen: int, transport: Any, source: bytes) -> None:
        remote = host_and_port(source[_OF_WHOM.size :])
        super().__init__(transport.name, transport.side, transport.sent_by(remote[0]), transport.local, remote)
        self.raw = source
        self._neighbours = neighbours
        self._listen = listen
        self._owner, _ = _OF_WHOM.unpack_from(source)

    def send(self, data: bytes) -> None:
        """One message, over the connection that it stands for."""
        self._neighbours.hand_to(self._owner, Parcel(SENT, self._listen, 0, self.raw, data))


class LentFlows:
    """Those of one `[[listen]]`, in the place of a transport that can find a flow by what a parcel says."""

    def __init__(self, neighbours: Neighbours, listen: int, transport: Any) -> None:
        self.name = transport.name
        self.local = transport.local
        self._neighbours = neighbours
        self._listen = listen
        self._transport = transport
        self._known: dict[bytes, LentFlow] = {}

    def flow_of(self, source: bytes) -> LentFlow:
        flow = self._known.get(source)
        if flow is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            flow = self._known[source] = LentFlow(self._neighbours, self._listen, self._transport, source)
        return flow
