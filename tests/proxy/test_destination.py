"""Where requests go: domains, Routes, tokens, sides."""

from __future__ import annotations

import pytest

from sbc.location.candidate import Candidate
from sbc.proxy.destination import Destinations, ToPhone, ToServers, ToUs
from sbc.proxy.network import Network, PhoneAddress
from sbc.proxy.own_routes import OwnRoutes
from sbc.proxy.route_cookie import RouteCookie
from sbc.proxy.sides import Sides
from sbc.proxy.validation import Refused
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.settings import GroupSettings, ServerSettings
from tests.helpers.clock import FakeClock
from tests.helpers.network import FakeFlow, request
from tests.proxy.conftest import Binding, FakeRegistrar

KEY = b"k" * 32
US = ("192.0.2.1", 5060)
PRIMARY = Candidate("198.51.100.10", 5060, "udp")
OTHER = Candidate("198.51.100.99", 5080, "udp")
PHONE = PhoneAddress("udp", "192.0.2.50", 5060, 5060)


def group(name: str, domains: tuple[str, ...], candidate: Candidate, **changes) -> ServerGroup:
    server = ServerSettings("only", candidate.address, port=candidate.port)
    made = ServerGroup(GroupSettings(name, (server,), domains=domains, **changes), (0.5, 4.0), lambda fact: None, 0.0)
    made.update_candidates("only", [candidate], 0.0)
    return made


def serving(groups: list[ServerGroup], registrar: FakeRegistrar) -> Destinations:
    network = Network(None, lambda host, port: (host, port or 5060) == US)
    return Destinations(groups, Sides(groups), registrar, network, OwnRoutes(KEY, network))


@pytest.fixture
def registrar():
    return FakeRegistrar()


@pytest.fixture
def destinations(registrar):
    groups = [
        group("office", ("example.com",), PRIMARY),
        group("rest", ("*",), OTHER, sources=("203.0.113.0/24",)),
    ]
    return serving(groups, registrar)


@pytest.fixture
def phone():
    return FakeFlow(FakeClock(), side="both", local=US, remote=("192.0.2.50", 5060))


@pytest.fixture
def server():
    return FakeFlow(FakeClock(), side="both", local=US, remote=("198.51.100.10", 5060))


def own_route(candidate=PRIMARY, phone=PHONE) -> str:
    return f"<sip:192.0.2.1:5060;lr;gw={RouteCookie(candidate, phone).sign(KEY)}>"


@pytest.mark.parametrize(
    ("uri", "to", "name"),
    [
        ("sip:bob@example.com", "sip:bob@example.com", "office"),
        ("sip:bob@EXAMPLE.com", "sip:bob@example.com", "office"),
        ("sip:bob@192.0.2.1", "sip:bob@example.com", None),
        ("sip:bob@elsewhere.example", "sip:bob@example.com", "office"),
        ("sip:bob@elsewhere.example", "sip:bob@elsewhere.example", "rest"),
        ("sip:bob@198.51.100.10", "sip:bob@198.51.100.10", "office"),
        ("tel:+4930123", "tel:+4930123", "office"),
    ],
)
def test_domain_selects_the_group(destinations, phone, uri, to, name):
    """Request-URI host, then To host, then "*"; a server's own address is as good as its domain; a number has the caller's."""
    message = request("INVITE", uri=uri)
    message.set("To", f"<{to}>")
    if name is None:
        with pytest.raises(Refused) as refused:
            destinations.find(message, phone)
        assert refused.value.status == 404
    else:
        destination = destinations.find(message, phone)
        assert isinstance(destination, ToServers)
        assert destination.group.name == name
        assert destination.phone == PHONE


def test_preloaded_route_to_us_is_taken_off(destinations, phone):
    """D28: a phone that writes its outbound proxy into Route."""
    message = request("INVITE", headers=[("Route", "<sip:192.0.2.1;lr>, <sip:198.51.100.10;lr>")])
    assert isinstance(destinations.find(message, phone), ToServers)
    assert message.get_all("Route") == ["<sip:198.51.100.10;lr>"]


def test_cookie_leads_phone_to_server_and_server_to_phone(destinations, phone, server):
    for flow, kind in ((phone, ToServers), (server, ToPhone)):
        message = request("BYE", to_tag="t", uri="sip:x@203.0.113.7", headers=[("Route", own_route())])
        assert isinstance(destinations.find(message, flow), kind)
        assert not message.has("Route")


