"""Kinds of values: each takes what TOML gave and returns what the program uses, or raises `Unexpected`.

A kind that takes parameters is a function that returns the kind: `number(0, 65535)`. What a kind expects is written as
the end of the sentence "found ..., expected ...".
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sbc.config.errors import Unexpected
from sbc.config.model import Endpoint

Kind = Callable[[Any], Any]

# RFC 3261 s.25.1 hostname, and the underscore that real networks use all the same.
_HOST_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
MOST_SPECS = 4  # V6
_LONGEST_HOST_NAME = 253  # RFC 1035 s.2.3.4, without the trailing dot


def text(value: Any) -> str:
    """Any string but the empty one, on one line."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise Unexpected("a text in quotes that is not empty")
    return value


def text_or_texts(value: Any) -> tuple[str, ...]:
    """One text, or a list of them."""
    if isinstance(value, list) and value and all(isinstance(element, str) for element in value):
        return tuple(text(element) for element in value)
    try:
        return (text(value),)
    except Unexpected:
        raise Unexpected("a text in quotes, or a list of them, none of them empty") from None


def flag(value: Any) -> bool:
    """true or false, without quotes."""
    if not isinstance(value, bool):
        raise Unexpected("true or false, without quotes")
    return value


def number(low: int, high: int | None = None, *, or_zero: str = "") -> Kind:
    """An integer from `low` to `high`; `or_zero` tells what a 0 outside of the range means."""
    expected = f"a whole number from {low} to {high}" if high is not None else f"a whole number, {low} or more"
    if or_zero:
        expected = f"0 ({or_zero}) or {expected}"

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unexpected(expected)
        if or_zero and value == 0:
            return value
        if value < low or (high is not None and value > high):
            raise Unexpected(expected)
        return value

    return check


