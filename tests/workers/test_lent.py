"""Two workers: the server's connection is at one, the phone's at the other."""

from __future__ import annotations

import pytest

from sbc.flow import Flow
from sbc.sip.message import Request, Response, parse
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.timers import Timers
from sbc.workers import marks
from sbc.workers.door import Deliveries, Door
from sbc.workers.handover import Neighbours, Parcel
from sbc.workers.lent import Lender, LentFlows
from tests.helpers.network import request
from tests.proxy.conftest import PRIMARY, SERVER_SIDE, Binding, Site

CONTACT = "sip:alice@10.0.0.5:40000;transport=tcp"
PHONE = ("192.0.2.77", 40000)


class ConnectionFlow(Flow):
    """A connection with the server, as a transport has it; what is sent is kept."""

    def __init__(self) -> None:
        super().__init__("tcp", "servers", f"{SERVER_SIDE[0]}:5060", SERVER_SIDE, (PRIMARY.address, 45000))
        self.sent: list[Request | Response] = []

    def send(self, data: bytes) -> None:
        self.sent.append(parse(data))

    def statuses(self) -> list[int]:
        return [message.status for message in self.sent]


class Listening:
    """The listening socket of the servers' side."""

    name, side, local = "tcp", "servers", SERVER_SIDE

    def sent_by(self, host: str) -> str:
        return f"{SERVER_SIDE[0]}:5060"


class Wires(Neighbours):
    """Delivers each parcel at once."""

    def __init__(self, me: int, all_of_them: list[WorkerSite]) -> None:
        super().__init__(me, [None, None])  # type: ignore[list-item]
        self._all = all_of_them

    def _hand(self, worker: int, parcel: Parcel) -> None:
        self._all[worker].deliveries.delivered(Parcel.unpacked(parcel.packed()))


class WorkerSite(Site):
    """One worker: a proxy with a door before it."""

    def __init__(self, number: int, all_of_them: list[WorkerSite]) -> None:
        self._number = number
        super().__init__()
        neighbours = Wires(number, all_of_them)
        lender = Lender(number)
        self.door = Door(self.edge, self.proxy, self.layer, neighbours, lender, 0)
        self.deliveries = Deliveries(neighbours, lender, self.layer, self.registrar)
        self.deliveries.add(self.door, LentFlows(neighbours, 0, Listening()))

    def new_proxy(self):
        self.layer = TransactionLayer(self.clock, Timers(invite_trying=0.0), boot=marks.boot_word(self._number))
        return super().new_proxy()


@pytest.fixture
def workers():
    made: list[WorkerSite] = []
    made += [WorkerSite(number, made) for number in range(2)]
    made[1].connected.add(PHONE)
    made[1].registrar.bindings["T"] = Binding("T", CONTACT, *PHONE, "tcp")
    yield made
    for each in made:
        each.clock.advance(400)
        assert each.layer.transactions == dict.fromkeys(each.layer.transactions, 0)


def test_call_dialog_and_answers(workers):
    """The INVITE by its token, ACK and BYE by their cookie: all of them find the phone's connection, and each answer the
    server's."""
    here, there = workers
    server = ConnectionFlow()
    uri = f"sip:alice@{SERVER_SIDE[0]};gw-tok=T"
    here.door.message_received(request("INVITE", uri=uri, transport="TCP", sent_by=f"{PRIMARY.address}:5060"), server)
    assert server.statuses() == [100]
    phone = there.flow(*PHONE, "phones", "tcp")
    sent = there.last(phone, "INVITE")
    assert sent.request_uri == CONTACT
    there.answer(phone, sent, 200)
    assert server.statuses() == [100, 200]
    ok = server.sent[-1]
    routes = [("Route", value) for value in ok.get_all("Record-Route")]
    assert routes
    for method, cseq in (("ACK", 1), ("BYE", 2)):
        within = request(method, uri=CONTACT, cseq=cseq, branch=f"z9hG4bK{method}", to_tag=ok.to_tag, transport="TCP",
                         sent_by=f"{PRIMARY.address}:5060", headers=routes)  # fmt: skip
        here.door.message_received(within, server)
    assert phone.summary() == ["INVITE", "ACK", "BYE"]
    there.answer(phone, there.last(phone, "BYE"), 200)
    assert server.statuses() == [100, 200, 200]
    assert here.flows.get((*PHONE, "tcp")) is None


def test_answer_for_a_connection_that_is_gone(workers):
    """Nobody to tell, and no harm."""
    here, there = workers
    server = ConnectionFlow()
    uri = f"sip:alice@{SERVER_SIDE[0]};gw-tok=T"
    here.door.message_received(request("INVITE", uri=uri, transport="TCP", sent_by=f"{PRIMARY.address}:5060"), server)
    server.gone = True
    phone = there.flow(*PHONE, "phones", "tcp")
    there.answer(phone, there.last(phone, "INVITE"), 486)
    assert server.statuses() == [100]


def test_phone_that_nobody_has(workers):
    """All have been asked: the last one answers."""
    here, there = workers
    there.connected.clear()
    server = ConnectionFlow()
    uri = f"sip:alice@{SERVER_SIDE[0]};gw-tok=T"
    here.door.message_received(request("INVITE", uri=uri, transport="TCP", sent_by=f"{PRIMARY.address}:5060"), server)
    assert server.statuses() == [480]
