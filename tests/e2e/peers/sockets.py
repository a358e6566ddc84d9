"""Peers that are no programs: servers that play dead, a phone that says what a test writes, a ping."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from dataclasses import dataclass

from sbc.sip.message import Request, Response, parse
from tests.e2e.peers.process import at, free_port


def answers_options(address: str, port: int, timeout: float = 0.5) -> bool:
    """Whether whoever listens there answers an OPTIONS within the time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as endpoint:
        endpoint.settimeout(timeout)
        endpoint.connect((address, port))
        here = at(*endpoint.getsockname()[:2])
        token = random.randbytes(8).hex()
        try:
            endpoint.send(
                f"OPTIONS sip:{at(address, port)} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{token};rport\r\n"
                f"From: <sip:test@{here}>;tag={token}\r\nTo: <sip:{at(address, port)}>\r\n"
                f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return endpoint.recv(65535).startswith(b"SIP/2.0 ")
        except OSError:
            return False


class SilentServer:
    """A bound socket that never answers: a server whose machine hangs, or whose packets a firewall drops."""

    def __init__(self, name: str = "silent", address: str = "127.0.0.1") -> None:
        self.name = name
        self.address = address
        self.port = free_port(address)
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, self.port))
        self._socket.setblocking(False)

    def received(self, method: str) -> list[str]:
        """Request lines of what has arrived since the last time."""
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                line = self._socket.recv(65535).split(b"\r\n", 1)[0].decode(errors="replace")
                if line.startswith(method):
                    lines.append(line)
        return lines

    def stop(self) -> None:
        self._socket.close()


class SocketServer:
    """A call server that says 200 when a test tells it to, and sends what a test writes."""

    def __init__(self, name: str = "socket", address: str = "127.0.0.1") -> None:
        self.name = name
        self.address = address
        self.port = free_port(address)
        self.answered: list[Request] = []
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, self.port))
        self._socket.settimeout(5)

    def answer(self, method: str) -> None:
        """Wait for a request of this method and accept it, with its contacts. Others before it are not answered."""
        while True:
            data, source = self._socket.recvfrom(65535)
            if not data.startswith(method.encode()):
                continue
            request = parse(data)
            assert isinstance(request, Request)
            self.answered.append(request)
            contacts = [("Contact", value) for value in request.get_all("Contact")]
            response = Response.for_request(request, 200, to_tag="server", headers=contacts)
            self._socket.sendto(response.to_bytes(), source)
            return

    def send(self, data: bytes, destination: tuple[str, int]) -> None:
        self._socket.sendto(data, destination)

    def stop(self) -> None:
        self._socket.close()


@dataclass
class AbsentServer:
    """A port that nobody listens on: the machine is up, the server is not, and the system says so by ICMP."""

    name: str = "absent"
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.port = free_port(self.address)


class SocketPhone:
    """A socket of our own that sends what a test gives it, retransmits as a phone does, and keeps what comes back."""

    def __init__(self, proxy_address: str, proxy_port: int, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._proxy = (proxy_address, proxy_port)
        self.here = at(*self._socket.getsockname()[:2])

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._proxy)

    def receive(self, timeout: float) -> bytes | None:
        """The next datagram, None when none comes in time."""
        self._socket.settimeout(max(timeout, 0.001))
        try:
            return self._socket.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def request(self, data: bytes, timeout: float = 40.0) -> tuple[int, float]:
        """Send a non-INVITE request until a final response comes: (its status, seconds it took). RFC 3261 17.1.2.2."""
        started = time.monotonic()
        interval, send_at = 0.5, started
        while (now := time.monotonic()) < started + timeout:
            if now >= send_at and now < started + 32:
                self.send(data)
                send_at, interval = now + interval, min(2 * interval, 4.0)
            answer = self.receive(min(send_at, started + timeout) - now)
            if answer is not None and answer.startswith(b"SIP/2.0 ") and int(answer[8:11]) >= 200:
                return int(answer[8:11]), time.monotonic() - started
        raise AssertionError(f"no final response within {timeout:g} s")

    def stop(self) -> None:
        self._socket.close()
