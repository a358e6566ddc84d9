"""Requests that need a registration first (Y30, F7, F8, X8, D22): the real registrar and the real proxy, and what the
servers are sent in which order.
"""

from __future__ import annotations

import pytest

from sbc.events import RegistrationLeftOut
from sbc.proxy.core import Proxy
from sbc.proxy.edge import Edge
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.outcome import Answered, TransportFailed
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.registration.registrar import Registrar
from sbc.sip import digest
from sbc.sip.digest import HtdigestFile
from sbc.sip.message import Request, Response, parse
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.timers import Timers
from tests.helpers.clock import FakeClock
from tests.helpers.network import FakeFlow
from tests.helpers.scripted_servers import DigestRegistrar, MemoryStore, accept, refuse

from .conftest import FALLBACK, KEY, PHONE_SIDE, PRIMARY, SERVER_SIDE

OFFER = b"v=0\r\n"


class Server(FakeFlow):
    """The way to a call server that registers, and answers calls with 200, or is dead."""

    def __init__(self, site: Site, name: str, remote: tuple[str, int]) -> None:
        super().__init__(site.clock, side="servers", local=SERVER_SIDE, remote=remote)
        self.site, self.name = site, name
        self.register = accept()
        self.others = 200
        self.dead = False
        self.answered: set[str] = set()

    def send(self, data: bytes) -> None:
        super().send(data)
        message = parse(data)
        if not isinstance(message, Request) or message.method in ("ACK", "OPTIONS"):
            return
        branch = message.top_via.branch
        if branch not in self.answered:
            self.site.story.append((self.site.clock.seconds() - 1000.0, self.name, message.method))
            self.answered.add(branch)
        if self.dead:
            return
        if message.method == "REGISTER":
            response = self.register(message)
        else:
            contact = [("Contact", f"<sip:bob@{self.remote[0]}:5060>")]
            response = Response.for_request(message, self.others, to_tag="bob", headers=contact, copy_record_route=True)
        if response is not None:
            self.site.clock.callLater(0.001, self.site.receive, response, self)


