"""Asks servers how they are, when the group says that it is time (pitfall D15, PIVOT V21).

Nearly always by an OPTIONS. A server better than the one in use may be asked by a REGISTER instead (`probe_method`; Y34,
F10): in a dialog of its own, with a Call-ID, a From tag and a CSeq that no phone's REGISTER has (F3), in the name of a phone
of the group. It is repeated until 64*T1 (F11). A challenge is answered once, where the password is known; any other answer
says that the server is there, and a 200 that it takes registrations. While no phone is known it is an OPTIONS after all.

What an answer means is decided by `sbc.redundancy.health`; here is only the question and the waiting.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any, Protocol

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

_CHALLENGES = (401, 407)


class Accounts(Protocol):
    """In whose name a REGISTER asks. Accounts have an `aor` and its `domain`."""

    def account(self, group: str) -> Any | None:
        """None while there is none."""

    def authorization(self, group: str, account: Any, response: Response, request: Request) -> tuple[str, str] | None:
        """The header that answers the challenge in `response` to `request`."""

    def refused(self, group: str, account: Any) -> None:
        """The server did not take it."""


class Prober:
    """Probes the candidates of one group until `stop`."""

    def __init__(
        self,
        clock: Clock,
        layer: TransactionLayer,
        flows: FlowFinder,
        group: ServerGroup,
        report: Report,
        accounts: Accounts | None = None,
    ) -> None:
        """Without `accounts` every probe is an OPTIONS."""
        self._clock = clock
        self._layer = layer
        self._flows = flows
        self._group = group
        self._report = report
        self._accounts = accounts
        self._timer: Delayed | None = None
        self._asked: dict[Candidate, _Question] = {}
        self._register_dialogs: dict[Candidate, _Dialog] = {}
        self._cseq = 0

    def start(self) -> None:
        self._tick()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._drop_questions()

    def _tick(self) -> None:
        now = self._clock.seconds()
        self._group.advance(now)
        if not self._group.is_link_up:
            self._drop_questions()  # an answer could not come, and silence would say nothing (V20)
        for candidate in self._group.probe_due(now):
            if candidate not in self._asked:
                self._ask(candidate)
        wakeup = self._group.next_wakeup(now)
        delay = _LONGEST_SLEEP if wakeup is None else min(_LONGEST_SLEEP, max(0.02, wakeup - now))
        self._timer = self._clock.callLater(delay, self._tick)

    def _drop_questions(self) -> None:
        for question in list(self._asked.values()):
            question.transaction.terminate()
        self._asked.clear()

    def _ask(self, candidate: Candidate) -> None:
        flow = self._flows.flow_to_server(candidate)
        if flow is None:
            self._group.probe_ended(candidate, TransportFailed("no_socket"), self._clock.seconds(), "OPTIONS")
            return
        account = None
        if self._accounts is not None and self._group.seeks_registration(candidate):
            account = self._accounts.account(self._group.name)
        if account is None:
            question = _Question(self, candidate, flow, self._options(candidate, flow))
        else:
            question = _Registration(self, candidate, flow, self._register(candidate, account), account)
        self._asked[candidate] = question
        self.send(question)

    def send(self, question: _Question) -> None:
        """For the first time, or with the answer to a challenge."""
        timeout = self._group.settings.probe_timeout if question.method == "OPTIONS" else None
        question.transaction = self._layer.send_request(question.request, question.flow, question, timeout=timeout)

    def _options(self, candidate: Candidate, flow: Any) -> Request:
        self._cseq += 1
        target = f"sip:{format_host_port(candidate.address, candidate.port)}"
        if candidate.transport != "udp":
            target += f";transport={candidate.transport}"
        us = f"sip:{flow.contact}"
        return Request.create(
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

    def _register(self, candidate: Candidate, account: Any) -> Request:
        """Without a Contact, so that it changes no registration (RFC 3261 10.2.3)."""
        listed = [each for _, each in self._group.candidates()]
        self._register_dialogs = {each: known for each, known in self._register_dialogs.items() if each in listed}
        dialog = self._register_dialogs.get(candidate)
        if dialog is None or dialog.aor != account.aor:
            dialog = self._register_dialogs[candidate] = _Dialog(account.aor)
        dialog.cseq += 1
        return Request.create(
            "REGISTER",
            f"sip:{account.domain}",
            [
                ("Max-Forwards", "70"),
                ("From", f"<{account.aor}>;tag={dialog.tag}"),
                ("To", f"<{account.aor}>"),
                ("Call-ID", dialog.call_id),
                ("CSeq", f"{dialog.cseq} REGISTER"),
                ("Content-Length", "0"),
            ],
        )

    def answers_challenge(self, question: _Registration, response: Response) -> bool:
        """Send it again with the password; False when that is not known, or was no good."""
        assert self._accounts is not None
        if question.has_shown_password:
            self._accounts.refused(self._group.name, question.account)
            return False
        header = self._accounts.authorization(self._group.name, question.account, response, question.request)
        if header is None:
            return False
        question.has_shown_password = True
        question.request = self._register(question.candidate, question.account)
        question.request.append(*header)
        self.send(question)
        return True

    def ended(self, question: _Question, outcome: Outcome) -> None:
        """One question has its answer, or never will."""
        self._asked.pop(question.candidate, None)
        server = self._group.owner(question.candidate)
        if server is None:
            return  # left the list meanwhile
        now = self._clock.seconds()
        lasted = now - question.transaction.started
        self._report(
            ProbeEnded(
                self._group.name, server.name, str(question.candidate), outcome.label, lasted, question.method
            )
        )
        self._group.probe_ended(question.candidate, outcome, now, question.method)


class _Dialog:
    """Of our REGISTERs at one candidate (D10)."""

    def __init__(self, aor: str) -> None:
        self.aor = aor
        self.call_id = token_hex(8)
        self.tag = token_hex(4)
        self.cseq = 0


class _Question(ClientTransactionUser):
    """The user of one OPTIONS."""

    def __init__(self, prober: Prober, candidate: Candidate, flow: Any, request: Request) -> None:
        self._prober = prober
        self.candidate = candidate
        self.flow = flow
        self.request = request
        self.method = request.method
        self.transaction: ClientTransaction | None = None

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            self._prober.ended(self, Answered(response.status))

    def timed_out(self, transaction: ClientTransaction) -> None:
        # However often it was repeated: one unanswered probe is one bad result (D15).
        self._prober.ended(self, TimedOut(1))

    def transport_failed(self, transaction: ClientTransaction, cause: str) -> None:
        self._prober.ended(self, TransportFailed(cause, soft=cause == "unreachable"))


class _Registration(_Question):
    """The user of one REGISTER, and of the one with the password where it was challenged."""

    def __init__(self, prober: Prober, candidate: Candidate, flow: Any, request: Request, account: Any) -> None:
        super().__init__(prober, candidate, flow, request)
        self.account = account
        self.has_shown_password = False

    def response_received(self, transaction: ClientTransaction, response: Response) -> None:
        if response.status in _CHALLENGES and self._prober.answers_challenge(self, response):
            return
        super().response_received(transaction, response)
