"""dnsmasq as the site's DNS server: real packets, and a log of every query."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.process import Program, free_port, wait_until

_BASIC = """\
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
no-daemon
user=root
pid-file=
log-queries
log-facility=-
local=/test/
"""
"""It knows nothing but what a test tells it, and asks nobody: all names end in .test."""


class Dnsmasq(Program):
    """Answers with the records that it is given, as lines of its configuration; `configure` starts it anew with others.

    Its answers have TTL 0 unless the lines say `local-ttl=N`.
    """

    def __init__(self, folder: Path, records: Sequence[str], name: str = "dnsmasq") -> None:
        self.port = free_port()
        self._file = folder / f"{name}.conf"
        self._write(records)
        super().__init__(name, ["dnsmasq", "-k", "-C", str(self._file)], folder)

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        super().start()
        wait_until(self._is_there, "dnsmasq answers")

    def configure(self, records: Sequence[str]) -> None:
        self._write(records)
        if self.running:
            self.kill()
        self.start()

    def queries(self) -> list[str]:
        """`NAPTR pbx.test`: all that were received so far, each once, in order."""
        found = re.findall(r"query\[(\w+)\] (\S+) from", self.text())
        return list(dict.fromkeys(f"{rrtype} {name.lower()}" for rrtype, name in found if name != "there.test"))

    def _write(self, records: Sequence[str]) -> None:
        self._file.write_text(f"port={self.port}\n{_BASIC}" + "\n".join(records) + "\n")

    def _is_there(self) -> bool:
        query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05there\x04test\x00\x00\x01\x00\x01"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
            endpoint.settimeout(0.2)
            endpoint.connect(("127.0.0.1", self.port))
            try:
                endpoint.send(query)
                return endpoint.recv(512)[:2] == b"\x12\x34"
            except OSError:
                return False
