"""The appliance as a process, or as several: starting, reloading, stopping. No peers: its servers are closed ports."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from sbc.app import freshness, resync_answer
from sbc.config import Dns
from sbc.location.cache import Freshness
from sbc.redundancy.settings import GroupSettings
from sbc.sip.message import Response, parse

CONFIG = """
[appliance]
name = "test"
state_dir = "{state}"
workers = {workers}
drain = 5

[[listen]]
transport = "udp"
address = "127.0.0.1"
port = {port}

[http]
address = "127.0.0.1"
port = {http}

[[group]]
name = "office"
domains = ["{domain}"]

  [[group.server]]
  name = "primary"
  address = "127.0.0.1"
  port = 9
"""

REGISTER = (
    "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK{number};rport\r\nMax-Forwards: 70\r\n"
    "From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: alice\r\nCSeq: {number} REGISTER\r\n"
    "Contact: <sip:alice@192.0.2.7>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
)
INVITE = (
    "INVITE sip:bob@{domain} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:1;branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n"
    "From: <sip:alice@{domain}>;tag=1\r\nTo: <sip:bob@{domain}>\r\nCall-ID: {branch}\r\nCSeq: 1 INVITE\r\n"
    "Contact: <sip:alice@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
)


def test_how_long_dns_answers_are_good():
    """X12, V28: a group's own requery comes before that of [dns]; floor and ceiling are the group's."""
    plain = GroupSettings("plain", ())
    pivot = GroupSettings("pivot", (), dns_requery=7200, dns_ttl_floor=30, dns_ttl_ceiling=600)
    assert Freshness(5, 86400, 0) == freshness(plain, Dns((), 0))
    assert Freshness(5, 86400, 3600) == freshness(plain, Dns((), 3600))
    assert Freshness(30, 600, 7200) == freshness(pivot, Dns((), 3600))


def test_sbc_resync_says_what_will_happen():
    """Of all processes together: how many phones, who does it, and where to see how far it is."""

    def of_one(phones, by_phones, rate, group="office"):
        begun = {"group": group, "server": "primary", "phones": phones, "by_phones": by_phones, "rate": rate}
        return {"ok": True, "text": [], "resyncs": [begun]}

    answer = resync_answer([of_one(20, 5, 2.5), of_one(10, 7, 2.5), of_one(0, 0, 5, "empty"), of_one(1, 0, 5, "one")])
    assert answer["ok"]
    assert [
        "office: 30 phones are to be registered at primary again, one before all others, then with up to 5 REGISTERs a second at"
        " first",
        "  18 by the appliance, from now on",
        "  12 by the phones, each with its next REGISTER for which there is a place: only they know their password",
        "empty: no phone is to be registered at primary",
        "one: 1 phone is to be registered at primary again, one before all others, then with up to 5 REGISTERs a second at first",
        "  1 by the appliance, from now on",
        "`sbc status` says how far it is",
    ] == answer["text"]
    assert ["empty: no phone is to be registered at primary"] == resync_answer([of_one(0, 0, 5, "empty")])["text"]
    refused = {"ok": False, "text": ["there is no server third, only primary"]}
    assert refused == resync_answer([refused, refused])


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """`sbc run` with its configuration file and its log."""

    def __init__(self, folder, workers: int = 1) -> None:
        self.workers = workers
        self.file = folder / "sbc.toml"
        self.state = folder / "state"
        self.port = free_port(socket.SOCK_DGRAM)
        self.http = free_port(socket.SOCK_STREAM)
        self.log = folder / "log"
        self._process: subprocess.Popen | None = None

    def configure(self, domain="example.com", text=CONFIG) -> None:
        values = {"state": self.state, "port": self.port, "http": self.http, "workers": self.workers}
        self.file.write_text(text.format(domain=domain, **values))

    def start(self) -> str:
        """The ready line."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sbc", "run", "-c", str(self.file)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        return self._process.stdout.readline()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        return self._process.wait(timeout=20)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def status(self) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/status.json", timeout=5) as answer:
            return json.load(answer)

    def ask(self, domain: str, branch: str) -> int:
        """The first final status of an INVITE to that domain."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.settimeout(10)
            phone.sendto(INVITE.format(domain=domain, branch=branch).encode(), ("127.0.0.1", self.port))
            while True:
                status = int(phone.recv(4096).split()[1])
                if status >= 200:
                    return status


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def appliance(tmp_path, request):
    """All that is promised holds for both."""
    made = Process(tmp_path, request.param)
    made.configure()
    yield made
    made.end()


def eventually(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.05)


def test_says_when_it_is_ready(appliance):
    """One line with every address, on standard output."""
    line = appliance.start()
    assert line == f"sbc ready: udp 127.0.0.1:{appliance.port} http 127.0.0.1:{appliance.http}\n"
    assert appliance.status()["appliance"]["ready"] is True


def test_sigterm_ends_it_with_0(appliance):
    appliance.start()
    appliance.signal(signal.SIGTERM)
    assert appliance.wait() == 0


def test_refreshes_are_answered_unread(appliance):
    """From the socket through all that stands before the registrar, and back, in each process. That nobody reads the third and
    those after it shows in the To tag: it is that of the second, where one that is looked at has a new one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        for end in (server, phone):
            end.bind(("127.0.0.1", 0))
            end.settimeout(10)
        short = "phone_expires = 60\nprobe_interval = 600\n"
        text = CONFIG.replace("port = 9", f"port = {server.getsockname()[1]}")
        appliance.configure(text=text.replace("  [[group.server]]", f"{short}\n  [[group.server]]"))
        appliance.start()
        answers = []
        for number in range(1, 6):
            phone.sendto(REGISTER.format(number=number).encode(), ("127.0.0.1", appliance.port))
            if number == 1:
                answered = False
                while not answered:
                    data, source = server.recvfrom(4096)
                    request = parse(data)
                    contact = [("Contact", f"{value};expires=3600") for value in request.get_all("Contact")[:1]]
                    answered = request.method == "REGISTER" and bool(contact)
                    server.sendto(Response.for_request(request, 200, headers=contact).to_bytes(), source)
            answers.append(parse(phone.recv(4096)))
        assert [200] * 5 == [answer.status for answer in answers]
        assert [1, 2, 3, 4, 5] == [answer.cseq for answer in answers]
        assert [f"z9hG4bK{number}" for number in range(1, 6)] == [answer.top_via.branch for answer in answers]
        assert {phone.getsockname()[1]} == {answer.top_via.rport for answer in answers}
        assert ["<sip:alice@192.0.2.7>;expires=60"] * 5 == [answer.get("Contact") for answer in answers]
        tags = [answer.to_tag for answer in answers]
        assert [tags[1]] * 3 == tags[2:]
        assert tags[0] != tags[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{appliance.http}/metrics", timeout=5) as page:
            told = page.read().decode()
        assert 'sbc_refreshes_answered_total{group="office"} 4.0' in told
        assert 'sbc_requests_total{method="REGISTER",side="phones"} 5.0' in told


def test_taken_port_is_1_and_one_line(appliance):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", appliance.port))
        assert appliance.start() == ""
        assert appliance.wait() == 1
    last = appliance.log.read_text().splitlines()[-1]
    assert last == f"sbc: cannot listen on udp 127.0.0.1:{appliance.port}: Address already in use"


def test_taken_http_port_is_1(appliance):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", appliance.http))
        other.listen()
        assert appliance.start() == ""
        assert appliance.wait() == 1
    assert "cannot listen on http" in appliance.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_taken_state_dir_is_1(appliance, tmp_path, workers):
    """Two that write into one would each take the other's phones for their own; whatever ports the second one has."""
    appliance.start()
    (tmp_path / "second").mkdir()
    second = Process(tmp_path / "second", workers)
    second.state = appliance.state
    second.configure()
    try:
        assert (second.start(), second.wait()) == ("", 1)
        assert f"sbc: {appliance.state} is in use by another appliance (process {appliance.pid}): each needs its own" in (
            second.log.read_text()
        )
        assert appliance.ask("example.com", "a") == 480
        appliance.signal(signal.SIGKILL)  # and nobody waits for the end of it
        assert second.start().startswith("sbc ready:")
    finally:
        second.end()


def test_bad_configuration_is_2(appliance):
    appliance.configure(text=CONFIG + "\ncolour = 1\n")
    assert appliance.start() == ""
    assert appliance.wait() == 2


def test_reload_serves_another_domain(appliance):
    """SIGHUP: the new configuration is in force without a restart."""
    appliance.start()
    assert appliance.ask("other.example", "a") == 403
    appliance.configure(domain="other.example")
    appliance.signal(signal.SIGHUP)
    eventually(lambda: appliance.status()["groups"][0]["domains"] == ["other.example"])
    assert appliance.ask("other.example", "b") == 480
    assert appliance.ask("example.com", "c") == 403


def test_reload_keeps_what_is_known_of_servers(appliance):
    """A changed group does not forget that its server is down."""
    appliance.start()

    def state() -> str:
        return appliance.status()["groups"][0]["servers"][0]["candidates"][0]["state"]

    eventually(lambda: state() == "down")
    since = appliance.status()["groups"][0]["servers"][0]["candidates"][0]["since"]
    appliance.configure(domain="other.example")
    appliance.signal(signal.SIGHUP)
    eventually(lambda: appliance.status()["groups"][0]["domains"] == ["other.example"])
    assert abs(appliance.status()["groups"][0]["servers"][0]["candidates"][0]["since"] - since) < 1


def test_reload_reads_the_passwords(tmp_path):
    """Who adds a phone to the htdigest file sends SIGHUP; what has to wait for a restart is told."""
    from twisted.internet.epollreactor import EPollReactor

    from sbc.app import App
    from sbc.config import load

    made = Process(tmp_path)
    made.configure()
    reactor, thresholds = EPollReactor(), gc.get_threshold()
    app = App(load(made.file), reactor)
    app.start()
    try:
        (tmp_path / "phones.htdigest").write_text("alice:example.com:" + 32 * "0" + "\n")
        made.configure(text=CONFIG + '[credentials]\nfile = "phones.htdigest"\n[dns]\nrequery = 60\n')
        app.reload()
        assert app.registrar.credentials.users == {("alice", "example.com")}
        assert app.config.dns.requery == 0
        assert any("dns" in event["text"] for event in app.recent.describe())
    finally:
        app.stop(lambda: None)
        reactor.removeAll()
        gc.set_threshold(*thresholds)


@pytest.mark.parametrize("content", [None, "half a li"])
def test_passwords_that_cannot_be_read_leave_the_old_ones(tmp_path, content):
    """The file is just being written anew. The phones go on, and somebody is told."""
    from twisted.internet.epollreactor import EPollReactor

    from sbc.app import App
    from sbc.config import load

    made, passwords = Process(tmp_path), tmp_path / "phones.htdigest"
    passwords.write_text("alice:example.com:" + 32 * "0" + "\n")
    made.configure(text=CONFIG + '[credentials]\nfile = "phones.htdigest"\n')
    reactor, thresholds = EPollReactor(), gc.get_threshold()
    app = App(load(made.file), reactor)
    app.start()
    try:
        passwords.unlink()
        if content is not None:
            passwords.write_text(content)
        app.go_on_with(app.config)
        assert app.registrar.credentials.users == {("alice", "example.com")}
        assert any("the passwords read before stay" in event["text"] for event in app.recent.describe())
    finally:
        app.stop(lambda: None)
        reactor.removeAll()
        gc.set_threshold(*thresholds)


def test_bad_reload_is_refused_and_told(appliance):
    """The old configuration stays, the log names file, line and key, and the status page shows it."""
    appliance.start()
    appliance.configure(text=CONFIG + "\ncolour = 1\n")
    appliance.signal(signal.SIGHUP)
    eventually(lambda: "colour" in appliance.log.read_text())
    assert appliance.ask("example.com", "a") == 480
    assert any("reload refused" in event["text"] for event in appliance.status()["events"])


def test_clock_and_state_survive_a_kill(appliance):
    """Started again after a SIGKILL with the same state: ready as before."""
    appliance.start()
    appliance.signal(signal.SIGKILL)
    appliance.wait()
    assert appliance.start().startswith("sbc ready:")


def test_server_without_an_address_is_told(appliance):
    """A name that nobody can resolve is named in the log, with its server. (The DNS server is a closed port.)"""
    text = CONFIG.replace('address = "127.0.0.1"\n  port = 9', 'address = "pbx.invalid"\n  port = 9')
    appliance.configure(text=text + '\n[dns]\nservers = ["127.0.0.1:1"]\n')
    appliance.start()
    eventually(lambda: "no address is known for server primary (pbx.invalid)" in appliance.log.read_text())


def test_useless_state_is_an_alarm(appliance):
    """Phones are served from memory when the state cannot be kept, and the status page says so."""
    appliance.state.mkdir()
    (appliance.state / "sbc.sqlite3").mkdir()
    assert appliance.start().startswith("sbc ready:")
    assert any("nothing will survive a restart" in event["text"] for event in appliance.status()["events"])
    assert "Traceback" not in appliance.log.read_text()


PHONES = CONFIG + """
  [[group.server]]
  name = "fallback"
  address = "127.0.0.1"
  port = 19

  [[group.phones]]
  addresses = ["127.0.0.0/8"]
  profile = "pivot-lb"
"""


def test_phones_of_several_kinds(appliance):
    """Both servers are closed ports: the group's phones and those of the other kind are told so alike, and each kind has a
    working server of its own, whatever worker is asked."""
    appliance.configure(text=PHONES)
    appliance.start()
    assert [480, 480] == [appliance.ask("example.com", f"z9hG4bK{number}") for number in range(2)]
    (group,) = appliance.status()["groups"]
    (kind,) = group["phones"]
    assert ("pivot-lb", ["127.0.0.0/8"]) == (kind["profile"], kind["addresses"])
    assert kind["working"] in ("127.0.0.1:9;udp", "127.0.0.1:19;udp")
    assert "Traceback" not in appliance.log.read_text()
