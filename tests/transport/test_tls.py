"""TLS on loopback: who is believed, and what is said about whom we do not believe. The peer is Python's own TLS."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import threading
import weakref

import pytest
from OpenSSL import crypto
from twisted.internet.epollreactor import EPollReactor

from sbc.location.candidate import Candidate
from sbc.transport import dialled
from sbc.transport.dialled import Dialler
from sbc.transport.streams import Connections
from sbc.transport.tcp import StreamTransport
from sbc.transport.tls import OwnCertificate, TlsFilesError, Trust, wrong_name
from tests.helpers.certificates import Authority
from tests.transport.surroundings import Recorder, answer, options, turn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return Authority(folder)


@pytest.fixture
def reactor():
    made = EPollReactor()
    yield made
    made.removeAll()


@pytest.fixture
def receiver():
    return Recorder()


@pytest.fixture
def connections(reactor, receiver):
    made = Connections(reactor, receiver, lambda event: None)
    yield made
    made.stop()
    for _ in range(5):
        reactor.iterate(0.001)


@pytest.fixture
def told(monkeypatch):
    """What the log says about servers that cannot be reached."""
    lines = []
    monkeypatch.setattr(dialled.log, "warn", lambda text, **values: lines.append(text.format(**values)))
    return lines


class Peer:
    """A TLS server in threads: accepts, shakes hands, echoes nothing, keeps what it read."""

    def __init__(self, files, *, ca=None, least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_3, plain=False) -> None:
        self.read = b""
        self.certificate = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self.name = None  # that the client asked for by SNI
        self._context.sni_callback = self._note_name
        self._context.minimum_version, self._context.maximum_version = least, most
        if ca is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(ca)
        self._plain = plain
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.candidate = Candidate("127.0.0.1", self._listening.getsockname()[1], "tls")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                made, _ = self._listening.accept()
                threading.Thread(target=self._talk, args=(made,), daemon=True).start()

    def _talk(self, made: socket.socket) -> None:
        made.settimeout(5)
        with contextlib.suppress(OSError):
            if self._plain:
                made.sendall(b"SIP/2.0 400 Bad Request\r\n\r\n")
                made.close()
                return
            tls = self._context.wrap_socket(made, server_side=True)
            self.certificate = tls.getpeercert()
            while b"\r\n\r\n" not in self.read:
                self.read += tls.recv(4000)
            tls.sendall(answer() + options("theirs"))
            tls.recv(4000)

    def _note_name(self, connection, name, context) -> None:
        self.name = name

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def peer():
    made = []

    def maker(files, **how) -> Peer:
        made.append(Peer(files, **how))
        return made[-1]

    yield maker
    for each in made:
        each.close()


def flow_to(peer, connections, trust, names):
    dialler = Dialler(connections, trust, lambda candidate: [names])
    return dialler.flow_to(peer.candidate, "servers", "127.0.0.1:5061", ("127.0.0.1", 5061), "")


def test_request_and_answer(reactor, receiver, connections, authority, peer):
    """By its IP address, where that is what the configuration names."""
    server = peer(authority.certificate("by-address", ["127.0.0.1"]))
    flow = flow_to(server, connections, Trust(authority.file), ["127.0.0.1"])
    flow.send(options("a"))
    turn(reactor, lambda: len(receiver.messages) == 2)
    assert server.read == options("a")
    assert [known for _, known in receiver.messages] == [flow, flow]
    assert flow.via == "SIP/2.0/TLS 127.0.0.1:5061"
    assert flow.contact == "127.0.0.1:5061;transport=tls"


def test_own_certificate_is_shown(reactor, receiver, connections, authority, peer):
    """To a server that asks for one; then it may use the connection for its requests (RFC 5923: alias)."""
    server = peer(authority.certificate("asks", ["127.0.0.1"]), ca=authority.file)
    own = authority.certificate("branch-42", ["branch-42.example.com"])
    flow = flow_to(server, connections, Trust(authority.file, *own), ["127.0.0.1"])
    assert b";alias;" in flow.via_start
    flow.send(options("a"))
    turn(reactor, lambda: receiver.messages)
    assert server.certificate["subjectAltName"] == (("DNS", "branch-42.example.com"),)


@pytest.mark.parametrize(
    "case, identities, days, names, words",
    [
        ("wrong name", ["pbx.example.net"], (-1, 30), ["pbx.example.com"], "for pbx.example.net, not for pbx.example.com"),
        ("wildcard", ["*.example.com"], (-1, 30), ["pbx.example.com"], "a wildcard fits no SIP server, RFC 5922 7.2"),
        ("wrong address", ["192.0.2.1"], (-1, 30), ["127.0.0.1"], "is for 192.0.2.1, not for 127.0.0.1"),
        ("expired", ["pbx.example.com"], (-30, -1), ["pbx.example.com"], "certificate has expired"),
        ("not yet", ["pbx.example.com"], (1, 30), ["pbx.example.com"], "certificate is not valid yet"),
    ],
)
def test_certificate_that_is_refused(
    reactor, receiver, connections, authority, peer, told, case, identities, days, names, words
):
    """The cause is tls, nothing is sent, and the log says what is wrong, once."""
    server = peer(authority.certificate(case.replace(" ", "-"), identities, days=days))
    flow = flow_to(server, connections, Trust(authority.file), names)
    for _ in range(2):
        receiver.flows_failed.clear()
        flow.send(options("a"))
        turn(reactor, lambda: receiver.flows_failed)
        assert receiver.flows_failed == [(flow, "tls")]
    assert server.read == b""
    (line,) = told
    assert words in line and f"127.0.0.1:{server.candidate.port}" in line


def test_unknown_authority(reactor, receiver, connections, authority, peer, told, tmp_path):
    """Somebody else has signed it."""
    server = peer(Authority(tmp_path, "stranger").certificate("pbx", ["127.0.0.1"]))
    flow = flow_to(server, connections, Trust(authority.file), ["127.0.0.1"])
    flow.send(options("a"))
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "tls")]
    assert "an authority that is not in [tls] ca" in told[0]


def test_no_tls_at_all(reactor, receiver, connections, authority, peer, told):
    """A server that speaks plain SIP on that port."""
    server = peer(authority.certificate("plain", ["127.0.0.1"]), plain=True)
    flow = flow_to(server, connections, Trust(authority.file), ["127.0.0.1"])
    flow.send(options("a"))
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "tls")]


def test_silent_during_the_handshake(reactor, receiver, connections, authority, told, monkeypatch):
    """It accepts the connection and says nothing: the time for connecting includes the handshake."""
    monkeypatch.setattr(dialled, "CONNECT_TIME", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dialler = Dialler(connections, Trust(authority.file), lambda candidate: [["127.0.0.1"]])
        candidate = Candidate("127.0.0.1", silent.getsockname()[1], "tls")
        flow = dialler.flow_to(candidate, "servers", "127.0.0.1:5061", ("127.0.0.1", 5061), "")
        flow.send(options("a"))
        turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "connect_timeout")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(reactor, receiver, connections, authority, peer, told):
    """TLS 1.2 and up."""
    server = peer(authority.certificate("old", ["127.0.0.1"]), least=ssl.TLSVersion.TLSv1, most=ssl.TLSVersion.TLSv1_1)
    flow = flow_to(server, connections, Trust(authority.file), ["127.0.0.1"])
    flow.send(options("a"))
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(flow, "tls")]


@pytest.mark.parametrize(
    "identities, names, fits",
    [
        (["pbx.example.com"], ["pbx.example.com"], True),
        (["pbx.example.com"], ["PBX.example.com."], True),
        (["sip:example.com"], ["example.com"], True),
        (["sip:example.com", "host.example.net"], ["host.example.net"], False),  # RFC 5922 7.1: URIs before DNS names
        (["sip:example.com"], ["pbx.example.com"], False),
        (["*.example.com"], ["pbx.example.com"], False),  # RFC 5922 7.2
        (["*.example.com", "pbx.example.com"], ["pbx.example.com"], True),
        (["*.example.com"], ["a.pbx.example.com"], False),
        (["192.0.2.1"], ["192.0.2.1"], True),
        (["2001:db8::1"], ["2001:DB8:0::1"], True),
        (["pbx.example.com"], ["192.0.2.1"], False),
        (["other.example.com", "pbx.example.com"], ["first.example.com", "pbx.example.com"], True),
        ([], ["pbx"], False),  # the common name does not count
    ],
)
def test_names(authority, identities, names, fits):
    """RFC 5922 7.1 and 7.2."""
    file, _ = authority.certificate("pbx", identities)
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, file.read_bytes())
    assert (wrong_name(certificate, names) is None) is fits


def test_name_of_an_srv_record(reactor, receiver, connections, authority, peer):
    """V8, RFC 5922 4: the certificate is for the domain, which SNI names as well; nobody has one for _sips._tcp."""
    server = peer(authority.certificate("domain", ["example.com"]))
    flow = flow_to(server, connections, Trust(authority.file), ["_sips._tcp.example.com"])
    flow.send(options("a"))
    turn(reactor, lambda: receiver.messages)
    assert not receiver.flows_failed
    assert server.name == "example.com"


def test_two_names_at_one_address(reactor, receiver, connections, authority, peer, told):
    """RFC 5922 4: a connection that was verified for one server is not used for another one that is there, too."""
    server = peer(authority.certificate("first", ["first.example.com"]))
    there = [["first.example.com"]]
    dialler = Dialler(connections, Trust(authority.file), lambda candidate: there)

    def way():
        return dialler.flow_to(server.candidate, "servers", "127.0.0.1:5061", ("127.0.0.1", 5061), "")

    flow = way()
    flow.send(options("a"))
    turn(reactor, lambda: receiver.messages)
    assert way() is flow
    there.append(["second.example.com"])
    other = way()
    assert flow.gone and other is not flow
    other.send(options("b"))
    turn(reactor, lambda: receiver.flows_failed)
    assert receiver.flows_failed == [(other, "tls")]
    assert "is for first.example.com, not for second.example.com" in told[0]


@contextlib.contextmanager
def phone_on(transport, ca, reactor):
    """A phone's TLS socket; the handshake runs in a thread, for the reactor is the test's."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    made = []

    def connect() -> None:
        with contextlib.suppress(OSError):
            plain = socket.create_connection(transport.local, timeout=5)
            made.append(context.wrap_socket(plain))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    turn(reactor, lambda: not thread.is_alive())
    yield made[0] if made else None
    for each in made:
        each.close()


