"""A DNS server on loopback that does what a real one would not do on demand: stay silent, fail, delay, truncate.

It writes down every query, so that a test can say that no other one left.
"""

from __future__ import annotations

import socket
import threading
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SOA = "ns.example. admin.example. 1 3600 600 86400 90"

SILENT, SERVFAIL, REFUSED, NOTIMP, TRUNCATED = "silent", "SERVFAIL", "REFUSED", "NOTIMP", "truncated"


class DnsServer:
    """Answers from `zone`, a table of `"A pbx.example"` -> list of records as zone files write them.

    `misbehave`: question, or type, or "*" -> what it does instead of answering. It may be changed at any time.
    """

    def __init__(self, zone: dict[str, list[str]], ttl: int = 300) -> None:
        self.zone = zone
        self.ttl = ttl
        self.misbehave: dict[str, str] = {}
        self.delay = 0.0
        """Seconds before each answer."""
        self.recursive = True
        """Follow aliases. A server that serves its own zones only leaves that to its client."""
        self.queries: list[str] = []
        """`A pbx.example`, in the order of arrival; those over TCP end in ` (tcp)`."""
        self._stopping = False
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._tcp.getsockname()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(self.address)
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def stop(self) -> None:
        """Close the port: from now on nobody is there."""
        if self._stopping:
            return
        self._stopping = True
        self._udp.sendto(b"", self.address)
        socket.create_connection(self.address).close()
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()

    def take(self) -> list[str]:
        """The queries since the last time, each once, in order."""
        taken, self.queries = self.queries, []
        return list(dict.fromkeys(taken))

    def _serve_udp(self) -> None:
        while True:
            data, source = self._udp.recvfrom(4096)
            if self._stopping:
                return
            answer = self._answer(data, tcp=False)
            if answer is not None:
                self._udp.sendto(answer, source)

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection:
                if self._stopping:
                    return
                length = int.from_bytes(connection.recv(2), "big")
                answer = self._answer(connection.recv(length), tcp=True)
                if answer is not None:
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, data: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(data)
        name, rrtype = query.question[0].name.to_text(omit_final_dot=True).lower(), query.question[0].rdtype.name
        asked = f"{rrtype} {name}"
        self.queries.append(asked + (" (tcp)" if tcp else ""))
        what = self.misbehave.get(asked) or self.misbehave.get(rrtype) or self.misbehave.get("*")
        time.sleep(self.delay)
        if what == SILENT:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if what == TRUNCATED and not tcp:
            response.flags |= dns.flags.TC
        elif what in (SERVFAIL, REFUSED, NOTIMP):
            response.set_rcode(dns.rcode.from_text(what))
        else:
            self._fill(response, name, rrtype)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, rrtype: str) -> None:
        records = self.zone.get(f"{rrtype} {name}")
        alias = self.zone.get(f"CNAME {name}")
        for _ in range(8):  # as a recursive server does
            if records or not alias:
                break
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", *alias))
            if not self.recursive:
                return
            name = alias[0].rstrip(".").lower()
            records, alias = self.zone.get(f"{rrtype} {name}"), self.zone.get(f"CNAME {name}")
        if records:
            # One set for each: within a set dnspython shuffles what it sends.
            response.answer += [dns.rrset.from_text(f"{name}.", self.ttl, "IN", rrtype, record) for record in records]
            return
        if not any(question.partition(" ")[2] == name for question in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", SOA))