class Site:
    """A phone that is registered at the primary, two servers, and everything of ours between them."""

    def __init__(self, credentials=None, of_servers=None, **settings) -> None:
        self.clock = FakeClock()
        self.story: list[tuple[float, str, str]] = []
        self.facts: list[object] = []
        self.layer = TransactionLayer(self.clock, Timers(invite_trying=0.0))
        each = of_servers or {}
        servers = [
            ServerSettings(name, candidate.address, rank=rank, port=5060, **each.get(name, {}))
            for rank, (name, candidate) in enumerate((("primary", PRIMARY), ("backup", FALLBACK)), start=1)
        ]
        settings = {"registration": "successive", **settings}
        group = GroupSettings("office", tuple(servers), domains=("example.com",), **settings)
        self.group = ServerGroup(group, (0.5, 4.0), self.facts.append, self.clock.seconds())
        self.primary = Server(self, "primary", (PRIMARY.address, 5060))
        self.backup = Server(self, "backup", (FALLBACK.address, 5060))
        self.phone = FakeFlow(self.clock, side="phones", local=PHONE_SIDE, remote=("192.0.2.50", 5060))
        self.registrar = Registrar(
            self.layer, self.clock, lambda: 1.7e9, MemoryStore(), credentials, self.flow_to_server, self.facts.append
        )
        self.registrar.set_groups([self.group])
        self.proxy = Proxy(
            clock=self.clock, layer=self.layer, flows=self, groups=[self.group], registrar=self.registrar,
            is_ours=lambda host, port: (host, port or 5060) in (PHONE_SIDE, SERVER_SIDE), key=KEY, name="branch-42",
            report=self.facts.append,
        )  # fmt: skip
        self.layer.user = self.proxy
        self.edge = Edge(self.proxy, self.facts.append)
        for name, candidate in (("primary", PRIMARY), ("backup", FALLBACK)):
            self.group.update_candidates(name, [candidate], self.clock.seconds())
        self.sent = 0

    def flow_to_server(self, candidate) -> Server:
        return self.primary if candidate == PRIMARY else self.backup

    def flow_to_phone(self, transport_name, host, port, local_port) -> FakeFlow:
        return self.phone

    def receive(self, message, flow) -> None:
        message = parse(message.to_bytes())
        if isinstance(message, Request):
            message.note_source(*flow.remote)
        self.edge.message_received(message, flow)

    def phone_sends(self, method: str, *headers: str, uri="sip:bob@example.com", to_tag="", call_id="call") -> None:
        self.sent += 1
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bK{self.sent}",
            "Max-Forwards: 70",
            "From: <sip:alice@example.com>;tag=phone",
            "To: " + ("<sip:alice@example.com>" if method == "REGISTER" else "<sip:bob@example.com>") + to_tag,
            f"Call-ID: {call_id}",
            f"CSeq: {self.sent} {method}",
            "Contact: <sip:alice@192.0.2.50:5060>",
            "Content-Length: 0",
            *headers,
        ]
        self.receive(parse("\r\n".join([*lines, "", ""]).encode()), self.phone)

    def register(self) -> None:
        self.phone_sends("REGISTER", "Expires: 3600", uri="sip:example.com", call_id="register")
        self.clock.advance(0.1)
        challenged = self.answers()[-1]
        if challenged.status == 401:
            challenge = digest.Challenge.parse(challenged.get("WWW-Authenticate"))
            ha1 = digest.ha1("alice", challenge.realm, "secret")
            shown = digest.answer(challenge, ha1, "alice", "REGISTER", "sip:example.com", 1, "nonce", b"")
            line = f"Authorization: {shown}"
            self.phone_sends("REGISTER", "Expires: 3600", line, uri="sip:example.com", call_id="register")
            self.clock.advance(0.1)
        assert 200 == self.answers()[-1].status
        self.story.clear()

    def answers(self) -> list[Response]:
        return [message for _, message in self.phone.sent if isinstance(message, Response) and message.status >= 200]

    def call(self) -> Response:
        """A call that is answered; its 200."""
        self.phone_sends("INVITE")
        self.clock.advance(0.1)
        return self.answers()[-1]

    def hang_up(self, established: Response) -> float:
        """The BYE of that call; returns when it was sent."""
        at = self.clock.seconds() - 1000.0
        routes = [f"Route: {route}" for route in reversed(established.get_all("Record-Route"))]
        self.phone_sends("BYE", *routes, uri="sip:bob@198.51.100.10", to_tag=";tag=bob")
        return at

    def order(self, since: float = 0.0) -> list[str]:
        return [f"{server} {method}" for at, server, method in self.story if at >= since]


@pytest.fixture
def make_site():
    sites = []

    def make(*arguments, **settings) -> Site:
        sites.append(Site(*arguments, **settings))
        return sites[-1]

    yield make
    for site in sites:
        site.primary.dead = site.backup.dead = False
        site.clock.advance(40_000)
        assert site.proxy.under_way == 0
        assert site.registrar.upkeep.held.waiting == {}
        assert not any(site.layer.transactions.values())
        assert site.clock.pending == 0


@pytest.fixture
def passwords(tmp_path):
    path = tmp_path / "phones.htdigest"
    path.write_text(f"alice:example.com:{digest.ha1('alice', 'example.com', 'secret')}\n")
    return HtdigestFile.load(path)


def challenging(nonce: str, password: str = "secret") -> DigestRegistrar:
    return DigestRegistrar("example.com", {"alice": password}, nonce)


BEFORE_CALLS = {"register_before": ("INVITE", "BYE"), "fall": 20}
"""`fall` so high that nothing moves by itself: what goes to the backup goes there for this request."""


def test_f7_register_then_invite(make_site):
    """F7, X8: INVITE to the primary N times; REGISTER to the backup, its 200, then INVITE to the backup."""
    site = make_site(**BEFORE_CALLS)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(10)
    assert ["primary INVITE", "backup REGISTER", "backup INVITE"] == site.order()
    assert 4 == site.primary.summary().count("INVITE")
    times = [round(at, 3) for at, server, _ in site.story if server == "backup"]
    assert [7.6, 7.601] == times, "REGISTER when the primary has had its retries, INVITE when the 200 has come"
    assert 200 == site.answers()[-1].status