def test_phone_connects(reactor, receiver, connections, authority):
    """It sends, we answer, over one connection; and its flow says tls."""
    transport = StreamTransport(
        connections, "127.0.0.1", 0, certificate=OwnCertificate(*authority.certificate("box", ["127.0.0.1"]))
    )
    transport.start()
    with phone_on(transport, authority.file, reactor) as phone:
        phone.sendall(options("a", transport="TLS"))
        turn(reactor, lambda: receiver.messages)
        _, flow = receiver.messages[0]
        assert (flow.transport, flow.reliable) == ("tls", True)
        assert flow.contact == f"127.0.0.1:{transport.local[1]};transport=tls"
        flow.send(answer())
        for _ in range(10):
            reactor.iterate(0.01)
        assert phone.recv(4000) == answer()
    transport.stop()


@pytest.mark.parametrize("name", ["tls", "tcp"])
def test_ended_connections_are_freed_at_once(reactor, receiver, connections, authority, name):
    """Without the garbage collector, which seldom runs: phones connect and go for years."""
    own = OwnCertificate(*authority.certificate("freed", ["127.0.0.1"])) if name == "tls" else None
    transport = StreamTransport(connections, "127.0.0.1", 0, certificate=own)
    transport.start()
    gc.collect()
    gc.disable()
    try:
        if name == "tls":
            with phone_on(transport, authority.file, reactor) as phone:
                phone.sendall(options("a", transport="TLS"))
                turn(reactor, lambda: receiver.messages)
        else:
            with socket.create_connection(transport.local) as phone:
                phone.sendall(options("a"))
                turn(reactor, lambda: receiver.messages)
        flow = receiver.messages.pop()[1]
        freed = [weakref.ref(flow), weakref.ref(flow._connection)]
        turn(reactor, lambda: flow.gone)
        del flow
        for _ in range(5):
            reactor.iterate(0.001)
        assert [each() for each in freed] == [None, None]
    finally:
        gc.enable()
        transport.stop()


