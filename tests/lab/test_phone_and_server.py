"""Phones and call servers against each other on an imaginary network: what the demo relies on."""

from __future__ import annotations

import pytest

from sbc.lab.accounts import LocationTable
from sbc.lab.phone import RequestFailed
from sbc.transaction import ClientTransactionUser
from tests.lab.network import DOMAIN, Network, outcome

PBX = ("10.0.0.1", 5060)
TWIN = ("10.0.0.2", 5060)
ALICE = ("10.0.1.1", 5060)
BOB = ("10.0.1.2", 5060)


@pytest.fixture
def network():
    network = Network()
    yield network
    network.clock.advance(4000)
    assert 0 == network.clock.pending, "timers left"


@pytest.fixture
def office(network):
    """A call server with two registered phones that answer after a second."""
    network.server = network.call_server(PBX[0])
    network.alice = network.phone("alice", ALICE[0], PBX)
    network.bob = network.phone("bob", BOB[0], PBX)
    for phone in (network.alice, network.bob):
        phone.answer_after = 1.0
        phone.register()
    network.clock.advance(0.1)
    yield network
    for phone in (network.alice, network.bob):
        phone.switch_off()


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_phone_registers_with_digest(network, algorithm):
    network.call_server(PBX[0], algorithm)
    phone = network.phone("alice", ALICE[0], PBX, expires=600)
    granted = outcome(phone.register())
    network.clock.advance(0.1)
    assert [600] == granted
    assert [401, 200] == network.statuses("REGISTER", ALICE)
    phone.switch_off()


def test_look_up_tells_what_the_server_holds(office):
    """Asked from elsewhere, without touching the registration."""
    inspector = office.phone("alice", "10.0.9.9", PBX)
    found = outcome(inspector.look_up())
    office.clock.advance(0.1)
    assert [["sip:alice@10.0.1.1:5060"]] == [[contact.uri_text for contact in contacts] for contacts in found]


def test_phone_refreshes_at_90_percent(network):
    network.call_server(PBX[0])
    phone = network.phone("alice", ALICE[0], PBX, expires=100)
    phone.register()
    network.clock.advance(89)
    assert 1 == phone.registrations
    network.clock.advance(2)
    assert 2 == phone.registrations
    phone.switch_off()


def test_phone_unregisters(office):
    office.alice.unregister()
    office.clock.advance(0.1)
    assert [] == office.server.locations.contacts("alice", office.clock.seconds())
    assert office.alice.registered_until is None


def test_wrong_password_fails_and_stops(network):
    network.call_server(PBX[0])
    phone = network.phone("alice", ALICE[0], PBX, password="guess")
    failed = outcome(phone.register())
    network.clock.advance(1)
    assert 401 == failed[0].status
    assert 3 == len(network.sent("REGISTER"))


def test_too_brief_registration_is_refused(network):
    network.call_server(PBX[0], min_expires=60)
    failed = outcome(network.phone("alice", ALICE[0], PBX, expires=10).register())
    network.clock.advance(1)
    assert 423 == failed[0].status


def test_register_of_a_silent_server_fails_after_32_seconds(network):
    failed = outcome(network.phone("alice", ALICE[0], PBX).register())
    network.clock.advance(31.9)
    assert [] == failed
    network.clock.advance(0.2)
    assert "no answer to REGISTER" == str(failed[0])


def test_bindings_survive_a_restart_in_a_file(tmp_path, network):
    file = tmp_path / "bindings"
    network.call_server(PBX[0], locations=LocationTable(file))
    phone = network.phone("alice", ALICE[0], PBX)
    phone.register()
    network.clock.advance(0.1)
    assert ["sip:alice@10.0.1.1:5060"] == [
        binding.contact for binding in LocationTable(file).contacts("alice", network.clock.seconds())
    ]
    phone.switch_off()


def test_call_from_dialling_to_hanging_up(office):
    call = office.alice.call("bob")
    office.clock.advance(0.5)
    assert call.ringing.at is not None and call.answered.at is None
    assert call.post_dial_delay == pytest.approx(0.006)  # challenge (2 hops), then INVITE and 180 over 2 hops each
    office.clock.advance(1)
    assert call.answered.at is not None
    assert [PBX] == call.path
    ended = outcome(call.hang_up())
    office.clock.advance(0.1)
    assert ended and 200 == call.bye_status
    assert office.bob.calls[0].hung_up_by_peer