def test_f8_register_then_bye_within_the_phone_s_time(make_site, passwords):
    """F8, D1: the same for a BYE, with our own answer to the backup's challenge; the phone has its 200 within 32 s."""
    site = make_site(credentials=passwords, **BEFORE_CALLS)
    site.primary.register, site.backup.register = challenging("N1"), challenging("N2")
    site.register()
    established = site.call()
    assert ["primary INVITE"] == site.order()
    site.primary.dead = True
    began = site.hang_up(established)
    site.clock.advance(32)
    assert ["primary BYE", "backup REGISTER", "backup REGISTER", "backup BYE"] == site.order(began)
    assert (200, "BYE") == (site.answers()[-1].status, site.answers()[-1].cseq_method)
    assert site.story[-1][0] - began < 8


def test_f8_a_backup_that_is_silent_to_the_register_leaves_the_phone_in_time(make_site):
    """F8, D1, D22: half of what is left goes to the REGISTER, and the phone has an answer before it stops."""
    site = make_site(**BEFORE_CALLS)
    site.register()
    established = site.call()
    site.primary.dead = site.backup.dead = True
    began = site.hang_up(established)
    site.clock.advance(31.5)
    assert ["primary BYE", "backup REGISTER"] == site.order(began)
    assert (481, "BYE") == (site.answers()[-1].status, site.answers()[-1].cseq_method)
    silent_from = next(at for at, server, _ in site.story if server == "backup")
    ended = next(at for at, message in site.phone.sent if isinstance(message, Response) and message.status == 481)
    assert 7.5 == round(silent_from - began, 3)
    assert 19.25 == round(ended - began, 3)


def test_nothing_to_do_where_the_phone_is_registered_already(make_site):
    """F7 with concurrent registration: it is there."""
    site = make_site(registration="concurrent", **BEFORE_CALLS)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(10)
    assert ["primary INVITE", "backup INVITE"] == site.order()


def test_d22_challenged_without_the_password(make_site):
    """D22: only the phone could answer; the registration is left out, the INVITE sent all the same, and the log says so."""
    site = make_site(**BEFORE_CALLS)
    site.primary.register, site.backup.register = challenging("N1"), challenging("N2")
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(10)
    assert ["primary INVITE", "backup REGISTER", "backup INVITE"] == site.order()
    (left_out,) = [fact for fact in site.facts if isinstance(fact, RegistrationLeftOut)]
    assert ("backup", "INVITE", "asks for a password that only the phone knows") == (
        left_out.server, left_out.method, left_out.reason,
    )  # fmt: skip
    began = site.clock.seconds() - 1000.0
    site.phone_sends("INVITE", call_id="second")
    site.clock.advance(10)
    assert ["primary INVITE", "backup INVITE"] == site.order(began), "not tried in vain again"


def test_the_backup_refuses_the_account(make_site):
    """Y30: "register to the secondary before": it did not take the phone, so the call goes no further."""
    site = make_site(**BEFORE_CALLS)
    site.backup.register = refuse(403)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(10)
    assert ["primary INVITE", "backup REGISTER"] == site.order()
    assert 480 == site.answers()[-1].status
    assert "could not be registered there" in site.answers()[-1].get("Warning")


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "SUBSCRIBE"])
def test_y30_register_on_enable(make_site, method):
    """Y30: other requests go to the secondary only after a REGISTER was accepted there; all methods, this server only."""
    site = make_site(of_servers={"backup": {"register_on_enable": True}}, fall=20)
    site.register()
    site.phone_sends(method)
    site.clock.advance(1)
    assert [f"primary {method}"] == site.order()
    site.primary.dead = True
    site.phone_sends(method, call_id="second")
    site.clock.advance(20)
    assert [f"primary {method}", "backup REGISTER", f"backup {method}"] == site.order()[1:]


def test_y30_off(make_site):
    """Y30: "with 0, INVITE goes to the secondary with no REGISTER"; P15 step 2 and X8 too."""
    site = make_site(fall=20)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(10)
    assert ["primary INVITE", "backup INVITE"] == site.order()


def test_p8_never_registered_at_and_still_called(make_site):
    """P8, P15 step 3: with register = false no REGISTER goes there, whatever else is asked for."""
    each = {"backup": {"register": False, "register_on_enable": True}}
    site = make_site(of_servers=each, **BEFORE_CALLS)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(10)
    assert ["primary INVITE", "backup INVITE"] == site.order()


def test_one_registration_for_two_calls(make_site):
    """Both wait for the same one."""
    site = make_site(**BEFORE_CALLS)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.phone_sends("INVITE", call_id="second")
    site.clock.advance(10)
    assert ["primary INVITE"] * 2 + ["backup REGISTER"] + ["backup INVITE"] * 2 == site.order()


