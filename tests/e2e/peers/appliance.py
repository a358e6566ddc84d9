"""`sbc run` as one more program, known by its configuration file, its log and its metrics page only."""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import prometheus_client.parser

from tests.e2e.peers.accounts import DOMAIN, password_of
from tests.e2e.peers.process import Program, at, wait_until


class CallServer(Protocol):
    """What a configuration needs to know of a server."""

    name: str
    address: str
    port: int


def sbc_command(configuration: Path) -> list[str]:
    """How the appliance is started from this clone."""
    return [sys.executable, "-P", "-m", "sbc", "run", "-c", str(configuration)]


class Sbc(Program):
    """`sbc run` with a configuration of its own in the test's folder."""

    def __init__(self, folder: Path, configuration: str, listens: dict[str, int], http_port: int) -> None:
        self._listens = listens
        self.address, self.port = next(iter(listens.items()))
        file = folder / "sbc.toml"
        file.write_text(configuration)
        self._http = f"http://127.0.0.1:{http_port}"
        super().__init__("sbc", sbc_command(file), folder)

    def proxy(self, address: str = "127.0.0.1") -> str:
        """What a phone at this address gets as its outbound proxy."""
        return at(address, self._listens[address])

    def start(self) -> None:
        already = self.text().count("sbc ready:")
        super().start()
        def ready() -> bool:
            assert self.running, f"sbc could not start:\n{self.text()[-3000:]}"
            return self.text().count("sbc ready:") > already
        wait_until(ready, "sbc says that it is ready", 40)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self._http + path, timeout=5) as answer:
            return answer.read().decode()

    def status(self) -> dict[str, object]:
        return json.loads(self.get("/status.json"))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 when there are none."""
        total = 0.0
        for family in prometheus_client.parser.text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def working_server(self) -> str | None:
        """The name of the server that gets new requests now, by the metrics."""
        for family in prometheus_client.parser.text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                if sample.name == "sbc_working_server" and sample.value == 1:
                    return sample.labels["server"]
        return None


QUICK_PROBES = """\
probe_interval = 1
probe_interval_down = 1
probe_timeout = 1
fall = 2
rise = 2
failback_hold = 1"""
"""So that no test waits long for a server to be believed in."""

RARE_PROBES = """\
probe_interval = 3600
probe_interval_down = 3600"""
"""So that calls find out for themselves."""


def htdigest_line(name: str, digest: str, realm: str = DOMAIN) -> str:
    """One account of the credentials file."""
    account = f"{name}:{realm}"
    return f"{account}:{hashlib.new(digest, f'{account}:{password_of(name)}'.encode()).hexdigest()}\n"


def configuration(
    *,
    folder: Path,
    listens: dict[str, int],
    http_port: int,
    servers: Sequence[CallServer],
    accounts: tuple[str, ...] = (),
    group: str = QUICK_PROBES,
    server: str = "",
    workers: int = 1,
    registration: str = "concurrent",
) -> str:
    """A configuration with one group; `group` and `server` are further lines of the group and of each server."""
    lines = ["[appliance]", 'name = "end-to-end"', f'state_dir = "{folder}/state"', f"workers = {workers}"]
    for address, port in listens.items():
        lines += ["[[listen]]", 'transport = "udp"', f'address = "{address}"', f"port = {port}"]
    lines += ["[http]", 'address = "127.0.0.1"', f"port = {http_port}"]
    lines += ["[[group]]", 'name = "office"', f'domains = ["{DOMAIN}"]']
    lines += [f'registration = "{registration}"'] if registration else []
    lines += [group]
    for entry in servers:
        lines += ["[[group.server]]", f'name = "{entry.name}"', f'address = "{entry.address}"', f"port = {entry.port}",
                  'transport = "udp"', server]
    if accounts:
        credentials = folder / "phones.htdigest"
        known = [htdigest_line(name, digest) for name in accounts for digest in ("md5", "sha256")]
        credentials.write_text("".join(known))
        lines += ["[credentials]", f'file = "{credentials}"']
    return "\n".join(lines) + "\n"