def test_the_called_phone_hangs_up(office):
    call = office.alice.call("bob")
    office.clock.advance(2)
    office.bob.calls[0].hang_up()
    office.clock.advance(0.1)
    assert call.hung_up_by_peer and call.ended.settled


def test_answer_is_repeated_until_the_ack_comes(office):
    """RFC 3261 section 13.3.1.4: the 200 again after T1, 2*T1, ...; an ACK stops it."""
    office.alice.call("bob")
    office.clock.advance(1.004)
    office.lost.add(PBX)  # the ACK does not arrive
    office.clock.advance(1.8)
    before = [message for source, _, message in office.log if source == BOB and getattr(message, "status", 0) == 200]
    assert 3 <= len(before)
    office.lost.clear()
    office.clock.advance(10)
    count = len(office.log)
    office.clock.advance(10)
    assert count == len(office.log), "still repeating"


def test_cancel_before_the_answer(office):
    call = office.alice.call("bob")
    failed = outcome(call.answered.wait())
    office.clock.advance(0.5)
    call.hang_up()
    office.clock.advance(0.1)
    assert 487 == failed[0].status
    assert office.bob.calls[0].ended.settled and office.bob.calls[0].answered.at is None


def test_busy_phone_and_unknown_users(office):
    office.bob.busy = True
    office.server.locations.unbind_all("carol")
    calls = [office.alice.call(name) for name in ("bob", "carol", "nobody")]
    failures = [outcome(call.answered.wait()) for call in calls]
    office.clock.advance(0.1)
    assert [486, 480, 404] == [failure[0].status for failure in failures]


def test_same_call_by_two_ways_rings_once(office):
    """RFC 3261 section 8.2.2.2: 482 for the second branch."""
    office.alice.call("bob")
    office.clock.advance(0.1)
    invite = office.sent("INVITE", BOB)[0].copy()
    invite.pop_first("Via")
    elsewhere = office.endpoint("10.0.9.9")
    answers = []

    class Other(ClientTransactionUser):
        def response_received(self, transaction, response):
            answers.append(response.status)

    elsewhere.layer.send_request(invite, elsewhere.flow_to(BOB), Other())
    office.clock.advance(0.1)
    assert [482] == answers
    assert 1 == len(office.bob.calls)


def test_twin_carries_on_a_call_of_a_dead_server(office):
    """The Route names the dead server; its twin takes that Route for its own and passes the BYE on."""
    twin = office.call_server(TWIN[0], also=[PBX])
    call = office.alice.call("bob")
    office.clock.advance(2)
    office.lost.add(PBX)
    bye = call.dialog.request("BYE")
    statuses = []

    class Caller(ClientTransactionUser):
        def response_received(self, transaction, response):
            statuses.append(response.status)

    layer = office.alice.endpoint.layer
    layer.send_request(bye, office.alice.endpoint.flow_to(TWIN), Caller())
    office.clock.advance(0.1)
    assert [200] == statuses
    assert office.bob.calls[0].hung_up_by_peer
    assert twin.endpoint.local == TWIN


def test_deaf_server_never_answers(network):
    server = network.call_server(PBX[0])
    server.endpoint.deaf = True
    failed = outcome(network.phone("alice", ALICE[0], PBX).register())
    network.clock.advance(33)
    assert isinstance(failed[0], RequestFailed) and failed[0].status is None
    assert [] == network.statuses("REGISTER", ALICE)


def test_options_is_answered(office):
    from sbc.sip.message import Request

    prober = office.endpoint("10.0.9.9")
    statuses = []

    class User(ClientTransactionUser):
        def response_received(self, transaction, response):
            statuses.append(response.status)

    options = Request.create(
        "OPTIONS",
        f"sip:{DOMAIN}",
        [("From", "<sip:probe@10.0.9.9>;tag=1"), ("To", f"<sip:{DOMAIN}>"), ("Call-ID", "x"), ("CSeq", "1 OPTIONS")],
    )
    prober.layer.send_request(options, prober.flow_to(PBX), User())
    office.clock.advance(0.1)
    assert [200] == statuses


def test_malformed_datagrams_are_dropped(office):
    office.server.endpoint.datagram_received(b"\x00\x01 not SIP", ALICE)
    office.server.endpoint.datagram_received(b"\r\n\r\n", ALICE)
    assert 1 == office.server.endpoint.dropped
