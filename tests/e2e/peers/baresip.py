"""baresip, a real phone, without a sound card; its files are templates in ../baresip."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import string
from pathlib import Path

from tests.e2e.peers.accounts import DOMAIN, password_of
from tests.e2e.peers.process import Program, free_port, wait_until

TEMPLATES = Path(__file__).parent.parent / "baresip"


class Baresip(Program):
    """A real phone without sound card, driven through baresip's control connection (netstrings of JSON)."""

    def __init__(
        self, name: str, folder: Path, proxy: str, *, address: str = "127.0.0.1", expires: int = 60, transport: str = "udp",
        ca: Path | None = None,
    ) -> None:  # fmt: skip
        home = folder / f"{name}.baresip"
        home.mkdir()
        self.address = address
        self.port = free_port(address)
        self._control_port = free_port()
        self._socket: socket.socket | None = None
        self._unread = b""
        self._seen: list[dict[str, object]] = []
        values = {
            "address": f"[{address}]" if ":" in address else address, "port": self.port, "control": self._control_port,
            "name": name, "domain": DOMAIN, "password": password_of(name), "expires": expires,
            "proxy": proxy if transport == "udp" else f"{proxy};transport={transport}",
            "tls": f"sip_cafile {ca}\nsip_verify_server yes" if ca is not None else "",
        }
        for part in ("config", "accounts", "contacts"):
            (home / part).write_text(string.Template((TEMPLATES / part).read_text()).substitute(values))
        super().__init__(name, ["baresip", "-v", "-f", str(home)], folder)

    def start(self) -> None:
        super().start()
        self._socket = wait_until(self._connect, f"baresip {self.name} opens its control port")

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        super().stop()

    def wait_event(self, kind: str, timeout: float = 10.0) -> dict[str, object]:
        """The next event of this type (REGISTER_OK, CALL_ESTABLISHED, CALL_CLOSED ...), also one that came before."""
        def take() -> dict[str, object] | None:
            self._read()
            for message in self._seen:
                if message.get("event") and message.get("type") == kind:
                    self._seen.remove(message)
                    return message
            return None
        return wait_until(take, f"baresip {self.name}: {kind}", timeout)

    def forget_events(self) -> None:
        """Events so far are none of the following steps' business."""
        self._read()
        self._seen.clear()

    def command(self, command: str, parameters: str = "") -> dict[str, object]:
        """Type a command at the phone; returns its response."""
        assert self._socket is not None
        token = random.randbytes(4).hex()
        data = json.dumps({"command": command, "params": parameters, "token": token}).encode()
        self._socket.sendall(b"%d:%s," % (len(data), data))
        def response() -> dict[str, object] | None:
            self._read()
            return next((message for message in self._seen if message.get("token") == token), None)
        return wait_until(response, f"baresip {self.name} answers {command!r}")

    def wait_registered(self, timeout: float = 20.0) -> None:
        """Wait for the registration that the phone makes by itself when it starts.

        By its log: the event may come before the control connection exists.
        """
        registered = re.compile(r"} 200 OK .*\[1 binding\]")
        wait_until(lambda: registered.search(self.text()), f"baresip {self.name} is registered", timeout)

    def dial(self, name: str, timeout: float = 10.0) -> None:
        """Call an extension and wait until it has answered."""
        self.forget_events()
        self.command("dial", f"sip:{name}@{DOMAIN}")
        self.wait_event("CALL_ESTABLISHED", timeout)

    def hang_up(self, timeout: float = 40.0) -> None:
        """End the call and wait until the phone thinks so too."""
        self.command("hangup")
        self.wait_event("CALL_CLOSED", timeout)

    def _connect(self) -> socket.socket | None:
        assert self.running, f"baresip {self.name} ended; see {self.log}"
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", self._control_port))
        return None

    def _read(self) -> None:
        assert self._socket is not None
        self._socket.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            while data := self._socket.recv(65535):
                self._unread += data
        while (match := re.match(rb"(\d+):", self._unread)) and len(self._unread) > match.end() + int(match[1]):
            end = match.end() + int(match[1])
            self._seen.append(json.loads(self._unread[match.end():end]))
            self._unread = self._unread[end + 1:]
