"""The appliance's web server: /metrics, /healthz, /status.json and the status page for people.

Read-only. The page is one file without external resources; a Content-Security-Policy pins its script and style by hash,
so even a phone that registers a strange name cannot make the page run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from sbc.observe.recent import RecentEvents

Describe = Callable[[], Mapping[str, Any]]
"""Gives what there is to say of the servers, as of now."""

DescribeAll = Callable[..., Mapping[str, Any]]
"""Gives the content of status.json, as of now, with the phones that are worth a look; with `most=0` without any."""


Explain = Callable[[str], Mapping[str, Any]]
"""Gives the content of explain.json for an address-of-record."""


class StatusSite(Site):
    """What `[http]` serves. Nothing is logged per request: Prometheus alone asks 5,000 times a day."""

    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        registry: CollectorRegistry,
        describe: DescribeAll,
        recent: RecentEvents,
        describe_servers: Describe | None = None,
        explain: Explain | None = None,
        phones_in_lots: Callable[[], Iterator[list[Any]]] = lambda: iter(()),
        continue_later: Callable[[Callable[[], None]], object] = lambda continued: continued(),
    ) -> None:
        """`describe_servers` gives what `health_of` reads and no phone: /healthz is asked every few seconds. `explain` gives
        all about one address-of-record. `phones_in_lots` gives the rows of all phones, and is gone on with as
        `continue_later` calls what it is given."""

        def describe_all(**how: int) -> dict[str, Any]:
            return with_events(describe(**how), recent)

        super().__init__(
            _root(
                _Metrics(registry),
                _Health(describe_servers or describe),
                _Status(describe_all, phones_in_lots, continue_later),
                _Explain(explain) if explain is not None else _Missing(),
            )
        )

    def log(self, request: Request) -> None:
        """Nothing."""


class GatheredSite(Site):
    """The same where what is shown must be gathered first. Each of these takes a function and calls it with the result."""

    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        gather_families: Callable[[Callable[[Any], None]], None],
        gather_servers: Callable[[Callable[[Mapping[str, Any]], None]], None],
        gather_status: Callable[[bool, Callable[[Mapping[str, Any]], None]], None],
        gather_explanation: Callable[[str, Callable[[Mapping[str, Any]], None]], None],
    ) -> None:
        """What is given to the functions: a registry, what `health_of` reads, the whole status, all about one
        address-of-record. `gather_status` is told whether all phones are wanted, `gather_explanation` of whom."""
        super().__init__(
            _root(
                _Gathered(lambda request, then: gather_families(lambda registry: then(_Metrics(registry)))),
                _Gathered(lambda request, then: gather_servers(lambda status: then(_Health(lambda: status)))),
                _Gathered(
                    lambda request, then: gather_status(_wants_all_phones(request), lambda status: then(_Ready(status)))
                ),
                _Gathered(
                    lambda request, then: gather_explanation(_aor_asked(request), lambda found: then(_Ready(found)))
                ),
            )
        )

    def log(self, request: Request) -> None:
        """Nothing."""


def _root(metrics: Resource, health: Resource, status: Resource, explanation: Resource) -> Resource:
    root = _Page()
    root.putChild(b"", root)
    root.putChild(b"metrics", metrics)
    root.putChild(b"healthz", health)
    root.putChild(b"status.json", status)
    root.putChild(b"explain.json", _OfOneAor(explanation))
    return root


def with_events(status: Mapping[str, Any], recent: RecentEvents) -> dict[str, Any]:
    """The status with the recent events, and with the reason why each group works where it works."""
    groups = []
    for group in status.get("groups", ()):
        switch = recent.switch(group["name"])
        if switch is not None and switch.to_candidate == group.get("working"):
            group = {"working_since": switch.at, "working_because": switch.because} | group
        groups.append(group)
    return {**status, "groups": groups, "events": recent.describe()}


def health_of(status: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the appliance serves phones, and the reason in words.

    One group that still has a server is enough: a peer that took over because of a dead call server of one customer
    would find that server dead too. A server not judged yet counts as one that may answer.
    """
    if not status.get("appliance", {}).get("ready"):
        return False, "the appliance is starting or stopping"
    dead = []
    for group in status.get("groups", ()):
        states = [
            candidate["state"] for server in group.get("servers", ()) for candidate in server.get("candidates", ())
        ]
        if not group.get("survival") and all(state == "down" for state in states):
            dead.append(group["name"])
    if dead and len(dead) == len(status.get("groups", ())):
        return False, f"no server of any group answers ({', '.join(dead)})"
    if dead:
        return True, f"serving phones, but no server answers for {', '.join(dead)}"
    return True, "serving phones"


