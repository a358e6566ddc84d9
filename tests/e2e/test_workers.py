"""Two workers are one appliance: calls in all directions, a dead server, a dead worker."""

from __future__ import annotations

import json
import os
import signal

from tests.e2e.peers import Peers
from tests.e2e.peers.accounts import DOMAIN
from tests.e2e.peers.appliance import RARE_PROBES, Sbc, htdigest_line
from tests.e2e.peers.line import LinePhone
from tests.e2e.peers.process import free_port, wait_until
from tests.e2e.peers.sipp import SippPhone
from tests.e2e.peers.sockets import SocketPhone

PHONES = [f"phone{number}" for number in range(12)]


def bindings(sbc: Sbc) -> list[int]:
    """Contacts at each worker."""
    return [worker["bindings"] for worker in sbc.status()["appliance"]["workers"]]


def one_phone_at_each(peers: Peers, sbc: Sbc) -> list[SippPhone]:
    """Registers phones, each at a port of its own, until the kernel has given one to either worker."""
    found: dict[int, SippPhone] = {}
    for name in PHONES:
        before = bindings(sbc)
        phone = peers.sipp_phone(name, sbc.proxy())
        phone.register()
        (worker,) = [place for place, (old, new) in enumerate(zip(before, bindings(sbc), strict=True)) if new > old]
        found.setdefault(worker, phone)
        if len(found) == 2:
            return [found[0], found[1]]
    raise AssertionError(f"all of {len(PHONES)} phones came to one worker")


def call(caller: SippPhone, callee: SippPhone) -> None:
    taken = callee.take_calls()
    caller.call(callee.name)
    taken.finish()


def kill_worker(sbc: Sbc, number: int) -> None:
    os.kill(sbc.status()["appliance"]["workers"][number]["pid"], signal.SIGKILL)


def wait_for_restart(sbc: Sbc) -> None:
    def restarted() -> bool:
        return sbc.metric("sbc_worker_restarts_total") == 1 and sbc.metric("sbc_workers") == 2

    wait_until(restarted, "the worker runs again")


def test_two_workers_are_one_appliance(peers: Peers) -> None:
    """Phones of both call and are called; what one finds out about a server both know; a worker that is killed loses neither
    call nor registration, and its successor answers for it. All that beside a folder that is named like the program."""
    (peers.folder / "sbc").mkdir()
    servers = [peers.kamailio("primary"), peers.kamailio("fallback")]
    sbc = peers.sbc(servers, accounts=tuple(PHONES), workers=2, group=RARE_PROBES)
    one, other = one_phone_at_each(peers, sbc)
    registered = sum(bindings(sbc))
    for server in servers:
        for phone in (one, other):
            wait_until(lambda phone=phone, server=server: server.contacts(phone.name), f"{phone.name} at {server.name}")

    # Every direction. The kernel leads calls of one server to one worker, so one of the two phones is the other's.
    call(one, other)
    call(other, one)
    carol = peers.sipp_phone("carol", f"127.0.0.1:{servers[0].port}")
    call(carol, one)
    call(carol, other)
    assert sbc.metric("sbc_handed_over_messages_total", kind="request") >= 1
    assert sbc.metric("sbc_handed_over_messages_total", kind="response") == 0
    assert sbc.metric("sbc_bindings") == registered
    everybody = json.loads(sbc.get("/status.json?phones=all"))["registrations"]
    assert len(everybody["phones"]) == everybody["bindings"] == registered
    assert sbc.metric("sbc_call_setup_seconds_count") == 6  # each call between phones is one in and one out

    # The first to call finds the primary dead; the other worker knows it by then.
    servers[0].kill()
    call(one, other)
    assert sbc.metric("sbc_failovers_total", method="INVITE") == 1
    call(other, one)
    assert sbc.metric("sbc_failovers_total", method="INVITE") == 1
    assert sbc.metric("sbc_failovers_total", method="*") == 1
    assert sbc.metric("sbc_server_state_changes_total", server="primary", state="down") == 1
    assert sbc.working_server() == "fallback"

    # A worker dies during a call of its phone.
    invites = sbc.metric("sbc_requests_total", method="INVITE")
    registers = len(servers[1].received("REGISTER"))
    taken = other.take_calls()
    caller = peers.sipp_phone("dave", f"127.0.0.1:{servers[1].port}")
    dial = caller.start_call(other.name, talk=3)
    wait_until(lambda: sbc.metric("sbc_call_setup_seconds_count") == 11, "the call is set up")
    kill_worker(sbc, 1)
    wait_for_restart(sbc)
    dial.finish()
    taken.finish()
    assert sum(bindings(sbc)) == registered
    call(caller, one)
    call(caller, other)
    assert registers == len(servers[1].received("REGISTER"))
    assert sbc.metric("sbc_requests_total", method="INVITE") >= invites + 3
    assert "Traceback" not in sbc.text()


