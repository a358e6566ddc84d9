"""Processes that a test owns, the ports they get, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[3]


def wait_until(condition: Callable[[], object], what: str, timeout: float = 20.0) -> object:
    """The first true value of `condition`, or an AssertionError that says what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: did not happen within {timeout:g} s")
        time.sleep(0.02)


_given_ports: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP, and the one above it too (baresip opens TLS there).

    Below the range from which the system takes the ports of outgoing connections, so that a killed server finds its
    port free when it comes back.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Each process of pytest-xdist has ports of its own: nothing keeps a port free until the peer that will use it is there.
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = random.randrange(20000 + 2 * process, 32000, 2 * processes)
        if port in _given_ports:
            continue
        with contextlib.ExitStack() as stack:
            try:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    for number in (port, port + 1):
                        stack.enter_context(socket.socket(family, kind)).bind((address, number))
            except OSError:
                continue
        _given_ports.add(port)
        return port


def at(address: str, port: int) -> str:
    """`address:port` as SIP writes it, with brackets around IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Program:
    """A process that we own. Its output goes to `<name>.log`; a second start continues the same file."""

    TAKES_COMMANDS = False
    """Whether it takes commands on its standard input, by `type`."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.folder = folder
        self.log = folder / f"{name}.log"
        # Debian's servers are in sbin; the appliance under test is the one of this clone, installed or not.
        self._environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it dies with us even if we are killed."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.arguments],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.PIPE if self.TAKES_COMMANDS else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def type(self, line: str) -> None:
        """Give it a line of commands."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL to the process and its children, all at once: what a power failure looks like."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(5)

    def freeze(self) -> None:
        """SIGSTOP: its sockets stay open and nobody answers, as when a machine hangs."""
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self._process is None:
            return
        if self.running:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3)
        # Also when the leader is gone: children of a crashed server would keep its port.
        self._signal(signal.SIGKILL)
        self._process.wait(5)
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self, timeout: float) -> int:
        """The exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s; see {self.log}") from None

    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _signal(self, number: int) -> None:
        assert self._process is not None
        # The process group's id is the leader's: start_new_session made it so.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