def seconds(low: float, high: float | None = None, *, above: bool = False, or_zero: str = "") -> Kind:
    """A length of time. With `above`, `low` itself is too little."""
    if high is not None:
        expected = f"a number from {low:g} to {high:g} s"
    else:
        expected = f"a number above {low:g} s" if above else f"a number from {low:g} s on"
    if or_zero:
        expected = f"0 ({or_zero}) or {expected}"

    def check(value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise Unexpected(expected)
        if or_zero and value == 0:
            return float(value)
        if value < low or (above and value == low) or (high is not None and value > high):
            raise Unexpected(expected)
        return float(value)

    return check


def one_of(*names: str) -> Kind:
    """One word out of a few."""
    expected = " or ".join([", ".join(f'"{name}"' for name in names[:-1]), f'"{names[-1]}"']) if names[1:] else names[0]

    def check(value: Any) -> str:
        if value not in names:
            raise Unexpected(expected)
        return value

    return check


def ip_address(value: Any) -> str:
    """An IPv4 or IPv6 address, not a name."""
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise Unexpected("an IPv4 or IPv6 address (IPv6 without brackets)") from None


def host(value: Any) -> str:
    """A host name or an IP address, in lower case."""
    if not is_host(value):
        raise Unexpected("a host name or an IP address (IPv6 without brackets)")
    return value.lower()


def host_list(value: Any) -> str:
    """One host, or several with commas between them (S13); IP addresses and names, in lower case."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
    if len(parts) == 1:
        return host(value)
    for place, part in enumerate(parts, 1):
        if not is_host(part):
            raise Unexpected(
                "a host name or an IP address between each two commas",
                found=f'"{value}", whose part {place} is ' + (f'"{part}"' if part else "empty"),
            )
    return ", ".join(part.lower() for part in parts)


def server_field(value: Any) -> tuple[str, ...]:
    """V6: "domain; serverspec1; serverspec2; serverspec3; serverspec4": the domain, then what to find servers by.

    The domain alone is what to find servers by, too; with others behind it, it is a name only (V7).
    """
    expected = f'"domain; server1; server2 ...", one domain and up to {MOST_SPECS} servers'
    if not isinstance(value, str):
        raise Unexpected(expected)
    first, *specs = (part.strip() for part in value.split(";"))
    if not is_host(first):
        found = f'"{value}", whose domain is ' + (f'"{first}"' if first else "empty")
        raise Unexpected('a domain such as "example.com" before the first semicolon', found=found)
    for place, spec in enumerate(specs, 1):
        if not is_host(spec):
            found = f'"{value}", whose server {place} is ' + (f'"{spec}"' if spec else "empty")
            raise Unexpected("a host name or an IP address between each two semicolons", found=found)
        if spec.lower() in (earlier.lower() for earlier in specs[: place - 1]):
            raise Unexpected("each server once", found=f'"{value}", whose server {place}, "{spec}", is there already')
    if len(specs) > MOST_SPECS:
        raise Unexpected(expected, found=f'"{value}", with {len(specs)} servers')
    return tuple(part.lower() for part in (first, *(specs or [first])))


def domain(value: Any) -> str:
    """The host part of a SIP address; "*" for all that no other group names."""
    if value != "*" and not is_host(value):
        raise Unexpected('a domain such as "example.com", an IP address, or "*"')
    return value.lower()


def network(value: Any) -> str:
    """A CIDR network; a single address is a network of one."""
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) else ""))
    except ValueError as error:
        expected = 'a network such as "192.0.2.0/24" or an IP address'
        if "host bits set" in str(error):
            expected = f'"{ipaddress.ip_network(value, strict=False)}": {value} names a host and not its network'
        raise Unexpected(expected) from None


def host_and_port(value: Any) -> str:
    """host:port, both present, IPv6 in brackets."""
    address, port = split_port(value)
    if port is None or not is_host(address):
        raise Unexpected('host:port, such as "192.0.2.1:5060" or "[2001:db8::1]:5060"')
    return value


def dns_server(value: Any) -> Endpoint:
    """An IP address, with a port where it is not 53."""
    address, port = split_port(value)
    try:
        return Endpoint(str(ipaddress.ip_address(address)), 53 if port is None else port)
    except ValueError:
        raise Unexpected('an IP address, with or without a port: "192.0.2.53", "192.0.2.53:5353"') from None


def or_none(kind: Kind, none: Any = None) -> Kind:
    """Another kind, or the empty string for "none"."""

    def check(value: Any) -> Any:
        return none if value == "" else kind(value)

    return check


def list_of(kind: Kind, example: str, *, or_empty: bool = False) -> Kind:
    """An array, each element of which is of `kind`. The reader reports each bad element on its own line."""
    expected = f"a list such as {example}" if or_empty else f"a list with at least one element, such as {example}"

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not (value or or_empty):
            raise Unexpected(expected)
        return tuple(kind(element) for element in value)

    check.element_kind = kind  # type: ignore[attr-defined]
    return check


def file_below(folder: Path) -> Kind:
    """A file that exists and can be read; relative names are meant from `folder`."""

    def check(value: Any) -> Path:
        path = folder / text(value)
        try:
            with path.open("rb"):
                return path.absolute()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Unexpected("a file that can be read", found=f'"{path}" ({reason})') from None

    return check


def folder_below(folder: Path) -> Kind:
    """A folder; it need not exist yet. Relative names are meant from `folder`."""

    def check(value: Any) -> Path:
        path = folder / text(value)
        if path.exists() and not path.is_dir():
            raise Unexpected("a folder", found=f'"{path}" (a file)')
        return path.absolute()

    return check


def is_host(value: Any) -> bool:
    """True for a host name or an IP address without brackets."""
    if not isinstance(value, str):
        return False
    if is_ip_address(value):
        return True
    if len(value.rstrip(".")) > _LONGEST_HOST_NAME or _HOST_NAME.fullmatch(value) is None:
        return False
    return not value.rstrip(".").rpartition(".")[2].isdigit()  # 192.168.1.300 and 10.1 are addresses gone wrong


def is_ip_address(value: str) -> bool:
    """True for an IPv4 or IPv6 address without brackets."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def split_port(value: Any) -> tuple[str, int | None]:
    """"host:port" in two; no port, or no proper one, gives None. IPv6 stands in brackets when a port follows."""
    if not isinstance(value, str):
        return "", None
    if is_ip_address(value):
        return value, None
    if value.startswith("["):
        address, bracket, port = value[1:].partition("]")
        if not is_ip_address(address) or not bracket:
            return "", None
        if not port:
            return address, None
        colon, port = port[:1], port[1:]
    else:
        address, colon, port = value.partition(":")
    if not colon:
        return address, None
    if colon != ":" or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        return "", None
    return address, int(port)
