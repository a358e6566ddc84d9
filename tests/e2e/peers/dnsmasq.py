"""dnsmasq as the site's name server: it knows what the test says, and asks nobody."""

from __future__ import annotations

from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.e2e.peers.process import Program, free_port, wait_until


class Dnsmasq(Program):
    """`records` are dnsmasq's own options, without the dashes: `srv-host=_sip._udp.name,target,port,priority,weight`."""

    def __init__(self, folder: Path, *records: str, ttl: int = 60) -> None:
        self.address = "127.0.0.1"
        self.port = free_port()
        options = ["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-daemon",
                   "--log-queries"]
        options += [f"--port={self.port}", f"--listen-address={self.address}", "--bind-interfaces", f"--local-ttl={ttl}"]
        options += ["--local=/test/", "--user=root", *(f"--{record}" for record in records)]
        super().__init__("dns", ["dnsmasq", *options], folder)

    def start(self) -> None:
        super().start()
        wait_until(self._answers, "dnsmasq starts")

    def _answers(self) -> bool:
        assert self.running, f"dnsmasq could not start:\n{self.text()}"
        try:
            dns.query.udp(dns.message.make_query("anything.test", "A"), self.address, port=self.port, timeout=0.5)
        except (dns.exception.DNSException, OSError):
            return False
        return True
