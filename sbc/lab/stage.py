"""What the demo plays on: `sbc run` and two call servers as processes, phones in this one, all on 127.0.0.1.

Ports are free ones, files live in a temporary folder. The appliance gets an ordinary configuration; only the return
to a server that was down is faster than anyone's in earnest: seconds, not minutes.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread

from sbc.lab import server
from sbc.lab.child import Child
from sbc.lab.endpoint import Address, free_port, listen
from sbc.lab.phone import Phone
from sbc.sip.digest import ha1
from sbc.sip.uri import format_host_port

HOST = "127.0.0.1"
DOMAIN = "office.example"
PASSWORDS = {"alice": "wonderland", "bob": "builder", "carol": "christmas"}
LINES = ("alice", "bob")
"""The phones behind the appliance. Carol is elsewhere: she calls in from outside."""

RETRY_COUNTS = 3
PROBE_INTERVAL = 30
PROBE_INTERVAL_DOWN = 1
RISE = 2
FAILBACK_HOLD = 2

_PATIENCE = 3.0  # seconds that the appliance may take to stop

_CONFIGURATION = """\
[appliance]
name = "demo"
state_dir = "{state_dir}"

[[listen]]
transport = "udp"
address = "{host}"
port = {sip_port}

[http]
address = "{host}"
port = {http_port}

[credentials]
file = "{credentials}"

[[group]]
name = "office"
domains = ["{domain}"]
profile = "recommended"
probe_interval = {probe_interval}
probe_interval_down = {probe_interval_down}
probe_timeout = 1
rise = {rise}
failback_hold = {failback_hold}
flap_damping = false                # what dies twice within five minutes here is meant to

  [[group.server]]
  name = "primary"
  address = "{host}"
  port = {primary_port}
  transport = "udp"
  retry_counts = {retry_counts}

  [[group.server]]
  name = "fallback"
  address = "{host}"
  port = {fallback_port}
  transport = "udp"
  retry_counts = {retry_counts}
"""

# -P: a folder named sbc in the current one, a clone for example, is not this program.
_PYTHON = (sys.executable, "-P")


class Stage:
    """The whole installation. `sbc_command` is what runs the appliance; the configuration file is appended to it."""

    def __init__(self, reactor, folder: Path, sbc_command: Sequence[str] | None = None) -> None:
        self.reactor = reactor
        self.folder = folder
        self.sbc_address: Address = (HOST, free_port(socket.SOCK_DGRAM))
        self.addresses: dict[str, Address] = {
            name: (HOST, free_port(socket.SOCK_DGRAM)) for name in ("primary", "fallback")
        }
        self._http_port = free_port(socket.SOCK_STREAM)
        self.status_page = f"http://{HOST}:{self._http_port}/"
        self._sbc_command = sbc_command or (*_PYTHON, "-m", "sbc", "run", "-c")
        self.children: dict[str, Child] = {}
        self.phones: dict[str, Phone] = {}

    # -- the appliance -----------------------------------------------------------------------------------------------

    def start_sbc(self) -> Deferred:
        """Start or restart it. Fires with its line "sbc ready: ..."."""
        return self._start("sbc", (*self._sbc_command, str(self._configuration())), "sbc ready:")

    def _configuration(self) -> Path:
        credentials = self.folder / "phones.htdigest"
        credentials.write_text(
            "".join(f"{user}:{DOMAIN}:{ha1(user, DOMAIN, PASSWORDS[user], 'MD5')}\n" for user in LINES)
        )
        credentials.chmod(0o600)
        state_dir = self.folder / "state"
        state_dir.mkdir(exist_ok=True)
        configuration = self.folder / "sbc.toml"
        configuration.write_text(
            _CONFIGURATION.format(
                host=HOST,
                domain=DOMAIN,
                state_dir=state_dir,
                credentials=credentials,
                sip_port=self.sbc_address[1],
                http_port=self._http_port,
                primary_port=self.addresses["primary"][1],
                fallback_port=self.addresses["fallback"][1],
                probe_interval=PROBE_INTERVAL,
                probe_interval_down=PROBE_INTERVAL_DOWN,
                rise=RISE,
                failback_hold=FAILBACK_HOLD,
                retry_counts=RETRY_COUNTS,
            )
        )
        return configuration

    def metrics(self) -> Deferred:
        """Scrape /metrics; fires with Metrics."""
        return deferToThread(_scrape, self.status_page + "metrics")

    # -- the call servers --------------------------------------------------------------------------------------------

    def start_server(self, name: str) -> Deferred:
        """Start or restart one. It finds its registrations in its file again, as a call server does in its database."""
        twin = self.addresses["fallback" if name == "primary" else "primary"]
        command = [*_PYTHON, "-m", "sbc.lab.server", "--realm", DOMAIN]
        command += ["--listen", format_host_port(*self.addresses[name]), "--also", format_host_port(*twin)]
        command += ["--bindings", str(self.folder / f"{name}.bindings")]
        for user, password in PASSWORDS.items():
            command += ["--user", f"{user}:{password}"]
        return self._start(name, command, server.READY)

    def server_at(self, path: Sequence[Address]) -> str:
        """Which call server stands in a call's way; "?" when it is none of ours."""
        for name, address in self.addresses.items():
            if address in path:
                return name
        return "?"

    # -- phones ------------------------------------------------------------------------------------------------------

    def plug_in(self, user: str, outbound_proxy: Address) -> Phone:
        phone = Phone(listen(self.reactor, HOST), user, DOMAIN, PASSWORDS[user], outbound_proxy)
        phone.answer_after = 0.1
        return phone

    def contacts_at(self, name: str, user: str) -> Deferred:
        """What that server itself says it knows of a user: asked directly, past the appliance."""
        return self.plug_in(user, self.addresses[name]).look_up()

    # -- processes ---------------------------------------------------------------------------------------------------

    def _start(self, name: str, command: Sequence[str], ready_mark: str) -> Deferred:
        child = Child(name, command, self.folder / f"{name}.log", ready_mark)
        self.children[name] = child
        child.start(self.reactor, {**os.environ, "PYTHONUNBUFFERED": "1"})
        return child.ready

    def clear(self) -> Deferred:
        """End every process that is still there: the appliance is asked, but not for long."""
        for phone in self.phones.values():
            phone.switch_off()
        ends = [child.terminate() if name == "sbc" else child.kill() for name, child in self.children.items()]
        if "sbc" in self.children:
            self.reactor.callLater(_PATIENCE, self.children["sbc"].kill)
        return DeferredList(ends)


class Metrics:
    """One scrape of the appliance."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name with these labels; 0 when there is none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )


def _scrape(url: str) -> Metrics:
    with urlopen(url, timeout=5) as answer:  # noqa: S310 (our own page)
        return Metrics(answer.read().decode())
