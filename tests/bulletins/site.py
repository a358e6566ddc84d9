"""A site as in the bulletins: the appliance, its call servers, a phone, a name server; on fake time, in one process.

The appliance is `sbc.app.App`, started from a configuration file as `sbc run` would; only its sockets, its clock and its
resolver are others. So a scenario tests what is shipped, with a profile as it is shipped.
"""

from __future__ import annotations

import socket
from pathlib import Path

from sbc.app import App
from sbc.config import Config, load
from sbc.lab.phone import Call
from sbc.location.locator import Locator
from sbc.sip.digest import ha1
from tests.bulletins.peers import DOMAIN, NameServer, Phone, Server, endpoint_at
from tests.bulletins.wire import Address, Seen, Wire, WireReactor, WireTransport
from tests.helpers.clock import FakeClock

PASSWORD = "secret"
OURS = ("192.0.2.200", 5060)
PHONE = ("192.0.2.100", 5060)

_HEAD = f"""
[appliance]
name = "branch"
state_dir = "state"

[[listen]]
transport = "udp"
address = "{OURS[0]}"
port = {OURS[1]}

[[listen]]
transport = "tcp"
address = "{OURS[0]}"
port = {OURS[1]}

[[group]]
name = "office"
domains = ["{DOMAIN}"]
"""

_ENDING = 200.0
"""Seconds after which no transaction is left, not even of a call that rings (Timer C)."""
_SETTLING = 1.0
"""Seconds after the start in which names are found and every server has been asked how it is."""


class Appliance(App):
    """The appliance on an imaginary network."""

    def __init__(self, config: Config, wire: Wire) -> None:
        super().__init__(config, WireReactor(wire, OURS[0]))
        self.clock = wire.clock
        self._wall_clock = lambda: 1.7e9 + wire.clock.seconds()
        self._wire = wire

    def _own_sockets(self, config: Config) -> None:
        for listen in config.listens:
            family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
            self.listeners.add(
                WireTransport(
                    self._wire, self.edge, listen.transport, listen.address, listen.port, listen.side, family
                )
            )

    def _watch_network(self) -> None:
        """This machine's links are none of the site's."""

    def _own_control(self) -> None:
        """No command reaches this process from outside."""

    def _watch_lateness(self, due: float) -> None:
        """On fake time nothing is ever late."""


class Site:
    """One scenario. `machines` names the servers by address; those that the configuration gives by address have their
    names from there.
    """

    def __init__(self, folder: Path, group: str, zone: str = "", machines: dict[str, str] | None = None) -> None:
        self.clock = FakeClock()
        self.wire = Wire(self.clock)
        self.dns = NameServer(self.wire, zone)
        file = folder / "sbc.toml"
        (folder / "phones.htdigest").write_text(f"alice:{DOMAIN}:{ha1('alice', DOMAIN, PASSWORD)}\n")
        file.write_text(_HEAD + group)
        self.config = load(file)
        self.appliance = Appliance(self.config, self.wire)
        addresses = {name: _address(text) for name, text in (machines or {}).items()}
        for server in (server for group in self.config.groups for server in group.servers):
            if server.address[0].isdigit():
                addresses[server.name] = (server.address, server.port or 5060)
        self.servers = {name: Server(self.wire, name, address) for name, address in addresses.items()}
        self.questions: list[str] = []
        """What the name server was asked at the start: NAPTR, then SRV, then addresses, by name (what is asked at one moment
        has no order).
        """
        self.phones: list[Phone] = []
        self.phone = self.another_phone("alice", DOMAIN)

    def start(self) -> None:
        self.appliance.start()
        self.wait(_SETTLING)
        self.questions = sorted(self.asked(), key=_depth)
        self.begin()

    def another_phone(self, user: str, domain: str) -> Phone:
        name = f"phone of {user}" if self.phones else "phone"
        address = (PHONE[0], PHONE[1] + len(self.phones))
        self.phones.append(Phone(endpoint_at(self.wire, name, address), user, domain, PASSWORD, OURS))
        return self.phones[-1]

    def server(self, name: str) -> Server:
        return self.servers[name]

    @property
    def group(self):
        """The appliance's own view of its servers."""
        return self.appliance.groups["office"]

    @property
    def locator(self) -> Locator:
        return self.appliance.locator

    # -- time ------------------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def begin(self) -> None:
        """Now is second 0 of the story."""
        self.wire.begin()

    def breaks_connections(self) -> None:
        """A moment ago everything was well, but no connection is open any more."""
        for server in self.servers.values():
            self.wire.break_connections(server.address)
        self.wait(2)
        self.begin()

    # -- what was seen ---------------------------------------------------------------------------------------------------

    def told(self, *methods: str) -> list[str]:
        """What went to and fro between the appliance and the servers."""
        return self.wire.told(self.with_servers(*methods))

    def sent(self, *methods: str) -> list[str]:
        """The requests among them, on their way to the servers: without the answers."""
        return self.wire.told([seen for seen in self.with_servers(*methods) if seen.source == self.wire.us])

    def told_phone(self, *methods: str) -> list[str]:
        """What went to and fro between the appliance and the phone."""
        return self.wire.told(self.wire.between(*methods, peers=lambda peer: peer == "phone"))

    def asked(self) -> list[str]:
        """The questions to the name server."""
        return self.wire.told(self.wire.between(peers=lambda peer: peer == "dns"))

    def with_servers(self, *methods: str) -> list[Seen]:
        return self.wire.between(*methods, peers=lambda peer: peer in self.servers)

    def working(self) -> str:
        """The name of the machine that is the working server now."""
        candidate = self.group.working(self.clock.seconds())
        return self.wire.names[candidate.address, candidate.port]

    # -- common to many stories ------------------------------------------------------------------------------------------

    def call(self) -> Call:
        """The phone calls; a moment later it is answered, when somebody answers at once."""
        call = self.phone.calls_somebody()
        self.wait(0)
        return call

    def stop(self) -> None:
        """Every call and every exchange must come to an end by itself; only questions of our own may be under way."""
        for phone in self.phones:
            phone.switch_off()
        self.wait(_ENDING)
        assert self.appliance.proxy.under_way == 0
        assert not [kind for kind, number in self.appliance.layer.transactions.items() if number and "invite" in kind]
        stopped: list[bool] = []
        self.appliance.stop(lambda: stopped.append(True))
        assert stopped


def _depth(question: str) -> tuple[int, str]:
    _, rrtype, name, *_ = question.split()
    return ("NAPTR", "SRV", "A", "AAAA").index(rrtype), "" if rrtype == "NAPTR" else name


def _address(text: str) -> Address:
    host, _, port = text.partition(":")
    return host, int(port or 5060)