class _Leaf(Resource):
    """A resource that answers GET and HEAD and says nothing of the software that serves it."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        headers = request.responseHeaders
        headers.removeHeader(b"server")
        headers.setRawHeaders(b"cache-control", [b"no-store"])
        headers.setRawHeaders(b"x-content-type-options", [b"nosniff"])
        if request.method in (b"GET", b"HEAD"):
            status, content_type, body = self.answer(request)
        else:
            status, content_type, body = 405, "text/plain", b"Only GET and HEAD: this is a place to look, not to act.\n"
            headers.setRawHeaders(b"allow", [b"GET, HEAD"])
        request.setResponseCode(status)
        headers.setRawHeaders(b"content-type", [content_type.encode()])
        headers.setRawHeaders(b"content-length", [str(len(body)).encode()])
        return b"" if request.method == b"HEAD" else body

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        """HTTP status, content type, body."""
        raise NotImplementedError


class _Metrics(_Leaf):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        return 200, content_type, encode(self._registry)


class _Health(_Leaf):
    def __init__(self, describe: Describe) -> None:
        super().__init__()
        self._describe = describe

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        healthy, reason = health_of(self._describe())
        return 200 if healthy else 503, "application/json", _json({"healthy": healthy, "reason": reason})


class _Status(_Leaf):
    """With `?phones=all` all phones, written some at a time, because calls wait meanwhile."""

    def __init__(
        self,
        describe: DescribeAll,
        phones_in_lots: Callable[[], Iterator[list[Any]]],
        continue_later: Callable[[Callable[[], None]], object],
    ) -> None:
        super().__init__()
        self._describe = describe
        self._phones_in_lots = phones_in_lots
        self._continue_later = continue_later

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        return 200, "application/json", _json(self._describe())

    def render(self, request: Request) -> Any:
        if not _wants_all_phones(request) or request.method != b"GET":
            return super().render(request)
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        lots = self._phones_in_lots()
        written: list[bytes] = []

        def go_on() -> None:
            if gone:
                return
            lot = next(lots, None)
            if lot is None:
                request.write(_Written(_with_phones(self._describe(most=0), written)).render(request))
                request.finish()
                return
            if lot:
                written.append(json.dumps(lot, default=str).encode("ascii")[1:-1])
            self._continue_later(go_on)

        go_on()
        return NOT_DONE_YET


class _Written(_Leaf):
    """An answer that is JSON already."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        return 200, "application/json", self._body


def _with_phones(status: Mapping[str, Any], written: list[bytes]) -> bytes:
    """The status, which has no phones yet, with these."""
    registrations = {**status.get("registrations", {}), "phones_left_out": 0}
    registrations.pop("phones", None)
    rest = _json({**status, "registrations": None})
    # By hand: the rows are not to be walked again.
    before, _, after = rest.partition(b'"registrations": null')
    head = _json(registrations).rstrip(b"\n")[:-1]
    return b"".join((before, b'"registrations": ', head, b', "phones": [', b", ".join(written), b"]}", after))


class _Explain(_Leaf):
    """`/explain.json?aor=...`"""

    def __init__(self, explain: Explain) -> None:
        super().__init__()
        self._explain = explain

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        return 200, "application/json", _json(self._explain(_aor_asked(request)))


class _OfOneAor(Resource):
    """As that resource answers, where the question says of whom."""

    isLeaf = True

    def __init__(self, explanation: Resource) -> None:
        super().__init__()
        self._explanation = explanation

    def render(self, request: Request) -> Any:
        return (self._explanation if _aor_asked(request) else _NoAor()).render(request)


class _NoAor(_Leaf):
    def answer(self, request: Request) -> tuple[int, str, bytes]:
        return 400, "text/plain", b"Of which phone? Ask /explain.json?aor=sip:NUMBER@DOMAIN, as the phone registers it.\n"


class _Ready(_Leaf):
    """A status that needs nothing more."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__()
        self._status = status

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        return 200, "application/json", _json(self._status)


class _Gathered(Resource):
    """Answers as the leaf does that it is given when all is gathered; the browser may be gone by then."""

    isLeaf = True

    def __init__(self, gather: Callable[[Request, Callable[[_Leaf], None]], None]) -> None:
        super().__init__()
        self._gather = gather

    def render(self, request: Request) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def finish(leaf: _Leaf) -> None:
            if not gone:
                request.write(leaf.render(request))
                request.finish()

        self._gather(request, finish)
        return NOT_DONE_YET


class _Missing(_Leaf):
    def answer(self, request: Request) -> tuple[int, str, bytes]:
        return 404, "text/plain", b"There are /, /status.json, /explain.json?aor=..., /metrics and /healthz.\n"


class _Page(_Leaf):
    isLeaf = False

    def __init__(self) -> None:
        super().__init__()
        self._page = resources.files(__package__).joinpath("status_page.html").read_bytes()
        self._policy = content_security_policy(self._page).encode()

    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: N802 (Twisted's name)
        return _Missing()

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        request.responseHeaders.setRawHeaders(b"content-security-policy", [self._policy])
        request.responseHeaders.setRawHeaders(b"referrer-policy", [b"no-referrer"])
        return 200, "text/html; charset=utf-8", self._page


def content_security_policy(page: bytes) -> str:
    """Exactly the inline script and style of this page, and requests to the appliance itself."""

    def hashes(element: bytes) -> str:
        inline = re.findall(b"<" + element + b">(.*?)</" + element + b">", page, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in inline)

    return (
        f"default-src 'none'; script-src {hashes(b'script')}; style-src {hashes(b'style')}; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _wants_all_phones(request: Request) -> bool:
    return request.args.get(b"phones") == [b"all"]


def _aor_asked(request: Request) -> str:
    return request.args.get(b"aor", [b""])[0].decode("utf-8", "surrogateescape")


def _json(content: object) -> bytes:
    # A header value may hold bytes that are no UTF-8; as surrogates they could not be encoded.
    text = json.dumps(content, ensure_ascii=True, default=str)
    return text.encode("ascii") + b"\n"