def test_both_lines_of_one_pass_are_one(destinations, phone):
    """Where the box has two sides, both Record-Route lines come back and are taken off together."""
    message = request("BYE", to_tag="t", headers=[("Route", own_route()), ("Route", own_route())])
    destination = destinations.find(message, phone)
    assert isinstance(destination, ToServers)
    assert destination.first == PRIMARY


def test_second_pass_without_servers_between(destinations, phone):
    """The servers did not record-route: our second cookie names the other phone, and the request goes straight to it."""
    bob = PhoneAddress("udp", "192.0.2.60", 5060, 5060)
    message = request("BYE", to_tag="t", headers=[("Route", own_route()), ("Route", own_route(phone=bob))])
    destination = destinations.find(message, phone)
    assert isinstance(destination, ToPhone)
    assert destination.phone == bob


PATH = "<sip:192.0.2.1:5060;lr;gw-tok=T>"
GRUU = "sip:bob@example.com;gr=urn:uuid:1"


@pytest.mark.parametrize(
    ("uri", "onward"),
    [
        ("sip:bob@192.0.2.1:5060;gw-tok=T", "sip:bob@192.0.2.60;x=1"),
        (GRUU, None),
        ("sip:bob@example.com", "sip:bob@192.0.2.60;x=1"),
        ("tel:+4930123", "sip:bob@192.0.2.60;x=1"),
        ("sip:bob@192.0.2.1:5060", "sip:bob@192.0.2.60;x=1"),
    ],
    ids=["our contact", "a GRUU", "the address-of-record", "a number", "our address"],
)
def test_path_leads_to_the_phone(destinations, registrar, server, uri, onward):
    """RFC 3327: the server puts our Path into Route. RFC 5627: a GRUU is the phone's own name, and stays."""
    registrar.bindings["T"] = Binding("T", "sip:bob@192.0.2.60;x=1", "192.0.2.60", 5062)
    message = request("INVITE", uri=uri, headers=[("Route", PATH)])
    destination = destinations.find(message, server)
    assert isinstance(destination, ToPhone)
    assert (destination.phone, destination.request_uri) == (PhoneAddress("udp", "192.0.2.60", 5062, 5060), onward)
    assert destination.candidate == PRIMARY
    assert not message.has("Route")


def test_path_of_nobody(destinations, server):
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            destinations.find(request("INVITE", uri=GRUU, headers=[("Route", PATH)]), server)
        assert refused.value.status == 404


def test_path_is_for_servers(destinations, registrar, phone, server):
    """A stranger who knows a token calls nobody past the servers; and no Path is left over from another request."""
    registrar.bindings["T"] = Binding("T", "sip:bob@192.0.2.60", "192.0.2.60", 5062)
    assert isinstance(destinations.find(request("INVITE", headers=[("Route", PATH)]), phone), ToServers)
    for headers in ([], [("Route", "<sip:192.0.2.1;lr>")]):
        with pytest.raises(Refused):
            destinations.find(request("INVITE", uri=GRUU, headers=headers), server)


def test_path_of_a_phone_that_another_process_has(destinations, registrar, server):
    """Of several that share a port, it goes to who knows the phone."""
    message = request("INVITE", uri=GRUU, headers=[("Route", PATH)])
    assert destinations.asks_for_unknown_phone(message, server)
    registrar.bindings["T"] = Binding("T", "sip:bob@192.0.2.60", "192.0.2.60", 5062)
    assert not destinations.asks_for_unknown_phone(message, server)
    assert message.get_all("Route") == [PATH]


def test_server_that_translates_a_gruu_inside_a_dialog(destinations, registrar, server):
    """RFC 5627 6: it puts the registered Contact in, which is ours; the phone knows only its own."""
    registrar.bindings["T"] = Binding("T", "sip:bob@192.0.2.60;x=1", "192.0.2.60", 5062)
    for uri, onward in (
        ("sip:bob@192.0.2.1:5060;gw-tok=T", "sip:bob@192.0.2.60;x=1"),
        ("sip:bob@192.0.2.1:5060;gw-tok=gone", None),
        ("sip:bob@elsewhere.example;gw-tok=T", None),
        (GRUU, None),
    ):
        message = request("BYE", to_tag="t", uri=uri, headers=[("Route", own_route())])
        destination = destinations.find(message, server)
        assert (destination.phone, destination.request_uri) == (PHONE, onward)


