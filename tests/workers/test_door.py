"""Two workers around one shared port, without sockets between them."""

from __future__ import annotations

import pytest

from sbc.flow import AtHand, Flow
from sbc.sip.message import Request, Response, ok_to, parse
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.timers import Timers
from sbc.workers import marks
from sbc.workers.door import Deliveries, Door
from sbc.workers.lent import Lender
from sbc.workers.handover import FAILED, MOVED, REQUEST, RESPONSE, Neighbours, Parcel
from tests.helpers.network import request
from tests.proxy.conftest import PRIMARY, Binding, Site


class RawFlow(Flow):
    """A flow as the UDP transport has it; what is sent is kept."""

    def __init__(self, side: str, remote: tuple[str, int]) -> None:
        super().__init__("udp", side, "198.51.100.1:5060", ("198.51.100.1", 5060), remote)
        self.raw = f"{remote[0]} {remote[1]}".encode()
        self.sent: list[Request | Response] = []

    def send(self, data: bytes) -> None:
        self.sent.append(parse(data))


class Shared:
    """The transport of the shared port."""

    name = "udp"
    local = ("198.51.100.1", 5060)

    def __init__(self, flows: dict[bytes, RawFlow]) -> None:
        self._flows = flows

    def flow_of(self, raw: bytes) -> RawFlow:
        return self._flows[raw]


class Outlets(Neighbours):
    """Neighbours that keep parcels in a list."""

    def __init__(self, me: int, number: int = 2) -> None:
        super().__init__(me, [None] * number)  # type: ignore[list-item]
        self.parcels: list[tuple[int, Parcel]] = []

    def _hand(self, worker: int, parcel: Parcel) -> None:
        self.parcels.append((worker, parcel))


class WorkerSite(Site):
    """One worker: a proxy with a door before it."""

    def __init__(self, number: int, workers: int = 2) -> None:
        self._number = number
        super().__init__()
        self.server = RawFlow("both", (PRIMARY.address, PRIMARY.port))
        self.caller = RawFlow("both", ("192.0.2.60", 5062))
        self.outlets = Outlets(number, workers)
        self.lender = Lender(number)
        self.door = Door(self.edge, self.proxy, self.layer, self.outlets, self.lender, 0)
        self.deliveries = Deliveries(self.outlets, self.lender, self.layer, self.registrar)
        flows = {flow.raw: flow for flow in (self.server, self.caller)}
        self.deliveries.add(self.door, Shared(flows))

    def new_proxy(self, at_hand=None):
        self.layer = TransactionLayer(self.clock, Timers(invite_trying=0.0), boot=marks.boot_word(self._number))
        return super().new_proxy(at_hand)

    def knows(self, token: str) -> None:
        self.registrar.bindings[token] = Binding(token, "sip:alice@192.0.2.50", "192.0.2.50", 5060)


@pytest.fixture
def worker():
    made = WorkerSite(0)
    yield made
    made.clock.advance(400)


def call(**changes) -> Request:
    named = {"uri": "sip:alice@198.51.100.1:5060;gw-tok=T", "sent_by": "198.51.100.10:5060", **changes}
    return request("INVITE", **named)


class Known(AtHand):
    """It has one answer for all."""

    def answer_to(self, data, flow) -> bytes:
        return ok_to(parse(data), "ours", b"Content-Length: 0\r\n\r\n")


def test_what_has_its_answer_at_hand_passes_the_door(worker):
    """A phone's; whatever a server sends is read."""
    register = request("REGISTER", uri="sip:example.com")
    worker.new_proxy(Known())
    worker.door = Door(worker.edge, worker.proxy, worker.layer, worker.outlets, worker.lender, 0)
    assert worker.door.answered_unread(register.to_bytes(), worker.caller)
    assert [200] == [message.status for message in worker.caller.sent]
    assert not worker.door.answered_unread(register.to_bytes(), worker.server)


def test_a_call_for_a_known_phone_stays(worker):
    worker.knows("T")
    worker.door.message_received(call(), worker.server)
    assert [] == worker.outlets.parcels
    assert [100] == [message.status for message in worker.server.sent]
    assert ["INVITE"] == worker.phone.summary()


