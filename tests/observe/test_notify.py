"""What systemd hears, on a real notification socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sbc.observe.notify import Systemd
from tests.helpers.clock import FakeClock


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def heard(notices: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(notices.recv(4096).decode())
        except BlockingIOError:
            return messages


def environment(notices: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": notices.getsockname(), **more}


def test_life_of_a_service(notices: socket.socket) -> None:
    systemd = Systemd(environment(notices))
    systemd.ready("serving 2 groups")
    systemd.reloading()
    systemd.ready()
    systemd.stopping("finishing 3 calls")
    assert heard(notices) == [
        "READY=1\nSTATUS=serving 2 groups",
        "RELOADING=1",
        "READY=1",
        "STOPPING=1\nSTATUS=finishing 3 calls",
    ]


def test_signs_of_life_come_twice_as_often_as_asked(notices: socket.socket) -> None:
    """WatchdogSec=10: at 0, 5, 10, 15 and 20 s."""
    clock = FakeClock()
    systemd = Systemd(environment(notices, WATCHDOG_USEC="10000000"), pid=1)
    systemd.keep_alive(clock)
    clock.advance(20)
    assert heard(notices) == ["WATCHDOG=1"] * 5
    systemd.stop_signs()
    clock.advance(20)
    assert heard(notices) == []
    assert not clock.pending


@pytest.mark.parametrize(
    "more", [{}, {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "2"}, {"WATCHDOG_USEC": "soon"}]
)
def test_no_watchdog_no_signs(notices: socket.socket, more: dict[str, str]) -> None:
    """Also when the variables were meant for the process that started us."""
    clock = FakeClock()
    Systemd(environment(notices, **more), pid=1).keep_alive(clock)
    assert heard(notices) == []
    assert not clock.pending


def test_abstract_socket() -> None:
    """systemd may name an abstract socket: `@` stands for the zero byte."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")  # Linux: a free abstract name
        receiver.setblocking(False)
        Systemd({"NOTIFY_SOCKET": "@" + receiver.getsockname()[1:].decode()}).ready()
        assert heard(receiver) == ["READY=1"]


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Systemd({}).ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