def test_registrations_outlive_a_change_of_the_number(peers: Peers) -> None:
    """Two workers, then one process, then two again: every phone can be called, and none has registered again."""
    server = peers.kamailio("primary")
    sbc = peers.sbc([server], accounts=tuple(PHONES), workers=2, group=RARE_PROBES)
    phones = one_phone_at_each(peers, sbc)
    registers = len(server.received("REGISTER"))
    carol = peers.sipp_phone("carol", f"127.0.0.1:{server.port}")
    file = peers.folder / "sbc.toml"
    for before, after in (("workers = 2", "workers = 1"), ("workers = 1", "workers = 2")):
        sbc.stop()
        file.write_text(file.read_text().replace(before, after))
        sbc.start()
        for phone in phones:
            call(carol, phone)
    assert registers == len(server.received("REGISTER"))
    assert "Traceback" not in sbc.text()


def test_a_phone_that_comes_to_another_worker_is_called_there(peers: Peers) -> None:
    """Behind a NAT that has forgotten it: another port and so another worker, but the same Contact. It rings once, there,
    and the server knows one contact."""
    server = peers.socket_server()
    sbc = peers.sbc([server], workers=2, group=RARE_PROBES)
    places: list[tuple[int, SocketPhone]] = []
    while len({worker for worker, _ in places}) < 2:
        assert len(places) < 20, "all of 20 ports came to one worker"
        phone = peers.socket_phone(sbc)
        phone.send(register(phone, cseq=len(places) + 1))
        server.answer("REGISTER")
        answer = phone.receive(5)
        assert answer is not None and answer.startswith(b"SIP/2.0 200 ")
        # The other worker forgets it a moment later.
        wait_until(lambda: sorted(bindings(sbc)) == [0, 1], "one worker has it")
        places.append((bindings(sbc).index(1), phone))
    contacts = {str(request.get("Contact")).partition(";expires")[0] for request in server.answered}
    assert len(contacts) == 1
    (contact,) = contacts
    server.send(invite(contact.strip("<>"), f"127.0.0.1:{server.port}"), (sbc.address, sbc.port))
    received = places[-1][1].receive(5)
    assert received is not None and received.startswith(b"INVITE sip:alice@192.0.2.50 ")
    for _, phone in places[:-1]:
        assert phone.receive(0.1) is None
    assert "Traceback" not in sbc.text()


def register(phone: SocketPhone, cseq: int) -> bytes:
    return (
        f"REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKr{cseq};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:alice@{DOMAIN}>;tag=r\r\nTo: <sip:alice@{DOMAIN}>\r\nCall-ID: natted\r\nCSeq: {cseq} REGISTER\r\n"
        "Contact: <sip:alice@192.0.2.50>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def invite(contact: str, server: str) -> bytes:
    return (
        f"INVITE {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {server};branch=z9hG4bKi;rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:dave@{DOMAIN}>;tag=i\r\nTo: <sip:alice@{DOMAIN}>\r\nCall-ID: called\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:dave@{server}>\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def test_connections_of_two_workers(peers: Peers) -> None:
    """Phones and servers on TCP: the phone's connection is at one worker and the server's, often, at the other. All calls
    find their way, and so does what follows in them; a worker that dies takes its connections with it, and no more."""
    servers = [peers.kamailio(name, streams=True, challenge_calls=False) for name in ("primary", "fallback")]
    port, phones_port, http_port = (free_port() for _ in range(3))
    lines = f"""
[appliance]
state_dir = "{peers.folder}/state"
workers = 2
[[listen]]
transport = "udp"
address = "127.0.0.1"
port = {port}
side = "servers"
[[listen]]
transport = "tcp"
address = "127.0.0.1"
port = {phones_port}
side = "phones"
[http]
port = {http_port}
[credentials]
file = "phones.htdigest"
[[group]]
name = "office"
domains = ["{DOMAIN}"]
{RARE_PROBES}
"""
    for server in servers:
        lines += f'[[group.server]]\nname = "{server.name}"\naddress = "127.0.0.1"\nport = {server.port}\ntransport = "tcp"\n'
    (peers.folder / "phones.htdigest").write_text("".join(htdigest_line(name, "md5") for name in PHONES))
    sbc = peers.started(Sbc(peers.folder, lines, {"127.0.0.1": port}, http_port))
    assert f"tcp 127.0.0.1:{port}" in sbc.text()  # beside UDP, as RFC 3261 18.2.1 has it

    phones: list[LinePhone] = []
    for name in PHONES:
        phones.append(peers.line_phone(name, ("127.0.0.1", phones_port), "tcp"))
        phones[-1].register()
        if len(phones) >= 4 and all(bindings(sbc)):
            break
    assert all(bindings(sbc)), "all phones came to one worker"

    def all_call_each_other() -> None:
        for caller, callee in zip(phones, phones[1:] + phones[:1], strict=True):
            dialog = caller.call(callee.name)
            callee.wait_for("ACK")
            callee.hang_up(callee.latest_dialog())
            assert caller.wait_for("BYE").call_id == dialog.call_id

    all_call_each_other()
    assert sbc.metric("sbc_handed_over_messages_total", kind="request") >= 1
    servers[0].kill()
    all_call_each_other()
    assert sbc.metric("sbc_failovers_total", method="*", cause="refused") + sbc.metric(
        "sbc_failovers_total", method="*", cause="reset"
    ) == 1

    kill_worker(sbc, 1)
    wait_for_restart(sbc)
    for phone in phones:
        phone.stop()
        phone.connect()
        phone.register()
    all_call_each_other()
    assert "Traceback" not in sbc.text()
