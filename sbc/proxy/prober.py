"""Asks servers how they are: one OPTIONS each, when the group's health says that it is time (pitfall D15, PIVOT V21).

What an answer means is decided by `sbc.redundancy.health`; here is only the question and the waiting.
"""

from __future__ import annotations

from secrets import token_hex

from sbc.clock import Clock, Delayed
from sbc.events import ProbeEnded, Report
from sbc.location.candidate import Candidate
from sbc.proxy.network import FlowFinder
from sbc.redundancy.group import ServerGroup
from sbc.redundancy.outcome import Answered, Outcome, TimedOut, TransportFailed
from sbc.sip.message import Request, Response
from sbc.sip.uri import format_host_port
from sbc.transaction.client import ClientTransaction
from sbc.transaction.interface import ClientTransactionUser
from sbc.transaction.layer import TransactionLayer

_LONGEST_SLEEP = 1.0
"""Seconds between two looks at a group that has nothing due: DNS and configuration may bring candidates meanwhile."""


class Prober:
    """Probes the candidates of one group until `stop`."""

    def __init__(self, clock: Clock, layer: TransactionLayer, flows: FlowFinder, group: ServerGroup, report: Report) -> None:
        self._clock = clock
        self._layer = layer
        self._flows = flows
        self._group = group
        self._report = report
        self._timer: Delayed | None = None
        self._asked: dict[Candidate, _Question] = {}
        self._cseq = 0

    def start(self) -> None:
        self._tick()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        for question in list(self._asked.values()):
            question.transaction.terminate()
        self._asked.clear()

    def _tick(self) -> None:
        now = self._clock.seconds()
        self._group.advance(now)
        for candidate in self._group.probe_due(now):
            if candidate not in self._asked:
                self._ask(candidate)
        wakeup = self._group.next_wakeup(now)
        delay = _LONGEST_SLEEP if wakeup is None else min(_LONGEST_SLEEP, max(0.02, wakeup - now))
        self._timer = self._clock.callLater(delay, self._tick)

    def _ask(self, candidate: Candidate) -> None:
        flow = self._flows.flow_to_server(candidate)
        if flow is None:
            self._group.observe(candidate, TransportFailed("no_socket"), self._clock.seconds(), "OPTIONS")
            return
        self._cseq += 1
        target = f"sip:{format_host_port(candidate.address, candidate.port)}"
        if candidate.transport != "udp":
            target += f";transport={candidate.transport}"
        us = f"sip:{flow.contact}"
        request = Request.create(
            "OPTIONS",
            target,
            [
                ("Max-Forwards", "70"),
                ("From", f"<{us}>;tag={token_hex(4)}"),
                ("To", f"<{target}>"),
                ("Call-ID", token_hex(8)),
                ("CSeq", f"{self._cseq} OPTIONS"),
                ("Contact", f"<{us}>"),
                ("Accept", "application/sdp"),
                ("Content-Length", "0"),
            ],
        )
        question = self._asked[candidate] = _Question(self, candidate)
        question.transaction = self._layer.send_request(
            request, flow, question, timeout=self._group.settings.probe_timeout
        )

    def ended(self, question: _Question, outcome: Outcome) -> None:
        """One question has its answer, or never will."""
        self._asked.pop(question.candidate, None)
        server = self._group.owner(question.candidate)
        if server is None:
            return  # left the list meanwhile
        now = self._clock.seconds()
        self._report(
            ProbeEnded(
                self._group.name, server.name, str(question.candidate), outcome.label, now - question.transaction.started
            )
        )
        self._group.observe(question.candidate, outcome, now, "OPTIONS")


class _Question(ClientTransactionUser):
    """The user of one OPTIONS."""

    __slots__ = ("_prober", "candidate", "transaction")

    def __init__(self, prober: Prober, candidate: Candidate) -> None:
        self._prober = prober
        self.candidate = candidate
        self.transaction: ClientTransaction | None = None

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            self._prober.ended(self, Answered(response.status))

    def timed_out(self, transaction: ClientTransaction) -> None:
        # However often it was repeated: one unanswered OPTIONS is one bad result (D15).
        self._prober.ended(self, TimedOut(1))

    def transport_failed(self, transaction: ClientTransaction, cause: str) -> None:
        self._prober.ended(self, TransportFailed(cause, soft=cause == "unreachable"))