def test_strict_router(destinations, server):
    """16.4: our Record-Route in the Request-URI, the target as the last Route."""
    uri = own_route().strip("<>")
    message = request("BYE", to_tag="t", uri=uri, headers=[("Route", "<sip:alice@192.0.2.50:5060>")])
    destination = destinations.find(message, server)
    assert isinstance(destination, ToPhone)
    assert message.request_uri == "sip:alice@192.0.2.50:5060"
    assert not message.has("Route")


def test_phone_with_a_new_port_is_still_the_phone(destinations):
    """A NAT that forgot: same host, other port, and not the server's host."""
    moved = FakeFlow(FakeClock(), side="both", local=US, remote=("192.0.2.50", 40000))
    message = request("BYE", to_tag="t", headers=[("Route", own_route())])
    assert isinstance(destinations.find(message, moved), ToServers)


def test_dialog_with_a_server_that_is_gone(destinations, phone):
    """DNS names other addresses by now. The call is still at the old one, and its BYE must get there."""
    gone = Candidate("198.51.100.66", 5060, "udp")
    destination = destinations.find(request("BYE", to_tag="t", headers=[("Route", own_route(gone))]), phone)
    assert isinstance(destination, ToServers)
    assert destination.first == gone
    assert destination.group.name == "office"


def test_dialog_of_a_group_that_is_gone(registrar, phone):
    """It was removed from the configuration: the phone learns that the call is over."""
    groups = [group("other", ("other.example",), PRIMARY)]
    destinations = serving(groups, registrar)
    gone = own_route(Candidate("198.51.100.66", 5060, "udp"))
    with pytest.raises(Refused) as refused:
        destinations.find(request("BYE", to_tag="t", headers=[("Route", gone)]), phone)
    assert refused.value.status == 481


@pytest.fixture
def shared(registrar):
    """Two customers on one server."""
    groups = [group("first", ("first.example",), PRIMARY), group("second", ("example.com",), PRIMARY)]
    return serving(groups, registrar)


def test_dialog_at_a_shared_server_belongs_to_the_phones_group(shared, phone):
    """Should the server die, the BYE goes on to that group's fallback and not to another customer's."""
    message = request("BYE", to_tag="t", uri="sip:x@203.0.113.7", headers=[("Route", own_route())])
    assert shared.find(message, phone).group.name == "second"


def test_number_called_by_a_shared_server(shared, registrar, server):
    """The number may be one of any group that the server serves."""
    registrar.by_aor["sip:200@example.com"] = [Binding("T", "sip:200@192.0.2.50", "192.0.2.50", 5060)]
    destination = shared.find(request("INVITE", uri="sip:200@192.0.2.1:5060"), server)
    assert isinstance(destination, ToPhone)


def test_claims_to_be_a_server(destinations):
    """The server's host from another port, with a domain that is served: 403 only where the request needs a server."""
    message = request("INVITE", uri="sip:alice@192.0.2.1:5060;gw-tok=T")
    stranger = FakeFlow(FakeClock(), side="both", local=US, remote=("198.51.100.10", 9999))
    with pytest.raises(Refused) as refused:
        destinations.find(message, stranger)
    assert refused.value.status == 403


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("INVITE", "sip:0900@example.com"),
        ("SUBSCRIBE", "sip:bob@example.com"),
        ("REGISTER", "sip:example.com"),
        ("REGISTER", "sip:192.0.2.1:5060"),
        ("OPTIONS", "sip:bob@example.com"),
        ("ACK", "sip:bob@example.com"),
    ],
)
def test_stranger_on_a_socket_for_servers(destinations, method, uri, transport):
    """`side`: neither phones nor anybody else gets calls or registrations through there."""
    stranger = FakeFlow(FakeClock(), transport, side="servers", local=US, remote=("192.0.2.77", 5060))
    with pytest.raises(Refused) as refused:
        destinations.find(request(method, uri=uri), stranger)
    assert refused.value.status == 403


