"""Our own link, our uplink, or the servers: real interfaces, in network namespaces that the test makes (V20, D33, V4).

`site` is the appliance's network: a loopback and one link. `beyond` is at its other end: the gateway, and the servers behind
it. Nothing leaves the two.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.e2e.peers.appliance import QUICK_PROBES, configuration, sbc_command
from tests.e2e.peers.process import Program, wait_until

GATEWAY, OURS = "10.99.0.1", "10.99.0.2"
SERVERS = {"primary": "10.98.0.1", "fallback": "10.98.0.2"}
PORT = 5060  # each namespace has all ports to itself
HTTP_PORT = 9464

pytestmark = pytest.mark.skipif(
    subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0  # noqa: S607
    if shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")
    else True,
    reason="this system does not let us make network namespaces",
)

SERVER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, source = sock.recvfrom(65535)
    lines = data.decode().split("\\r\\n")
    kept = [l for l in lines if l.lower().startswith(("via:", "from:", "call-id:", "cseq:"))]
    to = [l + ";tag=x" for l in lines if l.lower().startswith("to:")]
    try:
        sock.sendto("\\r\\n".join(["SIP/2.0 200 OK", *kept, *to, "Content-Length: 0", "", ""]).encode(), source)
    except OSError:
        pass  # no way back
"""
"""A server that is well: 200 to everything."""

GET = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=5).read())"


