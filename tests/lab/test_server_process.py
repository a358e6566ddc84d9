"""The call server as a process of its own, on a real socket."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from sbc.lab.server import READY

pytestmark = pytest.mark.e2e

OPTIONS = (
    "OPTIONS sip:office.example SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch};rport\r\n"
    "From: <sip:probe@office.example>;tag=1\r\n"
    "To: <sip:office.example>\r\n"
    "Call-ID: {branch}\r\n"
    "CSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\n"
    "\r\n"
)


@pytest.fixture
def start():
    """Start a server with more options; returns the process and its address."""
    processes = []

    def start(*options: str):
        command = [sys.executable, "-m", "sbc.lab.server", "--listen", "127.0.0.1:0", "--realm", "office.example"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        line = process.stdout.readline()
        assert line.startswith(READY)
        host, _, port = line.removeprefix(READY).strip().partition(":")
        return process, (host, int(port))

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def ping():
    """Send an OPTIONS; returns the status line, None when nothing comes within `patience` seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        branches = iter(range(1000))

        def ping(address, patience: float = 5.0) -> str | None:
            host, port = phone.getsockname()
            phone.settimeout(patience)
            phone.sendto(OPTIONS.format(host=host, port=port, branch=next(branches)).encode(), address)
            try:
                return phone.recv(65535).split(b"\r\n")[0].decode()
            except TimeoutError:
                return None

        yield ping


def test_answers_options(start, ping):
    _, address = start("--user", "alice:wonderland")
    assert "SIP/2.0 200 OK" == ping(address)


def test_silent_server_holds_its_port_and_never_answers(start, ping):
    process, address = start("--silent")
    assert ping(address, 0.5) is None
    assert process.poll() is None


def test_stopped_server_is_silent_and_answers_when_resumed(start, ping):
    """What the demo's hard case relies on: SIGSTOP leaves the port open, and the kernel keeps what arrives."""
    process, address = start()
    process.send_signal(signal.SIGSTOP)
    assert ping(address, 0.5) is None
    process.send_signal(signal.SIGCONT)
    assert "SIP/2.0 200 OK" == ping(address)


def test_nonsense_is_refused_in_words():
    command = [sys.executable, "-m", "sbc.lab.server", "--listen", "nowhere", "--realm", "r"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert 2 == result.returncode
    assert "'nowhere' is not ADDRESS:PORT" in result.stderr
