"""What every peer takes for granted: the domain, the passwords, and the lines of a phone."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "testdomain.local"
"""The phones' domain, and the realm of the servers' challenges."""


def password_of(name: str) -> str:
    """Every account's password follows from its name, here and in kamailio/registrar.cfg."""
    return f"secret-{name}"


@dataclass(frozen=True)
class Line:
    """An account of a phone, and the way to its outbound proxy (`host:port`)."""

    name: str
    proxy: str
    transport: str = "udp"
    domain: str = DOMAIN
    expires: int = 60
    password: str = ""
    """Empty: the right one."""

    @property
    def address_of_record(self) -> str:
        return f"sip:{self.name}@{self.domain}"

    def written(self, template: Path, **more: object) -> str:
        """As a phone's file has it."""
        proxy = self.proxy if self.transport == "udp" else f"{self.proxy};transport={self.transport}"
        values = {
            "name": self.name, "domain": self.domain, "password": self.password or password_of(self.name),
            "expires": self.expires, "proxy": proxy, **more,
        }  # fmt: skip
        return string.Template(template.read_text()).substitute(values)
