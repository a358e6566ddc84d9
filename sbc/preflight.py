"""`sbc check --live`: looks up every configured server and asks each address for a sign of life.

It runs beside an appliance or without one: one plain socket per candidate, an OPTIONS, and patience for
`probe_timeout`. What DNS answers mean is `sbc.location.procedure`'s decision, what a status says about a server the
group's.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from sbc.config import Config, Endpoint, Listen, TlsClient
from sbc.config.model import address_families, spoken
from sbc.location.candidate import Candidate
from sbc.location.procedure import locate, srv_order
from sbc.location.records import Failed, Question, Result
from sbc.location.resolver import look_up, make_resolver
from sbc.redundancy.schedule import Timing, gaps
from sbc.redundancy.settings import GroupSettings, ServerSettings
from sbc.sip.errors import MalformedMessage
from sbc.sip.message import Response, parse

AT_ONCE = 32  # candidates asked at the same time
UP = "up"
"""What is said of a candidate that is well begins so."""

_LARGEST_ANSWER = 65535

Ask = Callable[[Question], Result]


@dataclass(frozen=True)
class Lookup:
    """What became of a server's name."""

    candidates: tuple[Candidate, ...]
    answers: dict[Question, Result]

    def explain(self) -> str:
        """`SRV _sip._udp.example.com nothing, A example.com timeout`"""
        return ", ".join(
            f"{question} {answer.result if isinstance(answer, Failed) else len(answer.records) or 'nothing'}"
            for question, answer in self.answers.items()
        )


def ping_servers(config: Config, out: TextIO) -> bool:
    """Print one line for each candidate of each server, as TOML comments behind the expanded configuration. True when all are up."""
    all_are_up = True
    resolver = make_resolver(config.dns.servers)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = []
        for group in config.groups:
            for server in group.servers:
                found = pool.submit(find, server, group, config.listens, lambda question: look_up(resolver, question))
                rows.append((group, server, found))
        results = [
            (label, pool.submit(result) if callable(result) else result)
            for group, server, found in rows
            for label, result in _lines(config, group, server, found.result())
        ]
        width = max(len(label) for label, _ in results)
        for label, result in results:
            said = result if isinstance(result, str) else result.result()
            all_are_up = all_are_up and said.startswith(f"{UP} ")
            print(f"# {label:<{width}}  {said}", file=out, flush=True)
    return all_are_up


def find(server: ServerSettings, group: GroupSettings, listens: Iterable[Listen], ask: Ask) -> Lookup:
    """The candidates of a server; asks until nothing more needs to be known."""
    families, transports, order = address_families(listens), spoken(listens), srv_order(group.srv_weight, "")
    answers: dict[Question, Result] = {}

    def records(question: Question):
        answer = answers.get(question)
        if answer is None:
            return None
        return () if isinstance(answer, Failed) else answer.records

    while True:
        located = locate(server, records, srv_order=order, families=families, transports=transports)
        if not located.wanted:
            return Lookup(located.candidates, answers)
        for question in located.wanted:
            answers[question] = ask(question)


def _lines(
    config: Config, group: GroupSettings, server: ServerSettings, lookup: Lookup
) -> Iterator[tuple[str, str | Callable[[], str]]]:
    """What each line begins with, and its result or how to get it."""
    if not lookup.candidates:
        yield f"{group.name} {server.name} P{server.rank} {server.address}", f"no address found: {lookup.explain()}"
    for candidate in lookup.candidates:
        label = f"{group.name} {server.name} P{server.rank}:{candidate.priority} {candidate}"
        yield label, partial(ping, candidate, server, group, config)