def test_a_call_for_an_unknown_phone_goes_on(worker):
    """Byte for byte what came in, and nobody is answered here."""
    received = call()
    worker.door.message_received(received, worker.server)
    ((to, parcel),) = worker.outlets.parcels
    assert (1, REQUEST, 1, worker.server.raw) == (to, parcel.kind, parcel.seen, parcel.source)
    assert received.to_bytes() == parcel.data
    assert [] == worker.server.sent


@pytest.mark.parametrize("method", ["ACK", "CANCEL", "MESSAGE"])
def test_all_that_belongs_to_the_call_goes_the_same_way(worker, method):
    message = request(method, uri="sip:alice@198.51.100.1:5060;gw-tok=T", sent_by="198.51.100.10:5060")
    worker.door.message_received(message, worker.server)
    assert 1 == len(worker.outlets.parcels)


def test_a_call_stays_where_it_is_when_its_phone_moves(worker):
    """The phone rings here, and its next REGISTER went to another worker. Then the server repeats, and hangs up."""
    worker.knows("T")
    worker.door.message_received(call(), worker.server)
    del worker.registrar.bindings["T"]
    worker.door.message_received(call(), worker.server)
    cancel = request("CANCEL", uri="sip:alice@198.51.100.1:5060;gw-tok=T", sent_by="198.51.100.10:5060")
    worker.door.message_received(cancel, worker.server)
    assert [] == worker.outlets.parcels
    assert [200] == [message.status for message in worker.server.sent if message.get("CSeq") == "1 CANCEL"]


def test_the_ack_to_a_failure_stays_too(worker):
    worker.knows("T")
    worker.door.message_received(call(), worker.server)
    busy = Response.for_request(worker.last(worker.phone, "INVITE"), 486, to_tag="t")
    worker.door.message_received(busy, worker.caller)
    del worker.registrar.bindings["T"]
    ack = request("ACK", uri="sip:alice@198.51.100.1:5060;gw-tok=T", sent_by="198.51.100.10:5060", to_tag="t")
    worker.door.message_received(ack, worker.server)
    assert [] == worker.outlets.parcels


def test_a_cancel_looks_for_its_call_and_not_for_the_phone(worker):
    """The phone has moved here while it rings there."""
    worker.knows("T")
    cancel = request("CANCEL", uri="sip:alice@198.51.100.1:5060;gw-tok=T", sent_by="198.51.100.10:5060")
    worker.door.message_received(cancel, worker.server)
    assert 1 == len(worker.outlets.parcels)
    worker.deliveries.delivered(Parcel(REQUEST, 0, 0b10, worker.server.raw, cancel.to_bytes()))
    assert [481] == [message.status for message in worker.server.sent]


def test_a_number_without_a_token_is_looked_for_too(worker):
    """A server that calls `number@appliance` because somebody configured it so."""
    worker.door.message_received(call(uri="sip:alice@198.51.100.1:5060"), worker.server)
    assert 1 == len(worker.outlets.parcels)


def test_who_asks_us_gets_the_answer_here(worker):
    """OPTIONS without a user is for any of us."""
    message = request("OPTIONS", uri="sip:198.51.100.1:5060", sent_by="198.51.100.10:5060")
    worker.door.message_received(message, worker.server)
    assert [] == worker.outlets.parcels
    assert [200] == [message.status for message in worker.server.sent]


def test_the_last_one_answers(worker):
    """When all have been asked the phone is nowhere."""
    parcel = Parcel(REQUEST, 0, 0b10, worker.server.raw, call().to_bytes())
    worker.deliveries.delivered(parcel)
    assert [] == worker.outlets.parcels
    assert [404] == [message.status for message in worker.server.sent]


def test_of_three_the_second_passes_on():
    worker = WorkerSite(1, workers=3)
    worker.deliveries.delivered(Parcel(REQUEST, 0, 0b001, worker.server.raw, call().to_bytes()))
    assert [(2, 0b011)] == [(to, parcel.seen) for to, parcel in worker.outlets.parcels]
    worker.deliveries.delivered(Parcel(REQUEST, 0, 0b101, worker.server.raw, call(branch="z9hG4bKother").to_bytes()))
    assert [404] == [message.status for message in worker.server.sent]
    worker.clock.advance(400)


