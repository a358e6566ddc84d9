"""Kamailio as a call server, configured by ../kamailio/registrar.cfg."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
from pathlib import Path

from tests.e2e.peers.accounts import DOMAIN
from tests.e2e.peers.process import Program, at, free_port, wait_until
from tests.e2e.peers.sockets import answers_options

CONFIGURATION = Path(__file__).parent.parent / "kamailio/registrar.cfg"
TABLES = Path("/usr/share/kamailio/db_sqlite")


class Kamailio(Program):
    """A registrar and record-routing proxy of the ordinary kind (kamailio/registrar.cfg).

    `streams`: also by TCP at the same port; with a certificate and its key, by TLS at the port above. `more_addresses`: there
    too. `longest`: seconds that it grants at most. `more_realms`: it serves the domain realms.local too, with this realm, and
    trusted.local; REGISTERs for that one need no password if it is `trusting`. `forgetful`: a crash loses the registrations;
    else SQLite refuses one that comes while another is written. `paths`: its path_mode; None: it takes no notice of Path.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        more_addresses: tuple[str, ...] = (),
        streams: bool = False,
        certificate: tuple[Path, Path] | None = None,
        algorithm: str = "MD5",
        challenge_calls: bool = True,
        any_domain: bool = False,
        forgetful: bool = False,
        longest: int = 3600,
        more_realms: str = "",
        trusting: bool = False,
        paths: int | None = None,
        shares_dialogs_of: tuple[str, int] | None = None,
    ) -> None:
        self.address = address
        self.port = free_port(address)
        self._control = f"unix:{folder / name}.control"
        memory = folder / f"{name}.sqlite3"
        with contextlib.closing(sqlite3.connect(memory)) as tables:
            for part in ("standard", "usrloc"):
                tables.executescript((TABLES / f"{part}-create.sql").read_text())
        addresses = (address, *more_addresses)
        options = [option for each in addresses for option in ("-l", f"udp:{at(each, self.port)}")]
        if streams:
            options += ["-A", "STREAMS", *(o for each in addresses for o in ("-l", f"tcp:{at(each, self.port)}"))]
        if certificate is not None:
            settings = folder / f"{name}.tls.cfg"
            settings.write_text(
                "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\n"
                f"certificate = {certificate[0]}\nprivate_key = {certificate[1]}\n"
                "[client:default]\nmethod = TLSv1.2+\nverify_certificate = no\n"
            )
            options += ["-A", f'TLS_SETTINGS="{settings}"']
            options += [option for each in addresses for option in ("-l", f"tls:{at(each, self.port + 1)}")]
        for define in (
            f'REALM="{DOMAIN}"',
            f'ALGORITHM="{algorithm}"',
            f'CONTROL="{self._control}"',
            *([] if forgetful else [f'MEMORY="sqlite://{memory}"']),
            *(["CHALLENGE_CALLS"] if challenge_calls else []),
            *(["ANY_DOMAIN"] if any_domain else []),
            f"LONGEST={longest}",
            *([f'MORE_REALMS="{more_realms}"'] if more_realms else []),
            *(["TRUSTING"] if trusting else []),
            *([] if paths is None else [f"PATHS={paths}"]),
        ):
            options += ["-A", define]
        if shares_dialogs_of is not None:
            options += ["--alias", f"udp:{at(*shares_dialogs_of)}"]
        super().__init__(
            name,
            ["kamailio", "-f", str(CONFIGURATION), "-DD", "-E", "-m", "64", "-M", "8", "-Y", str(folder)]
            + options,
            folder,
        )

    def start(self) -> None:
        super().start()
        wait_until(self._answers, f"{self.name} starts")

    def _answers(self) -> bool:
        assert self.running, f"{self.name} could not start; see {self.log}"
        return answers_options(self.address, self.port)

    def ask(self, *command: str) -> str:
        """The answer to a kamcmd command."""
        asked = subprocess.run(
            ["kamcmd", "-s", self._control, *command],
            env=self._environment, capture_output=True, text=True, timeout=5, check=True,
        )
        return asked.stdout

    def contacts(self, name: str) -> list[str]:
        """The contact addresses registered here for an account."""
        return self.all_contacts().get(name, [])

    def all_contacts(self) -> dict[str, list[str]]:
        """The contact addresses registered here, by account."""
        found: dict[str, list[str]] = {}
        owner = ""
        for line in self.ask("ul.dump").splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "AoR":
                owner = value
            elif key == "Address":
                found.setdefault(owner, []).append(value)
        return found

    def received(self, method: str) -> list[str]:
        """The log lines of the requests of this method that have reached the server, over all its lives."""
        return re.findall(rf"request {method} .*", self.text())