def test_renewed_certificate_is_taken_up(reactor, connections, authority):
    """SIGHUP: new connections see the new one; a broken file leaves the old one in force."""
    certificate, key = authority.certificate("renewed", ["old.example.com"])
    own = OwnCertificate(certificate, key)
    transport = StreamTransport(connections, "127.0.0.1", 0, certificate=own)
    transport.start()

    def shown() -> str:
        with phone_on(transport, authority.file, reactor) as phone:
            return phone.getpeercert()["subjectAltName"][0][1]

    assert shown() == "old.example.com"
    authority.certificate("renewed", ["new.example.com"])
    assert shown() == "old.example.com"
    own.load()
    assert shown() == "new.example.com"
    certificate.write_text("nothing")
    with pytest.raises(TlsFilesError):
        own.load()
    assert shown() == "new.example.com"
    transport.stop()


def test_files_that_cannot_be_used(authority, tmp_path):
    """Said with the name of the file."""
    certificate, key = authority.certificate("one", ["one.example.com"])
    _, other_key = authority.certificate("two", ["two.example.com"])
    with pytest.raises(TlsFilesError, match="two.key holds no key to .*one.crt"):
        OwnCertificate(certificate, other_key)
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(TlsFilesError, match="empty.pem holds no certificates"):
        Trust(empty)
