"""Every transport of phones with every transport of servers, over IPv4 and IPv6: register, call, failover, BYE.

One appliance, two Kamailios and four baresips for all pairs. The servers of each group are the same two, reached in its
own way.
"""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.appliance import RARE_PROBES, Sbc, htdigest_line
from tests.e2e.peers.baresip import Baresip
from tests.e2e.peers.kamailio import Kamailio
from tests.e2e.peers.process import at, free_port, wait_until
from tests.helpers.certificates import Authority

TRANSPORTS = ("udp", "tcp", "tls")
ADDRESSES = {"ipv4": "127.0.0.1", "ipv6": "::1"}
OTHERS = ("dave", "erin", "frank")
Pair = tuple[str, str, str]
"""The phone's transport, the servers' transport, and the address family."""
PAIRS: list[Pair] = list(product(TRANSPORTS, TRANSPORTS, ADDRESSES))


class Site:
    """The appliance and its servers, and for each address family two baresips, each with a line for every pair."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        folder = peers.folder
        self.authority = Authority(folder)
        box = self.authority.certificate("box", ["127.0.0.1", "::1"])
        self.servers = [
            peers.kamailio(
                name, address="127.0.0.1", more_addresses=("::1",), streams=True, challenge_calls=False, any_domain=True,
                forgetful=True, certificate=self.authority.certificate(name, ["127.0.0.1", "::1"]),
            )
            for name in ("primary", "fallback")
        ]  # fmt: skip
        self._ports = {
            (side, transport, address): free_port(address)
            for side, transport, address in product(("phones", "servers"), TRANSPORTS, ADDRESSES.values())
        }
        http_port = free_port()
        file = configuration(folder, self._ports, self.servers, http_port, self.authority.file, box)
        first = self._ports["phones", "udp", "127.0.0.1"]
        self.sbc: Sbc = peers.started(Sbc(folder, file, {"127.0.0.1": first}, http_port))
        self._phones = {
            (user, family): peers.baresip(
                f"{user}-{family}", address=address, ca=self.authority.file,
                lines=[self._line(user, pair) for pair in PAIRS if pair[2] == family],
            )
            for user, (family, address) in product(("alice", "bob"), ADDRESSES.items())
        }  # fmt: skip

    def port(self, transport: str, address: str) -> int:
        """Of the phones' socket."""
        return self._ports["phones", transport, address]

    def proxy(self, transport: str, address: str) -> str:
        """What a phone gets as its outbound proxy."""
        return at(address, self.port(transport, address))

    def end(self, user: str, pair: Pair) -> End:
        """A newcomer's line is for alice's phone."""
        phone = self._phones["bob" if user == "bob" else "alice", pair[2]]
        return End(phone, self._line(user, pair))

    def _line(self, user: str, pair: Pair) -> Line:
        transport, of_servers, family = pair
        proxy = self.proxy(transport, ADDRESSES[family])
        return Line(line_name(user, pair), proxy, transport, domain_of(of_servers, family), expires=600)


@dataclass(frozen=True)
class End:
    """A line of a baresip, as one end of a call."""

    phone: Baresip
    line: Line

    def call(self, other: End) -> None:
        """Until both ends say that it stands: the caller has its 200, the callee its ACK."""
        other.phone.forget_events()
        self.phone.use_line(self.line)
        self.phone.dial(other.line.name, domain=other.line.domain)
        other.phone.wait_event("CALL_ESTABLISHED", line=other.line)

    def hang_up(self, other: End) -> None:
        """Until the other end has got the BYE."""
        self.phone.use_line(self.line)
        self.phone.hang_up()
        other.phone.wait_event("CALL_CLOSED", line=other.line)


def domain_of(transport: str, family: str) -> str:
    return f"{transport}-{family}.example.com"


def line_name(user: str, pair: Pair) -> str:
    return "-".join((user, *pair))


def configuration(
    folder: Path, ports: dict[tuple[str, str, str], int], servers: list[Kamailio], http_port: int, ca: Path,
    certificate: tuple[Path, Path],
) -> str:  # fmt: skip
    """A group, with a domain of its own, for each way to the servers."""
    lines = ["[appliance]", 'name = "transports"', f'state_dir = "{folder}/state"']
    for (side, transport, address), port in ports.items():
        lines += ["[[listen]]", f'transport = "{transport}"', f'address = "{address}"', f"port = {port}", f'side = "{side}"']
        if transport == "tls":
            lines += [f'certificate = "{certificate[0]}"', f'key = "{certificate[1]}"']
    lines += ["[http]", f"port = {http_port}", "[tls]", f'ca = "{ca}"']
    for transport, family in product(TRANSPORTS, ADDRESSES):
        domains = [domain_of(transport, family)]
        if transport == "tls" and family == "ipv4":
            domains.append(DOMAIN)  # of the phones that are no baresip
        lines += ["[[group]]", f'name = "{transport}-{family}"', f"domains = {domains}", RARE_PROBES]
        for server in servers:
            port = server.port + (transport == "tls")
            lines += ["[[group.server]]", f'name = "{server.name}"', f'address = "{ADDRESSES[family]}"', f"port = {port}"]
            lines += [f'transport = "{transport}"']
    credentials = folder / "phones.htdigest"
    names = [line_name(user, pair) for user, pair in product(("alice", "bob", "carol"), PAIRS)]
    credentials.write_text("".join(htdigest_line(name, "md5") for name in (*names, *OTHERS)))
    return "\n".join([*lines, "[credentials]", f'file = "{credentials}"', ""])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    peers = Peers(tmp_path_factory.mktemp("transports"))
    try:
        yield Site(peers)
    finally:
        peers.close()


