"""How an administrator tells the running appliance what to do: a socket in its `state_dir`, for its own user and root.

Not HTTP: the status page is a place to look, and may be open to a network; whoever reads it must not be able to act. This
one is a file with mode 0600. A question is one line of JSON, `{"command": "failback", "group": "office"}`, with the fields of
that command (`FIELDS`) that are wanted; the answer is one line as well, `{"ok": true, "text": ["office: ..."]}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

NAME = "control"
PATIENCE = 5.0
"""Seconds for the appliance's answer."""

_LONGEST_PATH = 107
"""Octets of a socket's address (unix(7)), less the final zero."""

Answer = Callable[[Mapping[str, Any]], None]
Act = Callable[..., None]
"""`act(answer, **fields)`: do it, and call `answer` with what is to be sent. A field that was not given is None."""

FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "failback": {"group": str},
    "resync": {"server": str, "group": str, "rate": (int, float)},
}
"""Command -> what may be said with it, and of which type that is. Without `group` all of them are meant."""


class ControlSocket:
    """The appliance's side. Raises OSError from `start` when it cannot be opened."""

    def __init__(self, reactor: Any, state_dir: Path, commands: Mapping[str, Act]) -> None:
        self._reactor = reactor
        self._state_dir = state_dir
        self._factory = Factory.forProtocol(_Administrator)
        self._factory.commands = commands  # type: ignore[attr-defined]
        self._factory.noisy = False
        self._port: Any = None
        self._path = contextlib.ExitStack()

    def start(self) -> None:
        with contextlib.ExitStack() as opened:
            path = opened.enter_context(_short_path(self._state_dir))
            _remove_old(path)
            mask = os.umask(0o177)
            try:
                self._port = self._reactor.listenUNIX(path, self._factory, mode=0o600)
            except CannotListenError as error:
                raise OSError(getattr(error.socketError, "errno", 0), str(error.socketError)) from error
            finally:
                os.umask(mask)
            # Twisted removes the file at the end, by the same path.
            self._path = opened.pop_all()

    def stop(self) -> None:
        if self._port is not None:
            port, self._port = self._port, None
            maybeDeferred(port.stopListening).addBoth(lambda _: self._path.close())


class _Administrator(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1024

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 (Twisted's name)
        try:
            question = json.loads(line)
            command = question.pop("command")
            act = self.factory.commands[command]
            fields = {name: question.pop(name, None) for name in FIELDS[command]}
            wrong = [
                name for name, value in fields.items()
                if value is not None and (isinstance(value, bool) or not isinstance(value, FIELDS[command][name]))
            ]  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            self._answer({"ok": False, "text": ["this appliance does not know that command"]})
            return
        if wrong or question:
            strange = ", ".join([*wrong, *map(str, question)])
            self._answer({"ok": False, "text": [f"this appliance does not understand what {command} says of {strange}"]})
            return
        act(self._answer, **fields)

    def _answer(self, answer: Mapping[str, Any]) -> None:
        self.sendLine(json.dumps(answer).encode())
        self.transport.loseConnection()


def ask(state_dir: Path, command: str, **fields: Any) -> Mapping[str, Any]:
    """Tell the appliance with that folder; fields that are None are left out. Raises OSError when it does not run, or may not be
    told by this user."""
    question = {"command": command, **{name: value for name, value in fields.items() if value is not None}}
    with _short_path(state_dir) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        sock.sendall(json.dumps(question).encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            more = sock.recv(4096)
            if not more:
                raise ConnectionResetError(0, "it closed the connection without an answer")
            received += more
    return json.loads(received)


@contextlib.contextmanager
def _short_path(state_dir: Path) -> Iterator[str]:
    """The socket's path, as the system takes it: a long one is reached through a descriptor of its folder."""
    path = str(state_dir / NAME)
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)


def _remove_old(path: str) -> None:
    """One that a killed appliance has left; that of a living one stays, and to listen fails."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, contextlib.suppress(FileNotFoundError):
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
