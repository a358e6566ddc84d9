"""What is really on the wire: packets on loopback, taken by tshark, told as lines as in tests/bulletins/wire.py."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e.peers.process import Program, wait_until

_FIELDS = (
    "frame.time_epoch", "udp.srcport", "udp.dstport", "sip.Method", "sip.Status-Code", "sip.CSeq.method", "sip.Expires",
    "sip.contact.parameter", "sip.to.user", "dns.flags.response", "dns.qry.type", "dns.qry.name",
)  # fmt: skip
_QUESTION_TYPES = {"1": "A", "28": "AAAA", "33": "SRV", "35": "NAPTR"}


def can_capture() -> bool:
    """tshark is there, and may listen on loopback."""
    return shutil.which("tshark") is not None


class Capture(Program):
    """tshark at work. `names`: UDP port -> who has it; the appliance is `sbc`, the name server `dns`."""

    def __init__(self, folder: Path, names: Mapping[int, str]) -> None:
        self._names = names
        self._began = 0.0
        arguments = ["tshark", "-i", "lo", "-l", "-n", "-f", " or ".join(f"udp port {port}" for port in names)]
        arguments += ["-T", "fields", "-E", "separator=|", "-E", "occurrence=f"]
        for port, name in names.items():
            arguments += ["-d", f"udp.port=={port},{'dns' if name == 'dns' else 'sip'}"]
        for field in _FIELDS:
            arguments += ["-e", field]
        super().__init__("capture", arguments, folder)

    def start(self) -> None:
        super().start()

        def listening() -> bool:
            assert self.running, f"tshark could not start:\n{self.text()}"
            return "Capturing on" in self.text()

        wait_until(listening, "tshark listens", 30)
        time.sleep(0.5)  # it says so a moment before it does
        self.begin()

    def begin(self) -> None:
        """Now is second 0."""
        self._began = time.time()

    def seen(self, *whats: str, peers: tuple[str, ...] = ()) -> list[tuple[float, str]]:
        """What went to and fro between the appliance and those peers since `begin`: seconds and `INVITE > primary`.

        `whats`: methods, whose answers are told as well, or record types.
        """
        chosen = self._chosen(whats, peers)
        return [(at, message) for at, message, _ in chosen]

    def seen_by_account(self, *whats: str) -> dict[str, list[tuple[float, str]]]:
        """The same for each account: by the user in To."""
        found: dict[str, list[tuple[float, str]]] = {}
        for at, message, account in self._chosen(whats):
            found.setdefault(account, []).append((at, message))
        return found

    def _chosen(self, whats: tuple[str, ...], peers: tuple[str, ...] = ()) -> Iterator[tuple[float, str, str]]:
        self._catch_up()
        for line in self.text().splitlines():
            fields = line.split("|")
            if len(fields) != len(_FIELDS):
                continue
            at = float(fields[0]) - self._began
            told = self._told(fields)
            if at >= 0 and told is not None and (not whats or told[1] in whats) and (not peers or told[2] in peers):
                yield at, f"{told[0]} {told[3]} {told[2]}", fields[_FIELDS.index("sip.to.user")]

    def _catch_up(self) -> None:
        """tshark works a second behind: send a packet that nobody minds, and wait until it is seen."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marker:
            target = next(port for port, name in self._names.items() if name == "sbc")
            marker.sendto(b"\r\n\r\n", ("127.0.0.1", target))
            sent_from = f"|{marker.getsockname()[1]}|{target}|"
            wait_until(lambda: sent_from in self.text(), "tshark has seen the last packet", 10)

    def _told(self, fields: list[str]) -> tuple[str, str, str, str] | None:
        """What it is, the method or type by which it is chosen, the peer, and the direction."""
        _, source, target, method, status, cseq_method, expires, parameter, _, is_response, kind, question = fields
        one, other = (self._names.get(int(port or 0), "") for port in (source, target))
        if "sbc" not in (one, other) and "dns" not in (one, other):
            return None
        arrow, peer = ("<", one) if other == "sbc" or one == "dns" else (">", other)
        if kind and is_response in ("0", "False"):
            rrtype = _QUESTION_TYPES.get(kind, kind)
            return f"{rrtype} {question}", rrtype, "dns", ">"
        if status:
            return f"{status} {cseq_method}", cseq_method, peer, arrow
        if method:
            removes = method == "REGISTER" and (expires == "0" or parameter == "expires=0")
            return ("de-" if removes else "") + method, method, peer, arrow
        return None


def assert_story(expected: str, seen: list[tuple[float, str]], tolerance: float = 0.4) -> None:
    """The same messages in the same order, each within `tolerance` seconds of its time. `expected` as `wire.lines` has it.
    """
    told = "\n".join(f"{at:7.2f} {what}" for at, what in seen)
    wanted = [line.split(maxsplit=1) for line in expected.splitlines() if line.strip()]
    assert [" ".join(what.split()) for _, what in wanted] == [what for _, what in seen], told
    for (at, what), (really_at, _) in zip(wanted, seen, strict=True):
        assert abs(float(at) - really_at) <= tolerance, f"{what} expected at {at}:\n{told}"