def ping(candidate: Candidate, server: ServerSettings, group: GroupSettings, config: Config) -> str:
    """Ask one candidate: "up, 200 in 3 ms", "no answer in 4 s", "refused" ..."""
    started = time.monotonic()
    deadline = started + group.probe_timeout
    own_address = next(
        (listen.address for listen in config.listens if _suits(listen, candidate)),
        "::" if ":" in candidate.address else "0.0.0.0",  # noqa: S104
    )
    try:
        if candidate.transport == "udp":
            schedule = gaps("OPTIONS", Timing(config.timers.t1, config.timers.t2))
            response = _ask_by_datagram(candidate, own_address, deadline, schedule)
        else:
            context = _tls_context(config.tls) if candidate.transport == "tls" else None
            response = _ask_by_stream(candidate, own_address, deadline, context, server.addresses[candidate.place])
    except TimeoutError:
        return f"no answer in {group.probe_timeout:g} s"
    except ConnectionRefusedError:
        return "refused: nothing listens on that port"
    except ssl.SSLError as error:
        return f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or error}"
    except OSError as error:
        return f"cannot be reached: {(error.strerror or str(error)).lower()}"
    except MalformedMessage as error:
        return f"answers, but not in SIP: {error}"
    milliseconds = 1000 * (time.monotonic() - started)
    word = UP if group.status_health.get(str(response.status), "up") == "up" else "down"
    return f"{word} {response.status} in {milliseconds:.0f} ms"


def _suits(listen: Listen, candidate: Candidate) -> bool:
    """True when the appliance would use this socket towards the candidate."""
    same_family = (":" in listen.address) == (":" in candidate.address)
    return listen.transport == candidate.transport and same_family and listen.side != "phones"


def _ask_by_datagram(
    candidate: Candidate, own_address: str, deadline: float, resend_after: Iterator[float]
) -> Response:
    """Sent again on the schedule of RFC 3261. A connected socket, so that an ICMP error becomes an exception."""
    with socket.socket(_family(candidate), socket.SOCK_DGRAM) as sock:
        sock.bind((own_address, 0))
        sock.connect((candidate.address, candidate.port))
        request, branch = options(candidate, Endpoint(*sock.getsockname()[:2]))
        while True:
            sock.send(request)
            until = min(deadline, time.monotonic() + next(resend_after))
            while (left := until - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    response = parse(sock.recv(_LARGEST_ANSWER))
                except TimeoutError:
                    break
                if isinstance(response, Response) and response.top_via.branch == branch and response.status >= 200:
                    return response
            if time.monotonic() >= deadline:
                raise TimeoutError


def _ask_by_stream(
    candidate: Candidate, own_address: str, deadline: float, context: ssl.SSLContext | None, name: str
) -> Response:
    with socket.socket(_family(candidate), socket.SOCK_STREAM) as plain:
        plain.bind((own_address, 0))
        plain.settimeout(_left(deadline))
        plain.connect((candidate.address, candidate.port))
        sock = context.wrap_socket(plain, server_hostname=name) if context else plain
        with sock:
            request, _ = options(candidate, Endpoint(*sock.getsockname()[:2]))
            sock.sendall(request)
            received = b""
            while b"\r\n\r\n" not in received.lstrip(b"\r\n"):
                sock.settimeout(_left(deadline))
                more = sock.recv(_LARGEST_ANSWER)
                if not more:
                    raise ConnectionResetError(0, "it closed the connection without an answer")
                received += more
            head, _, _ = received.lstrip(b"\r\n").partition(b"\r\n\r\n")
            response = parse(_without_length(head) + b"\r\n\r\n")
            if not isinstance(response, Response):
                raise MalformedMessage("a request came where the answer should be")
            return response


def options(candidate: Candidate, own: Endpoint) -> tuple[bytes, str]:
    """An OPTIONS (RFC 3261 s.11) to that candidate, and its branch."""
    branch = "z9hG4bK" + secrets.token_hex(8)
    target = f"sip:{Endpoint(candidate.address, candidate.port)}"
    if candidate.transport != "udp":
        target += f";transport={candidate.transport}"
    lines = [
        f"OPTIONS {target} SIP/2.0",
        f"Via: SIP/2.0/{candidate.transport.upper()} {own};branch={branch};rport",
        "Max-Forwards: 70",
        f"From: <sip:sbc@{own}>;tag={secrets.token_hex(4)}",
        f"To: <{target}>",
        f"Call-ID: {secrets.token_hex(16)}",
        "CSeq: 1 OPTIONS",
        f"Contact: <sip:sbc@{own}>",
        "Accept: application/sdp",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), branch


def _without_length(head: bytes) -> bytes:
    """The head alone, whose Content-Length no longer holds: of the body nothing is needed."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith((b"content-length", b"l:", b"l ")))


def _tls_context(tls: TlsClient) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate and tls.key:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _family(candidate: Candidate) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in candidate.address else socket.AF_INET


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
