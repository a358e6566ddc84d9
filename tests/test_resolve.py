"""`sbc resolve`: the chains of the 84-Series bulletin, told line by line (golden), and the command around them."""

import io
import re

import pytest

from sbc import cli, resolve
from sbc.location.procedure import descending
from sbc.location.records import Address, Failed, Found, Naptr, Srv
from tests.helpers.dns_server import SERVFAIL, SILENT, DnsServer


class Dns:
    """Answers from a table, and takes its time on the clock of the story."""

    def __init__(self, answers):
        self.answers = answers
        self.now = 0.0
        self.asked = []

    def seconds(self):
        return self.now

    def ask(self, story):
        def ask(question):
            self.asked.append(str(question))
            told = story.query_left(str(question), "10.225.2.1:53", "udp")
            result = self.answers.get(str(question), Found((), 36))
            self.now += 0.004
            told("NOERROR" if result.records else "NXDOMAIN")
            return result

        return ask


def told(answers, wanted, *, again=0.0):
    """The story of a server; with `again`, once more after so many seconds. And the questions."""
    dns, out = Dns(answers), io.StringIO()
    story = resolve.Story(out, dns.seconds)
    sockets = resolve.Sockets(families=("A",))
    story.follow(wanted, dns.ask(story), sockets, descending)
    if again:
        dns.now += again
        story.tell("-- again")
        story.follow(wanted, None, sockets, descending)
    return out.getvalue(), dns.asked


FAILED_CHAIN = """\
no transport and no port is given: NAPTR first
NAPTR testserver.eslab.local
    10.225.2.1:53 over udp: NXDOMAIN after 4 ms
    no such record, kept for 36 s
NAPTR leads nowhere, so SRV is asked for udp
SRV _sip._udp.testserver.eslab.local
    10.225.2.1:53 over udp: NXDOMAIN after 4 ms
    no such record, kept for 36 s
SRV leads nowhere, so A are asked; port 5060 is the default of udp
A testserver.eslab.local
    10.225.2.1:53 over udp: NXDOMAIN after 4 ms
    no such record, kept for 36 s
no candidate: this server cannot be reached
"""


def test_the_failed_chain_of_the_bulletin():
    """S16, S15, S21: NAPTR none, SRV _sip._udp. none, A none; each kept for 36 s."""
    text, asked = told({}, resolve.Wanted("testserver.eslab.local"))
    assert FAILED_CHAIN.replace("A are asked", "A is asked") == text
    assert ["NAPTR testserver.eslab.local", "SRV _sip._udp.testserver.eslab.local", "A testserver.eslab.local"] == asked


SUCCESSFUL = {
    "NAPTR testserver.eslab.local": Found((Naptr(2, 10, "S", "SIP+D2U", "_sip._udp.testserver.eslab.local"),), 36),
    "SRV _sip._udp.testserver.eslab.local": Found(
        (Srv(1, 10, 5060, "piper.eslab.local."), Srv(2, 20, 5060, "piper2.eslab.local.")), 36
    ),
    "A piper.eslab.local": Found((Address("10.225.2.31"),), 36),
    "A piper2.eslab.local": Found((Address("10.225.2.32"),), 36),
}

