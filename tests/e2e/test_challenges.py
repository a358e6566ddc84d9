"""A server that challenges a call and dies before it is answered, with phones that would give up (D9)."""

from __future__ import annotations

import socket
import threading

from sbc.sip.message import Request, Response, parse
from tests.e2e.peers import Peers, site
from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.appliance import RARE_PROBES
from tests.e2e.peers.process import free_port, wait_until

GIVE_UP = ("baresip", "twinkle")
"""Phones that answer a second challenge to a call only when it says stale=true."""


class HalfDeadServer:
    """Takes every registration that brings credentials, and has nothing to say to calls that do."""

    name = "primary"
    address = "127.0.0.1"

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: list[Request] = []
        """The INVITEs that showed credentials."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, self.port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, source = self._socket.recvfrom(65535)
            if not data:
                return
            request = parse(data)
            answer = self._answer(request) if isinstance(request, Request) else None
            if answer is not None:
                self._socket.sendto(answer.to_bytes(), source)

    def _answer(self, request: Request) -> Response | None:
        challenge = f'Digest realm="{DOMAIN}", nonce="of-the-primary-for-{request.method}", qop="auth"'
        if request.method == "INVITE":
            if request.has("Proxy-Authorization"):
                self.answers.append(request)
                return None
            return Response.for_request(request, 407, to_tag="p", headers=[("Proxy-Authenticate", challenge)])
        if request.method == "REGISTER" and not request.has("Authorization"):
            return Response.for_request(request, 401, to_tag="p", headers=[("WWW-Authenticate", challenge)])
        if request.method in ("REGISTER", "OPTIONS"):
            contacts = [("Contact", value) for value in request.get_all("Contact")]
            return Response.for_request(request, 200, to_tag="p", headers=contacts)
        return None

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", (self.address, self.port))
        self._thread.join(5)
        self._socket.close()


def test_who_challenged_is_dead_when_the_phone_answers(peers: Peers) -> None:
    """The answer goes to who asked, and then, without the credentials, to the fallback, whose challenge is stale for the
    phone; the call is made. No credentials for the one server reach the other."""
    kinds = [kind for kind in GIVE_UP if kind in site.kinds()]
    fallback = peers.kamailio("fallback", forgetful=True)
    primary = HalfDeadServer()
    try:
        # It is found dead by each call anew.
        group = f"{RARE_PROBES}\nfall = 100"
        sbc = peers.sbc([primary, fallback], accounts=(*kinds, "bob"), group=group, server="retry_counts = 1")
        bob = peers.sipp_phone("bob", sbc.proxy())
        bob.register()
        wait_until(lambda: fallback.contacts("bob"), "bob is registered at the fallback")
        for kind in kinds:
            line = Line(kind, sbc.proxy())
            (phone,) = site.PHONES[kind](kind, peers.folder, [line])
            peers.started(phone)
            wait_until(lambda phone=phone, line=line: phone.shows_registered(line), f"{kind} is registered")
            callee = bob.take_calls()
            phone.dial("bob", timeout=15)
            phone.hang_up()
            callee.finish()
        assert {request.from_.uri.user for request in primary.answers} == set(kinds)
        # Each call reached the fallback twice: without an answer to a challenge, and with the answer to its own.
        assert len(fallback.received("INVITE")) == 2 * len(kinds)
    finally:
        primary.stop()
