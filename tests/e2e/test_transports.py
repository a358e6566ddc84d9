"""Every transport of phones with every transport of servers, over IPv4 and IPv6: register, call, failover, BYE.

One appliance and two Kamailios for all pairs. The servers of each group are the same two, reached in its own way.
"""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN
from tests.e2e.peers.appliance import RARE_PROBES, Sbc, htdigest_line
from tests.e2e.peers.kamailio import Kamailio
from tests.e2e.peers.line import LinePhone
from tests.e2e.peers.process import at, free_port, wait_until
from tests.helpers.certificates import Authority

TRANSPORTS = ("udp", "tcp", "tls")
ADDRESSES = {"ipv4": "127.0.0.1", "ipv6": "::1"}
OTHERS = ("carol", "dave", "erin", "frank")
PAIRS = list(product(TRANSPORTS, TRANSPORTS, ADDRESSES))


class Site:
    """The appliance and its servers. Each pair has two phones, made when they are first wanted."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        folder = peers.folder
        self.authority = Authority(folder)
        box = self.authority.certificate("box", ["127.0.0.1", "::1"])
        self.servers = [
            peers.kamailio(
                name, address="127.0.0.1", more_addresses=("::1",), streams=True, challenge_calls=False, any_domain=True,
                certificate=self.authority.certificate(name, ["127.0.0.1", "::1"]),
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
        self._phones: dict[str, LinePhone] = {}

    def port(self, transport: str, address: str) -> int:
        """Of the phones' socket."""
        return self._ports["phones", transport, address]

    def phone(self, name: str, pair: tuple[str, str, str]) -> LinePhone:
        transport, of_servers, family = pair
        full = f"{name}-{transport}-{of_servers}-{family}"
        if full not in self._phones:
            address = ADDRESSES[family]
            self._phones[full] = self.peers.line_phone(
                full, (address, self._ports["phones", transport, address]), transport, address=address,
                ca=self.authority.file, domain=domain_of(of_servers, family),
            )  # fmt: skip
            self._phones[full].register()
        return self._phones[full]

    def pair(self, pair: tuple[str, str, str]) -> tuple[LinePhone, LinePhone]:
        return self.phone("alice", pair), self.phone("bob", pair)


def listen_of(site: Site, transport: str, address: str) -> str:
    """What a phone gets as its outbound proxy."""
    return at(address, site.port(transport, address))


def domain_of(transport: str, family: str) -> str:
    return f"{transport}-{family}.example.com"


def account_names() -> list[str]:
    return [f"{name}-{phone}-{server}-{family}" for name in ("alice", "bob") for phone, server, family in PAIRS]


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
            domains.append(DOMAIN)  # of the phones that know no other
        lines += ["[[group]]", f'name = "{transport}-{family}"', f"domains = {domains}", RARE_PROBES]
        for server in servers:
            port = server.port + (transport == "tls")
            lines += ["[[group.server]]", f'name = "{server.name}"', f'address = "{ADDRESSES[family]}"', f"port = {port}"]
            lines += [f'transport = "{transport}"']
    credentials = folder / "phones.htdigest"
    credentials.write_text("".join(htdigest_line(name, "md5") for name in (*account_names(), *OTHERS)))
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
    for pair in PAIRS:
        site.pair(pair)
    site.servers[0].kill()
    return site


def name_of(pair: tuple[str, str, str]) -> str:
    return f"{pair[0]} phone, {pair[1]} server, {pair[2]}"


@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_register_and_call(site: Site, pair: tuple[str, str, str]) -> None:
    """Y20, F15: the transport is each server's own. Registered at both; a call that leaves and comes back; each end hangs
    up once."""
    alice, bob = site.pair(pair)
    for server in site.servers:
        wait_until(lambda server=server: server.contacts(bob.name), f"{bob.name} is registered at {server.name}")
        (contact,) = server.contacts(bob.name)
        assert (";transport=" in contact) is (pair[1] != "udp")
    dialog = alice.call(bob.name)
    bob.wait_for("ACK")
    alice.hang_up(dialog)
    bob.wait_for("BYE")
    alice.call(bob.name)
    bob.wait_for("ACK")
    bob.hang_up(bob.latest_dialog())
    alice.wait_for("BYE")
    assert "Traceback" not in site.sbc.text()


def test_renewed_certificate(site: Site) -> None:
    """SIGHUP takes it up for new connections; phones that are connected stay."""
    alice, _ = site.pair(("tls", "udp", "ipv4"))
    where = ("127.0.0.1", site.port("tls", "127.0.0.1"))
    before = ssl.get_server_certificate(where)
    site.authority.certificate("box", ["127.0.0.1", "::1"])
    os.kill(site.sbc.pid, signal.SIGHUP)
    wait_until(lambda: ssl.get_server_certificate(where) != before, "the new certificate is shown")
    alice.register()


@pytest.mark.parametrize("transport, name", [("tcp", "carol"), ("tls", "dave")])
def test_real_phone(site: Site, transport: str, name: str) -> None:
    """baresip registers, is called over the connection that it has made, and calls; the servers are on TLS."""
    phone = site.peers.baresip(
        name, listen_of(site, transport, "127.0.0.1"), transport=transport,
        ca=site.authority.file if transport == "tls" else None,
    )  # fmt: skip
    phone.wait_registered()
    caller = site.phone("alice", ("udp", "tls", "ipv4"))
    dialog = caller.call(name)
    phone.wait_event("CALL_ESTABLISHED")
    caller.hang_up(dialog)
    phone.wait_event("CALL_CLOSED")
    phone.dial(caller.name)
    phone.hang_up()
    caller.wait_for("BYE")
    assert "Traceback" not in site.sbc.text()


@pytest.mark.parametrize("family", ADDRESSES)
def test_phone_that_listens_and_connects_anew(site: Site, family: str) -> None:
    """SIPp makes a connection for each run, so calls to it need one of ours, to its Contact (RFC 3261 18.1.1)."""
    address = ADDRESSES[family]
    proxy = listen_of(site, "tcp", address)
    erin, frank = (site.peers.sipp_phone(name, proxy, address, transport="tcp") for name in ("erin", "frank"))
    erin.register()
    frank.register()
    taken = frank.take_calls()
    erin.call("frank")
    taken.finish()
    assert "Traceback" not in site.sbc.text()


@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_failover(site_without_primary: Site, pair: tuple[str, str, str]) -> None:
    """P17, P18, F2: the primary was killed. The next call goes by the fallback, at once, and so does a registration."""
    site = site_without_primary
    alice, bob = site.pair(pair)
    dialog = alice.call(bob.name)
    bob.wait_for("ACK")
    alice.hang_up(dialog)
    bob.wait_for("BYE")
    bob.register()
    cause = {"udp": "icmp", "tcp": "refused", "tls": "refused"}[pair[1]]
    group = f"{pair[1]}-{pair[2]}"
    assert site.sbc.metric("sbc_failovers_total", group=group, cause=cause) >= 1
    assert site.sbc.metric("sbc_failovers_total", group=group, cause="timeout") == 0
    assert "Traceback" not in site.sbc.text()