SUCCESSFUL_CHAIN = """\
no transport and no port is given: NAPTR first
NAPTR testserver.eslab.local
    10.225.2.1:53 over udp: NOERROR after 4 ms
    order 2, preference 10, flag "S", service "SIP+D2U", replacement _sip._udp.testserver.eslab.local
    TTL 36 s
NAPTR of order 2, preference 10 is followed: flag "s" means SRV, SIP+D2U means udp
SRV _sip._udp.testserver.eslab.local
    10.225.2.1:53 over udp: NOERROR after 4 ms
    priority 1, weight 10, port 5060, target piper.eslab.local.
    priority 2, weight 20, port 5060, target piper2.eslab.local.
    TTL 36 s
SRV names piper.eslab.local, port 5060, of priority 1 and weight 10
A piper.eslab.local
    10.225.2.1:53 over udp: NOERROR after 4 ms
    10.225.2.31
    TTL 36 s
SRV names piper2.eslab.local, port 5060, of priority 2 and weight 20
A piper2.eslab.local
    10.225.2.1:53 over udp: NOERROR after 4 ms
    10.225.2.32
    TTL 36 s
candidates, in the order in which they are tried:
  P1:1    10.225.2.31:5060;udp  priority 1, weight 10
  P1:2    10.225.2.32:5060;udp  priority 2, weight 20
-- again
no transport and no port is given: NAPTR first
NAPTR testserver.eslab.local
    order 2, preference 10, flag "S", service "SIP+D2U", replacement _sip._udp.testserver.eslab.local
    in the cache, good for 26 s
NAPTR of order 2, preference 10 is followed: flag "s" means SRV, SIP+D2U means udp
SRV _sip._udp.testserver.eslab.local
    priority 1, weight 10, port 5060, target piper.eslab.local.
    priority 2, weight 20, port 5060, target piper2.eslab.local.
    in the cache, good for 26 s
SRV names piper.eslab.local, port 5060, of priority 1 and weight 10
A piper.eslab.local
    10.225.2.31
    in the cache, good for 26 s
SRV names piper2.eslab.local, port 5060, of priority 2 and weight 20
A piper2.eslab.local
    10.225.2.32
    in the cache, good for 26 s
candidates, in the order in which they are tried:
  P1:1    10.225.2.31:5060;udp  priority 1, weight 10
  P1:2    10.225.2.32:5060;udp  priority 2, weight 20
"""


def test_the_successful_chain_of_the_bulletin():
    """S18, S14: A for both targets; then, while the TTL lasts, all of it from the cache and the same port."""
    text, asked = told(SUCCESSFUL, resolve.Wanted("testserver.eslab.local"), again=10)
    assert SUCCESSFUL_CHAIN == text
    assert list(SUCCESSFUL) == asked


def test_one_question_twice_is_answered_from_the_cache():
    """Two SRV records with the same target."""
    answers = {
        "SRV _sip._udp.x.example": Found((Srv(1, 0, 5060, "a.example"), Srv(2, 0, 5070, "a.example")), 0),
        "A a.example": Found((Address("192.0.2.1"),), 0),
    }
    text, asked = told(answers, resolve.Wanted("x.example", transport="udp"))
    assert ["SRV _sip._udp.x.example", "A a.example"] == asked
    assert "TTL 0 s, kept for 5 s" in text
    assert "    192.0.2.1\n    in the cache, good for 5 s\n" in text


@pytest.mark.parametrize("failure", ["timeout", "servfail"])
def test_failures_are_told_as_such(failure):
    """S22."""
    story = resolve.Story(out := io.StringIO(), lambda: 0.0)
    zone = {"A x.example": Found((Address("192.0.2.1"),), 60)}
    story.follow(
        resolve.Wanted("x.example"), lambda question: zone.get(str(question), Failed(failure)), resolve.Sockets(), descending
    )
    assert f"NAPTR x.example\n    nothing learnt ({failure}), which counts as no record\n" in out.getvalue()
    assert "192.0.2.1:5060;udp" in out.getvalue()


@pytest.fixture
def server():
    zone = {
        "SRV _sip._udp.eslab.local": ["1 10 5070 piper.eslab.local."],
        "A piper.eslab.local": ["10.225.2.31"],
        "A eslab.local": ["10.225.2.30"],
        "SRV _sips._tcp.secure.local": ["1 10 0 piper.eslab.local."],
    }
    server = DnsServer(zone, ttl=36)
    yield server
    server.stop()


def test_the_command(server, capsys):
    """The queries leave in the order that is told, with server, transport and time."""
    assert 0 == cli.main(["resolve", "eslab.local", "--dns", str(server)])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert f"eslab.local, transport dns-naptr, no port; DNS servers as given: {server}" == lines[0]
    questions = [line for line in lines if re.match(r"(NAPTR|SRV|A|AAAA) \S+$", line)]
    assert server.take() == questions
    assert ["NAPTR eslab.local", "SRV _sip._udp.eslab.local", "A piper.eslab.local", "AAAA piper.eslab.local"] == questions
    answer = rf"    {server} over udp: NOERROR after \d+ ms\n    priority 1, weight 10, port 5070, target piper"
    assert re.search(rf"^SRV .*\n{answer}", text, re.M)
    assert re.search(r"^  P1:1 +10\.225\.2\.31:5070;udp  priority 1, weight 10$", text, re.M)


