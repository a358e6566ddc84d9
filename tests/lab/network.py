"""An imaginary network for lab endpoints: datagrams arrive a millisecond later, unless somebody is cut off."""

from __future__ import annotations

from sbc.lab.accounts import Accounts, LocationTable
from sbc.lab.endpoint import Address, Endpoint
from sbc.lab.phone import Phone
from sbc.lab.server import CallServer
from sbc.sip.message import parse
from tests.helpers.clock import FakeClock

DOMAIN = "office.example"
PASSWORDS = {"alice": "wonderland", "bob": "builder", "carol": "christmas"}
LATENCY = 0.001


class Network:
    """Addresses are made up; `log` has every datagram as (from, to, message)."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log: list = []
        self.lost: set[Address] = set()
        """Whatever goes there is lost."""
        self._endpoints: dict[Address, Endpoint] = {}

    def endpoint(self, host: str, port: int = 5060) -> Endpoint:
        local = (host, port)

        def write(data: bytes, remote: Address) -> None:
            self.log.append((local, remote, parse(data)))
            self.clock.callLater(LATENCY, self._deliver, data, local, remote)

        self._endpoints[local] = endpoint = Endpoint(self.clock, local, write)
        return endpoint

    def _deliver(self, data: bytes, local: Address, remote: Address) -> None:
        if remote in self._endpoints and remote not in self.lost:
            self._endpoints[remote].datagram_received(data, local)

    def phone(self, user: str, host: str, server: Address, password: str | None = None, **options) -> Phone:
        password = PASSWORDS[user] if password is None else password
        return Phone(self.endpoint(host), user, DOMAIN, password, server, **options)

    def call_server(
        self, host: str, algorithm: str = "MD5", locations: LocationTable | None = None, **options
    ) -> CallServer:
        accounts = Accounts(DOMAIN, PASSWORDS, algorithm)
        return CallServer(self.endpoint(host), accounts, locations, wall_clock=self.clock.seconds, **options)

    def sent(self, method: str, to: Address | None = None) -> list:
        """The requests of that method, in order, retransmissions included."""
        return [
            message
            for _, remote, message in self.log
            if getattr(message, "method", None) == method and (to is None or remote == to)
        ]

    def statuses(self, method: str, to: Address) -> list[int]:
        """The responses that went to an address for a method, in order."""
        return [
            message.status
            for _, remote, message in self.log
            if remote == to and hasattr(message, "status") and message.cseq_method == method
        ]


def outcome(deferred) -> list:
    """The result of a Deferred: a list that is empty until it has fired, and then holds the value or the exception."""
    results: list = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results
