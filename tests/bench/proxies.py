"""The two proxies under measurement, each in front of the same two call servers."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.cpu import Usage, usage
from tests.e2e.peers.appliance import configuration, sbc_command
from tests.e2e.peers.process import Program, at, free_port, wait_until
from tests.e2e.peers.sipp import Sipp
from tests.e2e.peers.sockets import answers_options

HERE = Path(__file__).parent
ADDRESS = "127.0.0.1"


class Proxy(Program):
    """A proxy that can be asked what it has used."""

    port: int

    def usage(self) -> Usage:
        return usage(self.pid)


class KamailioProxy(Proxy):
    """Kamailio with kamailio.cfg of this folder."""

    def __init__(self, folder: Path, servers: list[Sipp]) -> None:
        self.port = free_port()
        uris = [f"sip:{at(server.address, server.port)}" for server in servers]
        dispatcher = folder / "dispatcher.list"
        # Set, URI, flags, priority.
        dispatcher.write_text("".join(f"1 {uri} 0 {10 - rank}\n" for rank, uri in enumerate(uris)))
        arguments = ["kamailio", "-f", str(HERE / "kamailio.cfg"), "-DD", "-E", "-m", "512", "-M", "16"]
        arguments += ["-Y", str(folder), "-l", f"udp:{ADDRESS}:{self.port}"]
        for define in (f'SERVERS="{dispatcher}"', f'FIRST="{uris[0]}"', f'SECOND="{uris[1]}"'):
            arguments += ["-A", define]
        super().__init__("kamailio", arguments, folder)

    def start(self) -> None:
        super().start()

        def answers() -> bool:
            assert self.running, f"Kamailio could not start:\n{self.text()[-3000:]}"
            return answers_options(ADDRESS, self.port)

        wait_until(answers, "Kamailio starts")


class SbcProxy(Proxy):
    """`sbc run` with its defaults, and a state folder of its own."""

    def __init__(self, folder: Path, servers: list[Sipp]) -> None:
        self.port = free_port()
        file = folder / "sbc.toml"
        file.write_text(configuration(
            folder=folder, listens={ADDRESS: self.port}, http_port=free_port(), servers=servers, group="",
        ))
        super().__init__("sbc", sbc_command(file), folder)
        self.startup_seconds = 0.0

    def start(self) -> None:
        """Start, and remember how long it took until it was ready for phones."""
        already = self.text().count("sbc ready:")
        started = time.monotonic()
        super().start()
        while self.text().count("sbc ready:") == already:
            assert self.running, f"sbc could not start:\n{self.text()[-3000:]}"
            assert time.monotonic() < started + 60, "sbc did not become ready within 60 s"
            time.sleep(0.002)
        self.startup_seconds = time.monotonic() - started
