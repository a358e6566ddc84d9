"""A slow and obvious SIP parser, written from the grammar of RFC 3261 section 25.1, to compare the fast one with.

It shares no code with the product. It knows only what `sbc.sip.message.parse` promises, and follows it in the places
where we read more than the grammar allows, each marked "liberal".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]+"
LWS = rb"(?:[ \t\r\n])"  # folds were checked before, so white space is just that
QUOTED = rb'"(?:[^"\\]|\\[\x00-\xff])*"'
HOST_NAME = rb"[A-Za-z0-9_][A-Za-z0-9\-._]*"  # liberal: "_", and no look at the labels
IPV6 = rb"\[[0-9A-Fa-f:.]+\]"
# liberal: whatever separates nothing, for tags in base64 and the like; also nothing at all
VALUE = rb"[\x21\x23-\x2b\x2d-\x3a\x3d\x3f-\x7e\x80-\xff]*"
PARAMETER = (
    rb";"
    + LWS
    + rb"*("
    + TOKEN
    + rb")"
    + LWS
    + rb"*(?:="
    + LWS
    + rb"*("
    + QUOTED
    + rb"|"
    + VALUE
    + rb"))?"
    + LWS
    + rb"*"
)
PARAMETERS = rb"(?:" + PARAMETER + rb")*"
HEADER_LINE = re.compile(rb"(" + TOKEN + rb")[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n(?![ \t])")
START_LINE = re.compile(rb"([^\r\n]*)\r\n")
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([^\x00-\x20]+) SIP/2\.0", re.IGNORECASE)
STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: ([^\r\n]*))?", re.IGNORECASE)
VIA = re.compile(
    rb"SIP" + LWS + rb"*/" + LWS + rb"*" + TOKEN + LWS + rb"*/" + LWS + rb"*(" + TOKEN + rb")" + LWS + rb"+"
    rb"(" + IPV6 + rb"|" + HOST_NAME + rb")" + LWS + rb"*(?::" + LWS + rb"*([0-9]{1,5})" + LWS + rb"*)?"
    rb"(" + PARAMETERS + rb")",
    re.IGNORECASE,
)
URI_IN_BRACKETS = rb"[^\x00-\x20<>\":]*:[^\x00-\x20<>\"]*"
URI_ALONE = rb"[^\x00-\x20<>\":;,?]*:[^\x00-\x20<>\";,?]*"
NAME_ADDR = re.compile(
    rb"(?:" + QUOTED + LWS + rb"*|[A-Za-z0-9\-.!%*_+`'~ \t\r\n]*)"
    rb"<" + LWS + rb"*" + URI_IN_BRACKETS + LWS + rb"*>" + LWS + rb"*(" + PARAMETERS + rb")"
)
ADDR_SPEC = re.compile(URI_ALONE + LWS + rb"*(" + PARAMETERS + rb")")
COMPACT = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id", b"l": b"content-length", b"c": b"content-type"}
UNIQUE = {b"from", b"to", b"call-id", b"cseq", b"max-forwards", b"content-length", b"content-type", b"expires"}


class Refused(Exception):
    """Not a message."""


@dataclass
class Parsed:
    """What the fast parser is compared in."""

    start: tuple
    headers: list[tuple[bytes, bytes]]
    call_id: bytes
    cseq: tuple[int, bytes]
    from_tag: bytes
    to_tag: bytes
    via: tuple
    body: bytes


def parse(data: bytes) -> Parsed:
    """Raises Refused."""
    while data.startswith(b"\r\n"):
        data = data[2:]
    start_line = START_LINE.match(data)
    if start_line is None:
        raise Refused("start line")
    start = _start(start_line[1])
    headers = []
    position = start_line.end()
    while not data.startswith(b"\r\n", position):
        line = HEADER_LINE.match(data, position)
        if line is None:
            raise Refused("header line")
        headers.append((line[1], line[2].strip(b" \t\r\n")))
        position = line.end()
    values = _values(headers)
    via = VIA.fullmatch(_first(values[b"via"][0]))
    if via is None or (via[3] and int(via[3]) > 65535) or not _plausible(via[2]):
        raise Refused("via")
    cseq = re.fullmatch(rb"([0-9]+)" + LWS + rb"+(" + TOKEN + rb")", values[b"cseq"][0])
    if cseq is None or int(cseq[1]) >= 2**31 or start[0] not in (cseq[2], b""):
        raise Refused("cseq")
    if not re.fullmatch(rb"[^\x00-\x20]+", values[b"call-id"][0]):
        raise Refused("call-id")
    if start[0] and b"max-forwards" in values:
        _number(values[b"max-forwards"][0], 255)
    body = data[position + 2 :]
    if b"content-length" in values:
        body = body[: _number(values[b"content-length"][0], len(body))]
    return Parsed(
        start,
        headers,
        values[b"call-id"][0],
        (int(cseq[1]), cseq[2]),
        _tag(values[b"from"][0]),
        _tag(values[b"to"][0]),
        (via[1].upper(), via[2].strip(b"[]"), int(via[3]) if via[3] else None, _parameters(via[4])),
        body,
    )


def _start(line: bytes) -> tuple:
    status = STATUS_LINE.fullmatch(line)
    if status:
        return (b"", int(status[1]), status[2] or b"")
    request = REQUEST_LINE.fullmatch(line)
    if request is None or not re.match(TOKEN + rb":", request[2]):
        raise Refused("start line")
    return (request[1], request[2])


def _values(headers: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        key = COMPACT.get(name.lower(), name.lower())
        values.setdefault(key, []).append(value)
    for key in (b"via", b"from", b"to", b"call-id", b"cseq"):
        if key not in values:
            raise Refused("missing")
    if any(len(values.get(key, ())) > 1 for key in UNIQUE):
        raise Refused("repeated")
    return values


def _first(value: bytes) -> bytes:
    """Up to the first comma outside quotes and brackets."""
    match = re.match(rb"(?:" + QUOTED + rb"|<[^>]*(?:>|$)|[^,\"<])*", value)
    assert match is not None
    rest = value[match.end() :]
    return (match[0] if rest[:1] in (b",", b"") else value).strip(b" \t\r\n")


def _plausible(host: bytes) -> bool:
    return not host.startswith(b"[") or (host.count(b":") >= 2 and b":::" not in host and host.count(b"::") <= 1)


def _number(value: bytes, limit: int) -> int:
    if not re.fullmatch(rb"[0-9]+", value) or int(value) > limit:
        raise Refused("number")
    return int(value)


def _tag(value: bytes) -> bytes:
    address = NAME_ADDR.fullmatch(value) or ADDR_SPEC.fullmatch(value)
    if address is None:
        raise Refused("address")
    return _parameters(address[1]).get(b"tag") or b""


def _parameters(text: bytes) -> dict[bytes, bytes | None]:
    parameters: dict[bytes, bytes | None] = {}
    for match in re.finditer(PARAMETER, text):
        name = match[1].lower()
        if name in parameters:
            raise Refused("repeated parameter")
        parameters[name] = match[2]
    return parameters


def unfolded(value: bytes) -> str:
    """A value as text, as the product gives it."""
    return re.sub(rb"[ \t]*\r\n[ \t]+", b" ", value).decode("utf-8", "surrogateescape")
