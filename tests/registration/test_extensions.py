"""Path, GRUU and outbound towards the servers (RFC 3327, 5627, 5626; D25)."""

from __future__ import annotations

from sbc.events import ExtensionRefused
from sbc.registration.extensions import REMEMBERED_FOR
from sbc.sip.headers import NameAddr
from sbc.sip.message import Request, Response
from tests.helpers.scripted_servers import DigestRegistrar, Phone, accept, refuse

PATH = {name: {"path": True} for name in ("primary", "fallback")}
GRUU = "Supported: gruu"
PUBLIC = '"sip:alice@example.com;gr=urn:uuid:5062"'


class WithoutPath:
    """Refuses what it is offered, once it has let the phone in; as Kamailio's registrar does with path_mode strict."""

    def __init__(self, inner, *tags: str) -> None:
        self.inner = inner
        self.tags = tags

    def __call__(self, request: Request) -> Response:
        answer = self.inner(request)
        offered = [tag for tag in request.get_all("Supported") if tag in self.tags]
        if answer is not None and answer.status == 200 and offered:
            return refuse(420, None, *(("Unsupported", tag) for tag in offered))(request)
        return answer


class Lenient(DigestRegistrar):
    """Takes a nonce count twice, as Kamailio does unless told otherwise."""

    def accepts(self, credentials, request: Request) -> bool:
        self.counts.clear()
        return super().accepts(credentials, request)


def granting(*gruus: str):
    """A registrar that gives GRUUs to who asks for them (RFC 5627 5.1)."""

    def reply(request: Request) -> Response:
        answer = accept()(request)
        if "gruu" in request.get_all("Supported"):
            answer.set_all("Contact", [";".join([value, *gruus]) for value in answer.get_all("Contact")])
        return answer

    return reply


def register(phone: Phone, *lines: str, **changes) -> int:
    phone.register(*lines, **changes)
    phone.site.clock.advance(2.5)
    return phone.last.status


def test_no_path_unless_it_is_wanted(site):
    """D25: Contact rewriting is what every server understands."""
    assert 200 == register(Phone(site))
    for server in site.servers:
        assert not server.last.has("Path")
        assert server.last.get_all("Supported") == ["replaces"]


def test_path_leads_to_the_phone(make_site):
    """RFC 3327 5.2: our URI, loose-routing, with the contact's token; and the tag, without which a strict server refuses it."""
    site = make_site(of_servers={"primary": {"path": True}})
    assert 200 == register(Phone(site))
    path = NameAddr.parse(site.primary.last.get("Path"), "Path").uri
    contact = NameAddr.parse(site.primary.last.get("Contact"), "Contact").uri
    assert ("198.51.100.1", 5060) == (path.host, path.port)
    assert "lr" in path.parameters
    assert path.parameters["gw-tok"] == contact.parameters["gw-tok"]
    assert site.registrar.binding_for_token(path.parameters["gw-tok"]) is not None
    assert site.primary.last.get_all("Supported") == ["replaces", "path"]
    assert not site.fallback.last.has("Path")


def test_query_has_no_path(make_site):
    """There is no contact that it could be of."""
    site = make_site(of_servers=PATH)
    register(Phone(site), contact=None, expires=None)
    assert not site.primary.last.has("Path")
    assert site.primary.last.get_all("Supported") == ["replaces"]


def test_path_refused(make_site):
    """D25: 420 is asked again at once without, and remembered for that server; the phone hears nothing of it."""
    site = make_site(of_servers=PATH)
    site.primary.reply = WithoutPath(accept(), "path")
    phone = Phone(site)
    assert 200 == register(phone)
    assert [200] == phone.answers
    assert [True, False] == [request.has("Path") for _, request in site.primary.requests]
    first, second = (request for _, request in site.primary.requests)
    assert (first.call_id, first.cseq + 1) == (second.call_id, second.cseq)
    facts = [event for event in site.events if isinstance(event, ExtensionRefused)]
    assert [ExtensionRefused("office", "primary", str(site.primary.candidate), "path")] == facts
    assert "registered" == site.state("primary")
    assert "up" == site.group.health(site.primary.candidate).state.value

    assert 200 == register(phone)
    assert [True, False, False] == [request.has("Path") for _, request in site.primary.requests]
    assert all(request.has("Path") for _, request in site.fallback.requests)
    for _ in range(25):
        site.clock.advance(3500)
        assert 200 == register(phone)
    again = [when for when, request in site.primary.requests if request.has("Path")][1:]
    assert 1 == len(again)
    assert again[0] > REMEMBERED_FOR