def test_cancel_while_the_registration_is_under_way(make_site):
    """D4: from then on no new branch; the caller has its 487 after half a second."""
    site = make_site(**BEFORE_CALLS)
    site.backup.register = lambda request: None
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(8)
    cancel = parse(b"\r\n".join([
        b"CANCEL sip:bob@example.com SIP/2.0", b"Via: SIP/2.0/UDP 192.0.2.50:5060;branch=z9hG4bK%d" % site.sent,
        b"Max-Forwards: 70", b"From: <sip:alice@example.com>;tag=phone", b"To: <sip:bob@example.com>", b"Call-ID: call",
        b"CSeq: %d CANCEL" % site.sent, b"Content-Length: 0", b"", b"",
    ]))  # fmt: skip
    site.receive(cancel, site.phone)
    site.clock.advance(1)
    assert 487 == site.answers()[-1].status
    site.clock.advance(30)
    assert "backup INVITE" not in site.order()


def test_a_phone_that_never_registered_is_not_held_up(make_site):
    site = make_site(**BEFORE_CALLS)
    site.phone_sends("INVITE")
    site.clock.advance(1)
    assert ["primary INVITE"] == site.order()


ENABLED = {name: {"register_on_enable": True, "failback_mode": "probe"} for name in ("primary", "backup")}


def registered(site) -> list[str]:
    (binding,) = site.registrar.bindings
    return [upstream.server for upstream in binding.upstreams if upstream.state == "registered"]


def test_v11_a_call_that_ends_after_a_failback_leaves_the_registration_where_it_is(make_site):
    """V11, V3, Y30, D20: the server of the call knows the call; the BYE needs no registration there, and makes none."""
    site = make_site(of_servers=ENABLED, registration="single", fall=1, rise=1, failback_hold=0)
    site.primary.dead = True
    site.group.observe(PRIMARY, TransportFailed("icmp"), site.clock.seconds(), "OPTIONS")
    site.register()
    established = site.call()
    assert ["backup INVITE"] == site.order()
    site.primary.dead = False
    site.group.observe(PRIMARY, Answered(200), site.clock.seconds(), "OPTIONS")
    site.clock.advance(30)
    assert ["primary"] == registered(site)
    began = site.hang_up(established)
    site.clock.advance(200)
    assert ["backup BYE"] == site.order(began)
    assert 200 == site.answers()[-1].status
    assert ["primary"] == registered(site)


def test_v11_registered_for_one_request_is_not_at_two_for_long(make_site):
    """V11: "never at two": the primary was silent once and works; when the request is over the phone is there alone."""
    site = make_site(of_servers=ENABLED, registration="single", fall=20)
    site.register()
    site.primary.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(8)
    assert ["primary INVITE", "backup REGISTER", "backup INVITE"] == site.order()
    site.primary.dead = False
    began = site.clock.seconds() - 1000.0
    site.clock.advance(40)
    assert ["primary REGISTER", "backup REGISTER"] == site.order(began)
    assert ["primary"] == registered(site)


# Routing by method


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH"])
def test_p6_features_of_the_first_server_only(make_site, method):
    """P6, P25, Y3, D1: with the first server down a clear status in time, and nothing to the second."""
    site = make_site(method_servers={"SUBSCRIBE": "first", "PUBLISH": "first"}, fall=20)
    site.register()
    site.primary.dead = True
    site.phone_sends(method)
    site.clock.advance(31.5)
    assert [f"primary {method}"] == site.order()
    answer = site.answers()[-1]
    assert 480 == answer.status
    assert "primary" in answer.get("Warning")


def test_p15_to_every_server_even_unregistered(make_site):
    """P15 step 3: to all in turn; with all of them down the call fails with a clear answer."""
    site = make_site(of_servers={"backup": {"register": False}})
    site.register()
    site.primary.dead = site.backup.dead = True
    site.phone_sends("INVITE")
    site.clock.advance(45)
    assert ["primary INVITE", "backup INVITE"] == site.order()
    assert 480 == site.answers()[-1].status
    failed = next(at for at, message in site.phone.sent if isinstance(message, Response) and message.status == 480)
    assert 39.6 == round(failed, 3), "7.5 s, and 64*T1 for the last"
