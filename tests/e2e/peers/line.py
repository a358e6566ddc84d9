"""A phone with one line, over UDP, TCP or TLS: it keeps its one connection, as phones behind a NAT do.

SIPp has no TLS in Debian, and no phone tells a test as exactly what has come. It answers each call at once, and its own
calls are made by the test, step by step.
"""

from __future__ import annotations

import queue
import secrets
import select
import socket
import ssl
import threading
import time
from pathlib import Path

from sbc.lab.dialog import Dialog
from sbc.sip.digest import Challenge, answer, ha1
from sbc.sip.framing import StreamFramer
from sbc.sip.message import Request, Response, parse
from tests.e2e.peers.accounts import DOMAIN, password_of
from tests.e2e.peers.process import at


class LinePhone:
    """One phone. `proxy` is where it sends everything."""

    def __init__(self, name: str, proxy: tuple[str, int], transport: str, *, ca: Path | None = None) -> None:
        self.name = name
        self.transport = transport
        self._proxy = proxy
        self._ca = ca
        self._answers: queue.Queue[Response] = queue.Queue()
        self.requests: queue.Queue[Request] = queue.Queue()
        """All that have come, but ACKs to failures."""
        self._dialogs: list[Dialog] = []
        self._lock = threading.Lock()  # a TLS connection is not to be read and written at the same time
        self._cseq = 0
        self._call_id = secrets.token_hex(6)
        self.connect()

    def connect(self) -> None:
        """A connection, or, over UDP, a socket; in the place of the one before."""
        kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
        family = socket.AF_INET6 if ":" in self._proxy[0] else socket.AF_INET
        plain = socket.socket(family, kind)
        plain.settimeout(5)
        plain.connect(self._proxy)
        if self.transport == "tls":
            context = ssl.create_default_context(cafile=self._ca)
            context.check_hostname = ":" not in self._proxy[0]
            plain = context.wrap_socket(plain, server_hostname=self._proxy[0])
        plain.settimeout(None)
        self._socket = plain
        self.here = at(*plain.getsockname()[:2])
        parameter = "" if self.transport == "udp" else f";transport={self.transport}"
        self.contact = f"<sip:{self.name}@{self.here}{parameter}>"
        threading.Thread(target=self._read, args=(plain,), daemon=True).start()

    def stop(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    # -- what it does ----------------------------------------------------------------------------------------------------

    def register(self, expires: int = 600) -> Response:
        """With digest; fails unless it is accepted."""
        headers = [("Contact", f"{self.contact};expires={expires}")]
        response = self.ask("REGISTER", f"sip:{DOMAIN}", self.name, headers, call_id=self._call_id)
        assert response.status == 200, f"REGISTER: {response.status} {response.reason}"
        return response

    def call(self, callee: str) -> Dialog:
        """Call and confirm; fails unless it is answered."""
        uri = f"sip:{callee}@{DOMAIN}"
        invite, response = self._ask("INVITE", uri, callee, [("Contact", self.contact)], secrets.token_hex(6))
        assert response.status == 200, f"INVITE: {response.status} {response.reason} {response.get('Warning')}"
        dialog = Dialog.of_caller(invite, response)
        self.send(self._with_via(dialog.ack(invite)))
        self._dialogs.append(dialog)
        return dialog

    def hang_up(self, dialog: Dialog) -> Response:
        """BYE; fails unless it is accepted."""
        response = self.transact(self._with_via(dialog.request("BYE")))
        assert response.status == 200, f"BYE: {response.status} {response.reason}"
        return response

    def ask(self, method: str, uri: str, to: str, headers: list[tuple[str, str]], *, call_id: str) -> Response:
        """A request outside of dialogs, once more with credentials where it is challenged: the final response."""
        return self._ask(method, uri, to, headers, call_id)[1]

    def _ask(
        self, method: str, uri: str, to: str, headers: list[tuple[str, str]], call_id: str
    ) -> tuple[Request, Response]:
        tag = secrets.token_hex(4)
        extra: list[tuple[str, str]] = []
        while True:
            self._cseq += 1
            request = Request.create(
                method,
                uri,
                [
                    ("Max-Forwards", "70"), ("From", f"<sip:{self.name}@{DOMAIN}>;tag={tag}"),
                    ("To", f"<sip:{to}@{DOMAIN}>"), ("Call-ID", call_id), ("CSeq", f"{self._cseq} {method}"),
                    *headers, *extra,
                ],
            )  # fmt: skip
            response = self.transact(self._with_via(request))
            if response.status not in (401, 407) or extra:
                return request, response
            if method == "INVITE":
                self._acknowledge(request, response)
            extra = [self._credentials(request, response)]

    def transact(self, request: Request, timeout: float = 35.0) -> Response:
        """Send until there is a final response."""
        end = time.monotonic() + timeout
        interval = 0.5 if self.transport == "udp" else timeout
        self.send(request)
        send_at = time.monotonic() + interval
        while (now := time.monotonic()) < end:
            try:
                response = self._answers.get(timeout=min(send_at, end) - now)
            except (queue.Empty, ValueError):
                interval = min(2 * interval, 4.0) if self.transport == "udp" else timeout
                send_at = time.monotonic() + interval
                self.send(request)
                continue
            if response.cseq_method != request.method or response.cseq != request.cseq:
                continue
            if response.status < 200:
                send_at = end
                continue
            if request.method == "INVITE" and response.status >= 300 and response.status not in (401, 407):
                self._acknowledge(request, response)
            return response
        raise AssertionError(f"{self.name}: no final response to {request.method} within {timeout:g} s")

    def send(self, message: Request | Response) -> None:
        with self._lock:
            self._socket.sendall(message.to_bytes(self.transport != "udp"))

    def wait_for(self, method: str, timeout: float = 10.0) -> Request:
        """The next request of that method."""
        end = time.monotonic() + timeout
        while True:
            try:
                request = self.requests.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.name}: no {method} within {timeout:g} s") from None
            if request.method == method:
                return request

    # -- its own part ----------------------------------------------------------------------------------------------------

    def _with_via(self, request: Request, branch: str | None = None) -> Request:
        via = f"SIP/2.0/{self.transport.upper()} {self.here};branch={branch or 'z9hG4bK' + secrets.token_hex(8)};rport"
        request.prepend("Via", via)
        return request

    def _acknowledge(self, invite: Request, response: Response) -> None:
        headers = [
            ("Via", invite.get("Via") or ""), ("Max-Forwards", "70"), ("From", invite.get("From") or ""),
            ("To", response.get("To") or ""), ("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq} ACK"),
        ]  # fmt: skip
        self.send(Request.create("ACK", invite.request_uri, headers))

    def _credentials(self, request: Request, response: Response) -> tuple[str, str]:
        asked, shown = (
            ("WWW-Authenticate", "Authorization")
            if response.status == 401
            else ("Proxy-Authenticate", "Proxy-Authorization")
        )
        challenge = Challenge.parse(response.get(asked) or "")
        secret = ha1(self.name, challenge.realm, password_of(self.name), challenge.algorithm)
        token = secrets.token_hex(4)
        return shown, str(answer(challenge, secret, self.name, request.method, request.request_uri, 1, token))

    def _read(self, source: socket.socket) -> None:
        framer = StreamFramer()
        while True:
            try:
                if not (isinstance(source, ssl.SSLSocket) and source.pending()):
                    select.select([source], [], [])
                with self._lock:
                    source.setblocking(False)
                    try:
                        data = source.recv(65535)
                    finally:
                        source.setblocking(True)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except (OSError, ValueError):  # it was closed
                return
            if not data:
                return
            for message in [data] if self.transport == "udp" else framer.feed(data):
                self._received(parse(message))

    def _received(self, message: Request | Response) -> None:
        if isinstance(message, Response):
            self._answers.put(message)
            return
        self.requests.put(message)
        if message.method == "INVITE":
            tag = secrets.token_hex(4)
            for status in (180, 200):
                response = Response.for_request(
                    message, status, to_tag=tag, headers=[("Contact", self.contact)], copy_record_route=True
                )
                self.send(response)
            self._dialogs.append(Dialog.of_callee(message, response))
        elif message.method != "ACK":
            self.send(Response.for_request(message, 200))

    def latest_dialog(self) -> Dialog:
        """Of the call that it made or took last."""
        return self._dialogs[-1]
