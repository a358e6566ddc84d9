"""Telling systemd how we are: ready, reloading, stopping, alive (sd_notify(3), systemd.service(5) WatchdogSec).

Without systemd, that is without NOTIFY_SOCKET, everything here does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from sbc.clock import Clock, Delayed


class Systemd:
    """The service manager that started us, if any."""

    def __init__(self, environment: Mapping[str, str] | None = None, pid: int | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog_interval = _watchdog_interval(environment, os.getpid() if pid is None else pid)
        self._next_sign: Delayed | None = None

    @property
    def watchdog_interval(self) -> float:
        """Seconds between two signs of life: half of what systemd allows. 0: it does not watch."""
        return self._watchdog_interval

    def ready(self, text: str = "") -> None:
        """We serve phones from now on."""
        self._send("READY=1", _status(text))

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        self._send("RELOADING=1")

    def stopping(self, text: str = "") -> None:
        """We end what is under way and then stop."""
        self._send("STOPPING=1", _status(text))

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        self._send(_status(text))

    def keep_alive(self, clock: Clock) -> None:
        """Give a sign of life now and from then on; the clock is the one that runs everything, so they stop with it."""
        if self._watchdog_interval:
            self._send("WATCHDOG=1")
            self._next_sign = clock.callLater(self._watchdog_interval, self.keep_alive, clock)

    def stop_signs(self) -> None:
        """No more signs of life: the process is about to end."""
        if self._next_sign is not None and self._next_sign.active():
            self._next_sign.cancel()
        self._next_sign = None

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(line for line in lines if line).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notices:
            notices.setblocking(False)
            try:
                notices.connect(address)
                notices.send(message)
            except OSError:
                # The service manager is gone or its queue is full. The calls matter more; a missed sign of life is
                # followed by another long before the watchdog bites.
                pass


def _status(text: str) -> str:
    return "STATUS=" + text.replace("\n", " ") if text else ""


def _watchdog_interval(environment: Mapping[str, str], pid: int) -> float:
    # WATCHDOG_PID: the variables may have been inherited from a parent that systemd watches.
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return 0.0
    allowed = environment.get("WATCHDOG_USEC", "")
    return int(allowed) / 1_000_000 / 2 if allowed.isdigit() else 0.0
