"""linphone, a real phone, without a sound card: linphone-daemon; its files are templates in ../linphone."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.peers.accounts import DOMAIN, Line
from tests.e2e.peers.process import Program, free_port, wait_until

TEMPLATES = Path(__file__).parent.parent / "linphone"


class Linphone(Program):
    """A phone with these lines, that takes every call. It calls out by the first of them."""

    TAKES_COMMANDS = True
    PROGRAM = "linphone-daemon"

    def __init__(self, name: str, folder: Path, lines: Sequence[Line]) -> None:
        home = folder / f"{name}.linphone"
        # It makes no folder by itself.
        (home / ".local/share/linphone").mkdir(parents=True)
        self.address = "127.0.0.1"
        self.port = free_port()
        self._told = home / "linphone.log"
        settings = string.Template((TEMPLATES / "linphonerc").read_text())
        text = settings.substitute(port=self.port, media=free_port())
        text += "".join(line.written(TEMPLATES / "account", number=number) for number, line in enumerate(lines))
        (home / "linphonerc").write_text(text)
        super().__init__(
            name, [self.PROGRAM, "--config", str(home / "linphonerc"), "--log", str(self._told), "--disable-stats-events",
                   "--auto-answer"], folder,
        )  # fmt: skip
        self._environment = {**self._environment, "HOME": str(home)}

    def shows_registered(self, line: Line) -> bool:
        return self._registration_states(line)[-1:] in (["Ok"], ["Refreshing"])

    def refusals(self, line: Line) -> list[str]:
        """What the phone has said so far of registrations that failed."""
        return [state for state in self._registration_states(line) if state == "Failed"]

    def dial(self, name: str, timeout: float = 10.0, domain: str = DOMAIN) -> None:
        """Call an extension and wait until it has answered."""
        before = self._calls("StreamsRunning")
        self.type(f"call sip:{name}@{domain}")
        wait_until(lambda: self._calls("StreamsRunning") > before, f"linphone {self.name} is connected", timeout)

    def hang_up(self, timeout: float = 40.0) -> None:
        before = self._calls("Released")
        self.type("terminate")
        wait_until(lambda: self._calls("Released") > before, f"linphone {self.name} has hung up", timeout)

    def _registration_states(self, line: Line) -> list[str]:
        identity = re.escape(line.address_of_record)
        return re.findall(rf"for identity \[{identity}\] moving from state .* to \[LinphoneRegistration(\w+)\]", self._log())

    def _calls(self, state: str) -> int:
        return self.text().count(f"Event: LinphoneCall{state}\n")

    def _log(self) -> str:
        return self._told.read_text(errors="replace") if self._told.exists() else ""