class Namespace(Program):
    """A network of its own, for as long as this process lives."""

    def __init__(self, name: str, folder: Path, inside: Namespace | None = None) -> None:
        self._user = inside or self
        enter = inside.enter if inside else []
        unshare = ["unshare", "-n"] if inside else ["unshare", "-rn"]
        super().__init__(name, [*enter, *unshare, "sleep", "600"], folder)

    def start(self) -> None:
        super().start()
        of_test = os.readlink("/proc/self/ns/net")
        of_outer = of_test if self._user is self else os.readlink(f"/proc/{self._user.pid}/ns/net")

        def is_there() -> bool:
            return os.readlink(f"/proc/{self.pid}/ns/net") not in (of_test, of_outer)

        wait_until(is_there, f"the namespace {self.name}")
        # The process is `sleep` by then: between `unshare` and that, its maps of users may not be written yet.
        wait_until(lambda: Path(f"/proc/{self.pid}/comm").read_text().strip() == "sleep", f"{self.name} sleeps")

    @property
    def enter(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-U", "-n", "--preserve-credentials"]

    def run(self, *command: str) -> str:
        done = subprocess.run([*self.enter, *command], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def ip(self, command: str) -> None:
        self.run("ip", *command.split())


class Site:
    """Two namespaces, two servers and an appliance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Program] = []
        self.site = self._start(Namespace("site", folder))
        self.beyond = self._start(Namespace("beyond", folder, self.site))
        self.site.ip("link set lo up")
        self.beyond.ip("link set lo up")
        self.site.ip("link add up0 type veth peer name up1")
        self.site.ip(f"link set up1 netns {self.beyond.pid}")
        self.site.ip(f"addr add {OURS}/24 dev up0")
        self.beyond.ip(f"addr add {GATEWAY}/24 dev up1")
        for address in SERVERS.values():
            self.beyond.ip(f"addr add {address}/32 dev lo")
        self.beyond.ip("link set up1 up")
        self.link_up()
        # A neighbour is believed to be there for half a minute after its last sign; here a second, so that the test is short.
        for name, milliseconds in (("base_reachable_time_ms", 1000), ("retrans_time_ms", 200)):
            self.site.run("sh", "-c", f"echo {milliseconds} > /proc/sys/net/ipv4/neigh/up0/{name}")
        self.site.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/neigh/up0/delay_first_probe_time")
        self.servers = {
            name: self._start(
                Program(name, [*self.beyond.enter, sys.executable, "-c", SERVER, address, str(PORT)], folder)
            )
            for name, address in SERVERS.items()
        }

    def _start(self, program):
        self.started.append(program)
        program.start()
        return program

    def link_up(self) -> None:
        self.site.ip("link set up0 up")
        self.site.ip(f"route add default via {GATEWAY}")

    def start_sbc(self, workers: int = 1, group: str = "", server: str = 'failback_mode = "probe"') -> Program:
        self.file = self.folder / "sbc.toml"
        servers = [SimpleNamespace(name=name, address=address, port=PORT) for name, address in SERVERS.items()]
        self.file.write_text(
            configuration(
                folder=self.folder, listens={"0.0.0.0": PORT}, http_port=HTTP_PORT, servers=servers,
                group=f"{QUICK_PROBES}\n{group}", server=server, workers=workers,
            )
        )  # fmt: skip
        self.sbc = self._start(Program("sbc", [*self.site.enter, *sbc_command(self.file)], self.folder))
        wait_until(lambda: "sbc ready:" in self.sbc.log.read_text(), "sbc is ready", 30)
        self.wait_for(["up*", "up"], "up")
        return self.sbc

    def get(self, path: str) -> str:
        return self.site.run(sys.executable, "-S", "-c", GET, f"http://127.0.0.1:{HTTP_PORT}{path}")

    def seen(self) -> tuple[list[str], str]:
        """State of each candidate, `*` behind the one in use, and the state of the network."""
        status = json.loads(self.get("/status.json"))
        candidates = [c for group in status["groups"] for server in group["servers"] for c in server["candidates"]]
        return [c["state"] + "*" * c["working"] for c in candidates], status["network"]["state"]

    def wait_for(self, candidates: list[str], network: str) -> None:
        wait_until(lambda: self.seen() == (candidates, network), f"{candidates} {network}", 20)

    def metric(self, beginning: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in self.get("/metrics").splitlines() if line.startswith(beginning))

    def moves(self) -> float:
        return self.metric("sbc_failovers_total") + self.metric("sbc_failbacks_total")

    def close(self) -> None:
        for program in reversed(self.started):
            program.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site.__new__(Site)
    made.started = []
    try:
        made.__init__(tmp_path)
        yield made
    finally:
        Site.close(made)
    log = tmp_path / "sbc.log"
    assert not log.exists() or "Traceback" not in log.read_text()


def test_v20_our_link_goes_down_and_comes_back(site: Site) -> None:
    """V20: frozen on the server in use while the link is down, and afterwards as if nothing had happened; in all workers."""
    site.start_sbc(workers=2)
    site.site.ip("link set up0 down")
    site.wait_for(["frozen*", "frozen"], "link_down")
    time.sleep(3)  # more probes than would make a server down
    assert site.seen() == (["frozen*", "frozen"], "link_down")
    site.link_up()
    site.wait_for(["up*", "up"], "up")

    # The cable is pulled at the other end: our interface stays switched on and has nothing to carry.
    site.beyond.ip("link set up1 down")
    site.wait_for(["frozen*", "frozen"], "link_down")
    site.beyond.ip("link set up1 up")
    site.wait_for(["up*", "up"], "up")
    time.sleep(2)
    assert site.seen() == (["up*", "up"], "up")
    assert site.moves() == 0
    assert site.metric('sbc_network_state{state="up"}') == 1
    assert site.metric('sbc_network_state_changes_total{state="link_down"}') == 2
    assert site.sbc.log.read_text().count("our own link is down") == 2


def test_d33_the_servers_or_the_uplink(site: Site) -> None:
    """Silent servers behind a gateway that is there are dead servers. When the gateway is silent too, it is the uplink: they
    are down, but the primary is still the one that is preferred, and so it is afterwards."""
    site.start_sbc()
    site.beyond.ip(f"addr del {GATEWAY}/24 dev up1")
    site.wait_for(["down*", "down"], "uplink_down")
    assert site.metric('sbc_network_state{state="uplink_down"}') == 1
    site.beyond.ip(f"addr add {GATEWAY}/24 dev up1")
    site.wait_for(["up*", "up"], "up")
    assert site.metric("sbc_failbacks_total") == 0

    site.servers["primary"].freeze()
    site.wait_for(["down", "up*"], "up")
    site.servers["fallback"].freeze()
    site.wait_for(["down", "down*"], "up")
    time.sleep(2)
    assert site.seen() == (["down", "down*"], "up")


def test_sbc_failback(site: Site) -> None:
    """New requests return when the administrator says so, and not before; the command tells what it did."""
    site.start_sbc(workers=2, server='failback_mode = "manual"')
    command = [sys.executable, "-m", "sbc", "failback", "-c", str(site.file)]

    def fail_back(*arguments: str) -> subprocess.CompletedProcess[str]:
        # A file, not a port: it is reached from any network of the machine.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=20, check=False, env=environment
        )

    nothing = fail_back("office")
    assert (0, "") == (nothing.returncode, nothing.stderr)
    assert nothing.stdout.startswith("office: new requests go to the best server already, primary (10.98.0.1:5060;udp) for ")
    site.servers["primary"].stop()
    site.wait_for(["down", "up*"], "up")
    down = fail_back("office")
    assert down.returncode == 1
    assert "stay at fallback (10.98.0.2:5060;udp): primary (10.98.0.1:5060;udp) is down for " in down.stderr
    site.servers["primary"].start()
    site.wait_for(["up", "up*"], "up")
    time.sleep(2)
    assert site.seen()[0] == ["up", "up*"]
    done = fail_back()
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("office: new requests go to primary (10.98.0.1:5060;udp) from now on; calls under way stay at")
    assert site.seen()[0] == ["up*", "up"]
    assert site.metric('sbc_failbacks_total{cause="manual"') == 1
    unknown = fail_back("lobby")
    assert (1, "there is no group lobby, only office\n") == (unknown.returncode, unknown.stderr)
    site.sbc.stop()
    gone = fail_back()
    assert gone.returncode == 1 and gone.stderr.startswith("sbc: not running:")
