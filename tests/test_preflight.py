"""`sbc check --live` against sockets on loopback; DNS answers are given, not asked for."""

import io
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from sbc.config import load
from sbc.location.candidate import Candidate
from sbc.location.records import Address, Failed, Found, Question, Srv
from sbc.preflight import find, ping, ping_servers
from tests.config.conftest import make_certificate


def configuration(folder, *, address="127.0.0.1", port=5060, transport="udp", more="", wait=5):
    """One group with one server; probes wait so many seconds."""
    path = folder / "sbc.toml"
    listens = "".join(
        f'[[listen]]\ntransport = "{kind}"\naddress = "127.0.0.1"\nport = 15060\n' for kind in {"udp", "tcp"} - {"tls"}
    )
    if transport == "tls":
        make_certificate(folder, "own", days=10)
        listens += '[[listen]]\ntransport = "tls"\naddress = "127.0.0.1"\ncertificate = "own.crt"\nkey = "own.key"\n'
    path.write_text(
        f'{listens}{more}\n[[group]]\nname = "office"\ndomains = ["*"]\nprobe_timeout = {wait}\n'
        f'[[group.server]]\nname = "primary"\naddress = "{address}"\nport = {port}\ntransport = "{transport}"\n'
    )
    return load(path)


def result_of(config, port, transport="udp"):
    """What is said about one candidate on loopback."""
    group = config.groups[0]
    return ping(Candidate("127.0.0.1", port, transport), group.servers[0], group, config)


def answer_to(request, status):
    """A response with the headers that must come back."""
    copied = (b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:")
    kept = [line for line in request.split(b"\r\n") if line.startswith(copied)]
    return b"\r\n".join([b"SIP/2.0 %d So" % status, *kept, b"Content-Length: 4", b"", b"body"])


@contextmanager
def udp_server(status, *, ignore=0):
    """A port that answers, after it has ignored so many requests; yields the port and the list of what came."""
    received = []

    def serve():
        while True:
            data, source = sock.recvfrom(65535)
            if not data:
                return
            received.append(data)
            if len(received) > ignore and status:
                sock.sendto(answer_to(data, status), source)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1], received
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
                stopper.sendto(b"", sock.getsockname())
            thread.join()


@contextmanager
def stream_server(reply, context=None):
    """A port that takes one connection, reads a request and sends `reply(request)`."""

    def serve():
        try:
            connection, _ = sock.accept()
            with context.wrap_socket(connection, server_side=True) if context else connection as stream:
                stream.sendall(reply(stream.recv(65535)))
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as sock:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.shutdown(socket.SHUT_RDWR)  # wakes it where nobody has come
            thread.join(5)


@pytest.mark.parametrize(
    ("status", "word"), [(200, "up"), (404, "up"), (501, "up"), (603, "up"), (503, "down"), (500, "down")]
)
def test_answers(tmp_path, status, word):
    """V17 and D15: whoever answers is up, but for the answers that say otherwise."""
    with udp_server(status) as (port, _):
        said = result_of(configuration(tmp_path), port)
    assert said.startswith(f"{word} {status} in ") and said.endswith(" ms")


def test_silence(tmp_path):
    """The time that it took is the time that a probe waits."""
    with udp_server(None) as (port, _):
        assert "no answer in 0.4 s" == result_of(configuration(tmp_path, wait=0.4), port)


def test_a_lost_packet_is_sent_again(tmp_path):
    """On the schedule of RFC 3261, here with a short T1."""
    with udp_server(200, ignore=2) as (port, received):
        assert result_of(configuration(tmp_path, more="[timers]\nt1 = 0.05\n"), port).startswith("up 200")
    assert 3 == len(received) and 1 == len(set(received))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_refused(tmp_path, transport):
    """A closed port is told at once, also over UDP."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert "refused: nothing listens on that port" == result_of(configuration(tmp_path), port, transport)


def test_tcp(tmp_path):
    """The body and what follows are nobody's business here."""
    with stream_server(lambda request: answer_to(request, 200)) as port:
        assert result_of(configuration(tmp_path), port, "tcp").startswith("up 200 in ")


def test_not_sip(tmp_path):
    """A web server on the port, for example."""
    with stream_server(lambda request: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert result_of(configuration(tmp_path), port, "tcp").startswith("answers, but not in SIP: ")


def test_closed_without_an_answer(tmp_path):
    """As servers do that do not know us."""
    with stream_server(lambda request: b"") as port:
        said = result_of(configuration(tmp_path), port, "tcp")
    assert "cannot be reached: it closed the connection without an answer" == said


def test_tls_with_a_certificate_that_nobody_vouches_for(tmp_path):
    """The reason is OpenSSL's."""
    config = configuration(tmp_path, transport="tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.crt", tmp_path / "own.key")
    with stream_server(lambda request: answer_to(request, 200), context) as port:
        assert "TLS failed: self-signed certificate" == result_of(config, port, "tls")


def test_lookup_goes_on_until_nothing_more_is_wanted(tmp_path):
    """NAPTR fails, SRV names two targets, A gives their addresses (S17, S22). No AAAA: no socket could reach it."""
    answers = {
        Question("pbx.example.com", "NAPTR"): Failed("servfail"),
        Question("_sip._udp.pbx.example.com", "SRV"): Found(
            (Srv(2, 0, 5070, "b.example.com"), Srv(1, 0, 0, "a.example.com")), 60
        ),
        Question("a.example.com", "A"): Found((Address("192.0.2.1"),), 60),
        Question("b.example.com", "A"): Found((Address("192.0.2.2"),), 60),
    }
    config = configuration(tmp_path, address="pbx.example.com", port=0, transport="dns-naptr")
    group = config.groups[0]
    found = find(group.servers[0], group, config.listens, answers.__getitem__)
    assert ["192.0.2.1:5060;udp", "192.0.2.2:5070;udp"] == [str(candidate) for candidate in found.candidates]


def test_no_address(tmp_path):
    """The questions and what came of them are shown."""
    answers = {"SRV": Found((), 60), "A": Failed("timeout")}
    config = configuration(tmp_path, address="pbx.example.com", port=0)
    group = config.groups[0]
    found = find(group.servers[0], group, config.listens, lambda question: answers[question.rrtype])
    expected = "SRV _sip._udp.pbx.example.com nothing, A pbx.example.com timeout"
    assert ((), expected) == (found.candidates, found.explain())


def test_one_line_for_each_candidate(tmp_path):
    """As TOML comments, so that the whole output of `sbc check --live` can be kept."""
    with udp_server(200) as (port, _):
        out = io.StringIO()
        assert ping_servers(configuration(tmp_path, port=port), out) is True
    (line,) = out.getvalue().splitlines()
    assert line.startswith(f"# office primary P1:1 127.0.0.1:{port};udp  up 200 in ")


@pytest.mark.parametrize("status", [503, None])
def test_not_all_are_up(tmp_path, status):
    """One of two answers as a server that is well."""
    with udp_server(200) as (port, _), udp_server(status) as (other, _):
        config = configuration(tmp_path, port=port, wait=1)
        path = tmp_path / "sbc.toml"
        second = f'[[group.server]]\nname = "second"\naddress = "127.0.0.1"\nport = {other}\ntransport = "udp"\n'
        path.write_text(path.read_text() + second)
        out = io.StringIO()
        assert ping_servers(load(config.path), out) is False
    assert 2 == len(out.getvalue().splitlines())