@pytest.mark.parametrize(
    ("arguments", "queries"),
    [
        (["eslab.local", "--port", "5080"], ["A eslab.local", "AAAA eslab.local"]),
        (["eslab.local", "--transport", "tcp"], ["SRV _sip._tcp.eslab.local", "A eslab.local", "AAAA eslab.local"]),
        (
            ["secure.local", "--naptr-build", "tls"],
            ["NAPTR secure.local", "SRV _sips._tcp.secure.local", "A piper.eslab.local", "AAAA piper.eslab.local"],
        ),
        (["192.0.2.1"], []),
        (["10.225.2.66, eslab.local", "--port", "5060"], ["A eslab.local", "AAAA eslab.local"]),
    ],
)
def test_options_say_what_is_asked(server, capsys, arguments, queries):
    """S5, S6, S13, S19, Y21: no other query leaves."""
    assert 0 == cli.main(["resolve", *arguments, "--dns", str(server)])
    assert queries == server.take()
    assert "candidates, in the order in which they are tried:" in capsys.readouterr().out


def test_nothing_found_is_1(server, capsys):
    assert 1 == cli.main(["resolve", "gone.example", "--dns", str(server)])
    assert capsys.readouterr().out.endswith("no candidate: this server cannot be reached\n")
    server.misbehave["*"] = SERVFAIL
    assert 1 == cli.main(["resolve", "eslab.local", "--dns", str(server)])
    out = capsys.readouterr().out
    assert f"{server} over udp: SERVFAIL after" in out and "nothing learnt (servfail)" in out


def test_silent_server_is_left_for_the_next(server, capsys):
    """V31: both queries are told."""
    silent = DnsServer({})
    silent.misbehave["*"] = SILENT
    try:
        arguments = ["resolve", "eslab.local", "--port", "5060", "--dns", str(silent), "--dns", str(server)]
        assert 0 == cli.main(arguments)
    finally:
        silent.stop()
    assert re.search(
        rf"^A eslab.local\n    {silent} over udp: no answer after 1\d\d\d ms\n    {server} over udp: NOERROR",
        capsys.readouterr().out,
        re.M,
    )


def test_configuration_says_whom_to_ask_and_what_can_be_reached(server, capsys, tmp_path):
    """An appliance that listens on IPv4 only asks for no AAAA."""
    path = tmp_path / "sbc.toml"
    path.write_text(
        f'[dns]\nservers = ["{server}"]\n[[listen]]\ntransport = "udp"\naddress = "127.0.0.1"\n'
        '[[group]]\nname = "office"\nserver_field = "eslab.local"\n'
    )
    assert 0 == cli.main(["resolve", "eslab.local", "-c", str(path)])
    assert ["NAPTR eslab.local", "SRV _sip._udp.eslab.local", "A piper.eslab.local"] == server.take()
    assert f"DNS servers of {path}: {server}" in capsys.readouterr().out


def test_again_asks_nothing(server, capsys):
    """S18: the second pass hits the cache."""
    assert 0 == cli.main(["resolve", "eslab.local", "--again", "--dns", str(server)])
    assert 4 == len(server.queries)
    out = capsys.readouterr().out
    assert 4 == out.count("    in the cache")
    assert 2 == out.count("10.225.2.31:5070;udp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eslab local"], 'NAME: found "eslab local", expected a host name or an IP address'),
        (["a.example,,b.example"], 'NAME: found "a.example,,b.example", whose part 2 is empty, expected'),
        (["x.example", "--port", "70000"], "--port: found 70000, expected a whole number from 0 to 65535"),
        (["x.example", "--dns", "localhost"], '--dns: found "localhost", expected an IP address'),
    ],
)
def test_bad_arguments_are_2(capsys, arguments, message):
    assert 2 == cli.main(["resolve", *arguments])
    assert f"sbc resolve: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["x.example", "--transport", "sctp"], ["x.example", "--port", "sip"], []])
def test_bad_options_are_2(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["resolve", *arguments])
    assert 2 == stopped.value.code


def test_bad_configuration_is_2(capsys, tmp_path):
    path = tmp_path / "sbc.toml"
    path.write_text("[group]\n")
    assert 2 == cli.main(["resolve", "x.example", "-c", str(path)])
    assert str(path) in capsys.readouterr().err