def test_a_delivered_call_is_answered_from_the_shared_port(worker):
    worker.knows("T")
    worker.deliveries.delivered(Parcel(REQUEST, 0, 1, worker.server.raw, call().to_bytes()))
    assert [100] == [message.status for message in worker.server.sent]
    assert "INVITE" == worker.phone.summary()[0]


def test_phones_are_not_asked_about(worker):
    """The kernel has led them here."""
    worker.door.message_received(request("INVITE", sent_by="192.0.2.60:5062"), worker.caller)
    assert [] == worker.outlets.parcels
    assert 100 == worker.caller.sent[0].status


def test_a_stray_response_goes_to_the_maker_of_its_branch(worker):
    worker.proxy.elsewhere = worker.deliveries.response_elsewhere
    boot = marks.boot_word(1)
    response = Response.for_request(request("INVITE", branch=f"z9hG4bK0123456789{boot}1"), 200)
    worker.door.message_received(response, worker.caller)
    ((to, parcel),) = worker.outlets.parcels
    assert (1, RESPONSE, worker.caller.raw) == (to, parcel.kind, parcel.source)


@pytest.mark.parametrize(
    "branch",
    [f"z9hG4bK0123456789{marks.boot_word(0)}1", "z9hG4bKshort", "z9hG4bK0123456789zzzzzz1"],
    ids=["our own", "short", "no word"],
)
def test_other_stray_responses_stay(worker, branch):
    """Our own that come late, those of nobody, those of a worker that there is no more."""
    response = Response.for_request(request("INVITE", branch=branch), 200)
    assert not worker.deliveries.response_elsewhere(response, worker.caller)
    assert [] == worker.outlets.parcels


def test_a_delivered_response_finds_its_transaction(worker):
    """A phone that answers from another port than it was called at. It is counted where it came in."""
    worker.knows("T")
    worker.door.message_received(call(), worker.server)
    invite = worker.last(worker.phone, "INVITE")
    ringing = Response.for_request(invite, 180, to_tag="t")
    worker.deliveries.delivered(Parcel(RESPONSE, 0, 1, worker.caller.raw, ringing.to_bytes()))
    assert [100, 180] == [message.status for message in worker.server.sent]
    assert {} == worker.edge.responses


def quoted(branch: str) -> bytes:
    """The start of a datagram of ours, as an ICMP error has it."""
    via = f"Via: SIP/2.0/UDP 198.51.100.1:5060;rport;branch={branch}"
    return f"INVITE sip:x SIP/2.0\r\n{via}\r\nCSeq: 1 INVITE\r\n\r\n".encode()


def test_an_icmp_error_goes_to_the_maker_of_the_branch(worker):
    """The kernel gives it to the socket of the peer's address, not to the one that sent."""
    data = quoted(f"z9hG4bK0123456789{marks.boot_word(1)}1")
    worker.door.datagram_failed(data, "icmp")
    assert [(1, Parcel(FAILED, 0, 0, b"icmp", data))] == worker.outlets.parcels


@pytest.mark.parametrize("data", [quoted(f"z9hG4bK0123456789{marks.boot_word(0)}1"), b"", b"INVITE sip:x SIP/2.0\r\n"])
def test_other_icmp_errors_stay(worker, data):
    worker.door.datagram_failed(data, "icmp")
    assert [] == worker.outlets.parcels


def test_a_delivered_icmp_error_fails_its_transaction(worker):
    """The caller waits no longer: the next server is asked at once."""
    worker.door.message_received(request("INVITE", sent_by="192.0.2.60:5062"), worker.caller)
    invite = worker.last(worker.primary, "INVITE")
    data = invite.to_bytes()
    worker.deliveries.delivered(Parcel(FAILED, 0, 1, b"icmp", data))
    assert ["INVITE"] == worker.fallback.summary()


def test_a_phone_that_has_moved_is_forgotten(worker):
    moved: list[str] = []
    worker.registrar.moved_away = moved.append
    worker.deliveries.delivered(Parcel(MOVED, 0, 0, b"", b"T"))
    assert ["T"] == moved


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"INVITE nonsense"])
def test_a_broken_parcel_does_no_harm(worker, data):
    worker.deliveries.delivered(Parcel(REQUEST, 0, 1, worker.server.raw, data))
    assert [] == worker.outlets.parcels