def test_dialog_over_a_socket_for_servers(destinations):
    """Its server is not in DNS any more; the Route that we have signed says that it belongs to the call."""
    gone = Candidate("198.51.100.66", 5060, "udp")
    flow = FakeFlow(FakeClock(), side="servers", local=US, remote=("198.51.100.66", 5060))
    destination = destinations.find(request("BYE", to_tag="t", headers=[("Route", own_route(gone))]), flow)
    assert isinstance(destination, ToPhone)


@pytest.mark.parametrize("uri", ["sip:192.0.2.1:5060", "sip:example.com"])
def test_anybody_may_ask_whether_we_are_there(destinations, uri):
    """OPTIONS to us is answered on every socket."""
    stranger = FakeFlow(FakeClock(), side="servers", local=US, remote=("192.0.2.77", 5060))
    assert isinstance(destinations.find(request("OPTIONS", uri=uri), stranger), ToUs)


def test_server_of_a_listed_network(destinations, registrar):
    """`sources`: servers that send from further addresses; what belongs to the call goes back there."""
    registrar.bindings["T"] = Binding("T", "sip:alice@192.0.2.50", "192.0.2.50", 5060)
    flow = FakeFlow(FakeClock(), side="both", local=US, remote=("203.0.113.9", 5070))
    destination = destinations.find(request("INVITE", uri="sip:alice@192.0.2.1:5060;gw-tok=T"), flow)
    assert isinstance(destination, ToPhone)
    assert destination.candidate == Candidate("203.0.113.9", 5070, "udp")


@pytest.mark.parametrize(
    ("uri", "headers", "unknown"),
    [
        ("sip:alice@192.0.2.1:5060;gw-tok=T", [], False),
        ("sip:alice@192.0.2.1:5060;gw-tok=U", [], True),
        ("sip:200@192.0.2.1:5060", [], False),
        ("sip:201@192.0.2.1:5060", [], True),
        ("sip:192.0.2.1:5060", [], False),
        ("sip:201@192.0.2.7:5060", [], False),
        ("tel:201", [], False),
        ("sip:alice@192.0.2.1:5060;gw-tok=U", [("Route", "<sip:192.0.2.1:5060;lr>")], True),
    ],
)
def test_server_that_asks_for_a_phone_of_another_process(destinations, registrar, server, phone, uri, headers, unknown):
    """A question only: the request stays as it is, and nobody else is asked."""
    registrar.bindings["T"] = Binding("T", "sip:alice@192.0.2.50", "192.0.2.50", 5060)
    registrar.by_aor["sip:200@example.com"] = [registrar.bindings["T"]]
    message = request("INVITE", uri=uri, headers=headers)
    before = message.to_bytes()
    assert unknown == destinations.asks_for_unknown_phone(message, server)
    assert before == message.to_bytes()
    assert not destinations.asks_for_unknown_phone(message, phone)


def test_inside_a_dialog_everybody_knows_the_phone(destinations, server):
    """The cookie says where it is."""
    message = request("BYE", uri="sip:alice@192.0.2.1:5060;gw-tok=U", to_tag="t", headers=[("Route", own_route())])
    assert not destinations.asks_for_unknown_phone(message, server)


def test_server_that_calls_a_number_at_us(destinations, registrar, server):
    """A fallback router with a static route to us rings the newest phone of that number."""
    older, newer = (Binding(token, f"sip:{token}@192.0.2.50", "192.0.2.50", 5060) for token in ("old", "new"))
    newer.expires_at = 2.0
    registrar.by_aor["sip:200@example.com"] = [newer, older]
    destination = destinations.find(request("INVITE", uri="sip:200@192.0.2.1:5060"), server)
    assert destination.request_uri == "sip:new@192.0.2.50"


def test_register_and_options_are_ours(destinations, phone):
    for method in ("REGISTER", "OPTIONS"):
        destination = destinations.find(request(method, uri="sip:example.com"), phone)
        assert isinstance(destination, ToUs)
        assert destination.group.name == "office"


def test_phones_only_socket_knows_no_servers(destinations, registrar):
    """On a socket that faces phones, the source address proves nothing."""
    registrar.bindings["T"] = Binding("T", "sip:alice@192.0.2.50", "192.0.2.50", 5060)
    flow = FakeFlow(FakeClock(), side="phones", local=US, remote=("198.51.100.10", 5060))
    with pytest.raises(Refused) as refused:
        destinations.find(request("INVITE", uri="sip:alice@192.0.2.1:5060;gw-tok=T"), flow)
    assert refused.value.status == 403