def test_path_refused_after_the_password(make_site):
    """The phone's credentials are shown once more: it is the same request to the same server."""
    site = make_site(servers=1, of_servers=PATH)
    site.primary.reply = WithoutPath(Lenient("example.com", {"alice": "secret"}, "N1"), "path")
    phone = Phone(site)
    assert 401 == register(phone)
    assert 200 == register(phone, authorization=phone.answer_to(phone.last))
    shown = [(request.has("Path"), request.get("Authorization")) for _, request in site.primary.requests]
    assert [True, True, False] == [has_path for has_path, _ in shown]
    assert shown[0][1] is None
    assert shown[1][1] == shown[2][1]
    assert shown[1][1] is not None


def test_a_server_that_refuses_always_gets_no_second_try(make_site):
    """And a 420 about something of the phone's own is the phone's."""
    site = make_site(servers=1, of_servers=PATH)
    site.primary.reply = refuse(420, None, ("Unsupported", "path"))
    phone = Phone(site)
    assert 420 == register(phone)
    assert 2 == len(site.primary.requests)
    site.primary.reply = refuse(420, None, ("Unsupported", "x-theirs"))
    assert 420 == register(phone, "Require: x-theirs")
    assert 3 == len(site.primary.requests)
    assert ["x-theirs"] == phone.last.get_all("Unsupported")


def test_our_own_registers_have_the_path_too(make_site, password_file):
    """The server keeps the Path of the latest REGISTER; a renewal without would lose it."""
    site = make_site(registration="successive", of_servers=PATH)
    phone = Phone(site)
    register(phone)
    site.take_down(site.primary)
    site.clock.advance(5)
    assert [1] == [len(site.fallback.requests)]
    assert site.fallback.last.has("Path")
    assert site.fallback.last.get_all("Supported") == ["path"]


def test_gruu_goes_to_the_phone(make_site):
    """RFC 5627: on its own Contact, which is otherwise as it spelled it. The temporary one is one server's only."""
    site = make_site()
    for server in site.servers:
        server.reply = granting(f"pub-gruu={PUBLIC}", f'temp-gruu="sip:{server.name}@example.com;gr"')
    phone = Phone(site)
    assert 200 == register(phone, GRUU)
    assert f"{phone.contact};expires=3600;pub-gruu={PUBLIC}" == phone.last.get("Contact")
    for server in site.servers:
        assert server.last.get_all("Supported") == ["replaces", "gruu"]
    assert 200 == register(phone)
    assert f"{phone.contact};expires=3600" == phone.last.get("Contact")


def test_temporary_gruu_where_there_is_one_server(make_site):
    site = make_site(servers=1)
    site.primary.reply = granting(f"pub-gruu={PUBLIC}", 'temp-gruu="sip:x@example.com;gr"', 'temp-gruu-cookie="c"')
    phone = Phone(site)
    register(phone, GRUU)
    assert phone.last.get("Contact").endswith(f';pub-gruu={PUBLIC};temp-gruu="sip:x@example.com;gr"')


def test_no_gruu_without_an_instance(site):
    """RFC 5627 4.1."""
    phone = Phone(site)
    register(phone, GRUU, contact="<sip:alice@203.0.113.7:5062>")
    assert site.primary.last.get_all("Supported") == ["replaces"]


def test_gruu_refused(make_site):
    """A 420 for an option tag that we passed on: without it from then on, and with the Path all the same."""
    site = make_site(servers=1, of_servers=PATH)
    site.primary.reply = WithoutPath(accept(), "gruu")
    phone = Phone(site)
    assert 200 == register(phone, GRUU)
    assert 200 == register(phone, GRUU)
    offered = [request.get_all("Supported") for _, request in site.primary.requests]
    assert [["replaces", "path", "gruu"], ["replaces", "path"], ["replaces", "path"]] == offered


def test_outbound_is_not_promised(make_site):
    """RFC 5626: we answer no STUN, so a server must not count on flows. It is never asked, and so never says 439; the
    instance goes on, because it tells contacts apart."""
    site = make_site(servers=1, of_servers=PATH)

    def choosy(request: Request) -> Response:
        wants = "outbound" in request.get_all("Supported") or "reg-id" in request.get("Contact")
        return refuse(439)(request) if wants else accept()(request)

    site.primary.reply = choosy
    phone = Phone(site)
    phone.contact += ";reg-id=1"
    assert 200 == register(phone, "Supported: outbound, gruu")
    contact = NameAddr.parse(site.primary.last.get("Contact"), "Contact")
    assert '"<urn:uuid:5062>"' == contact.parameters["+sip.instance"]
    assert not phone.last.has("Require")  # RFC 5626 4.2.1: without it the phone does without
    assert phone.last.get("Contact").startswith(phone.contact)


def test_first_hop_lacks_outbound(site):
    """RFC 5626 11.6: from a server that says so all the same; the phone can do without, so it is told."""
    for server in site.servers:
        server.reply = refuse(439)
    phone = Phone(site)
    assert 439 == register(phone, "Supported: outbound")
