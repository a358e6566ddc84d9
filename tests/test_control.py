"""The socket in `state_dir` by which an administrator tells the appliance what to do."""

from __future__ import annotations

import os
import socket
import stat
import threading

import pytest
from twisted.internet.selectreactor import SelectReactor

from sbc import control
from sbc.control import ControlSocket


def served(state_dir, question, *, act=None):
    """`question()` is asked in a thread while an appliance listens; returns what it returned or raised."""
    reactor, asked, results = SelectReactor(), [], []

    def fail_back(answer, group):
        asked.append(group)
        answer({"ok": True, "text": [f"{group}: done"]})

    socket_ = ControlSocket(reactor, state_dir, {"failback": act or fail_back})
    socket_.start()

    def ask():
        try:
            results.append(question())
        except Exception as error:  # noqa: BLE001 (handed on)
            results.append(error)
        reactor.callFromThread(reactor.stop)

    thread = threading.Thread(target=ask)
    reactor.callWhenRunning(thread.start)
    reactor.run(installSignalHandlers=False)
    thread.join()
    socket_.stop()
    return results[0], asked


@pytest.mark.parametrize("group", ["office", None])
def test_a_command_and_its_answer(tmp_path, group):
    answer, asked = served(tmp_path, lambda: control.ask(tmp_path, "failback", group=group))
    assert ({"ok": True, "text": [f"{group}: done"]}, [group]) == (answer, asked)


def test_only_its_own_user_may_use_it(tmp_path):
    """Mode 0600, from its first moment."""
    mode, _ = served(tmp_path, lambda: stat.S_IMODE((tmp_path / control.NAME).stat().st_mode))
    assert 0o600 == mode
    assert not (tmp_path / control.NAME).exists(), "it is removed at the end"


def test_the_umask_is_as_before(tmp_path):
    before = os.umask(0o022)
    try:
        served(tmp_path, lambda: None)
        assert 0o022 == os.umask(0o022)
    finally:
        os.umask(before)


def test_a_path_longer_than_sockets_may_have(tmp_path):
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    answer, _ = served(deep, lambda: control.ask(deep, "failback"))
    assert answer["ok"]


@pytest.mark.parametrize(
    "line", [b"hello\n", b"[]\n", b'"failback"\n', b'{"command": "dance"}\n', b'{"command": ["failback"]}\n', b"\xff\n"]
)
def test_nonsense_gets_an_answer(tmp_path, line):
    def question():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / control.NAME))
            sock.sendall(line)
            return sock.recv(1000)

    answer, asked = served(tmp_path, question)
    assert (b'{"ok": false, "text": ["this appliance does not know that command"]}\n', []) == (answer, asked)


def test_what_a_killed_appliance_has_left_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / control.NAME))
    answer, _ = served(tmp_path, lambda: control.ask(tmp_path, "failback"))
    assert answer["ok"]


def test_that_of_a_living_appliance_is_not(tmp_path):
    reactor = SelectReactor()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / control.NAME))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            ControlSocket(reactor, tmp_path, {}).start()


def test_nobody_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        control.ask(tmp_path, "failback")