@pytest.fixture(scope="module")
def site_without_primary(site: Site) -> Site:
    """From here on the primary is dead, and nobody has been told."""
    for user, pair in product(("alice", "bob"), PAIRS):
        end = site.end(user, pair)
        end.phone.wait_line_registered(end.line)
    site.servers[0].kill()
    return site


def name_of(pair: Pair) -> str:
    return f"{pair[0]} phone, {pair[1]} server, {pair[2]}"


@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_register_and_call(site: Site, pair: Pair) -> None:
    """Y20, F15: the transport is each server's own. baresip registers, at both, by the phone's transport; a call that
    leaves and comes back, by the primary; each end hangs up once."""
    alice, bob = site.end("alice", pair), site.end("bob", pair)
    alice.phone.wait_line_registered(alice.line)
    bob.phone.wait_line_registered(bob.line)
    for server in site.servers:
        wait_until(lambda server=server: server.contacts(bob.line.name), f"{bob.line.name} is registered at {server.name}")
        (contact,) = server.contacts(bob.line.name)
        assert (";transport=" in contact) is (pair[1] != "udp")
    call_and_call_again(alice, bob)
    assert [requests_at(server, alice, bob) for server in site.servers] == [(2, 1, 1), (0, 0, 0)]
    assert "Traceback" not in site.sbc.text()


def call_and_call_again(alice: End, bob: End) -> None:
    """The caller hangs up the first call, the callee the second."""
    alice.call(bob)
    alice.hang_up(bob)
    alice.call(bob)
    bob.hang_up(alice)


def requests_at(server: Kamailio, alice: End, bob: End) -> tuple[int, int, int]:
    """How many have reached the server: INVITEs for bob, BYEs for bob, BYEs for alice. Their Contacts begin with the line's
    name too."""
    counted = [("INVITE", bob), ("BYE", bob), ("BYE", alice)]
    found = [sum(f"<sip:{end.line.name}" in each for each in server.received(method)) for method, end in counted]
    return (found[0], found[1], found[2])


def test_renewed_certificate(site: Site) -> None:
    """SIGHUP takes it up for new connections; phones that are connected stay. The phone is ours: baresip would connect
    anew without a word."""
    where = ("127.0.0.1", site.port("tls", "127.0.0.1"))
    dave = site.peers.line_phone("dave", where, "tls", ca=site.authority.file)
    dave.register()
    before = ssl.get_server_certificate(where)
    site.authority.certificate("box", ["127.0.0.1", "::1"])
    os.kill(site.sbc.pid, signal.SIGHUP)
    wait_until(lambda: ssl.get_server_certificate(where) != before, "the new certificate is shown")
    dave.register()


@pytest.mark.parametrize("family", ADDRESSES)
def test_phone_that_listens_and_connects_anew(site: Site, family: str) -> None:
    """SIPp makes a connection for each run, so calls to it need one of ours, to its Contact (RFC 3261 18.1.1)."""
    address = ADDRESSES[family]
    proxy = site.proxy("tcp", address)
    erin, frank = (site.peers.sipp_phone(name, proxy, address, transport="tcp") for name in ("erin", "frank"))
    erin.register()
    frank.register()
    taken = frank.take_calls()
    erin.call("frank")
    taken.finish()
    assert "Traceback" not in site.sbc.text()


@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_failover(site_without_primary: Site, pair: Pair) -> None:
    """P17, P18, F2: the primary was killed. The next call goes by the fallback, at once, and each end hangs up once; a
    registration goes there too. It is a new phone's: baresip 1.0 has no command to register a line again."""
    site = site_without_primary
    alice, bob, carol = (site.end(user, pair) for user in ("alice", "bob", "carol"))
    call_and_call_again(alice, bob)
    assert requests_at(site.servers[1], alice, bob) == (2, 1, 1)
    carol.phone.add_line(carol.line)
    assert len(site.servers[1].contacts(carol.line.name)) == 1
    cause = {"udp": "icmp", "tcp": "refused", "tls": "refused"}[pair[1]]
    group = f"{pair[1]}-{pair[2]}"
    assert site.sbc.metric("sbc_failovers_total", group=group, cause=cause) >= 1
    assert site.sbc.metric("sbc_failovers_total", group=group, cause="timeout") == 0
    assert "Traceback" not in site.sbc.text()
