"""Transaction users that write down what they were told."""

from __future__ import annotations

from sbc.sip.message import Response


class RecordingUser:
    """`TransactionUser` and `ClientTransactionUser` in one. `events` is the story; the objects are kept beside it."""

    def __init__(self):
        self.events: list[tuple] = []
        self.servers = []  # server transactions in the order of their requests
        self.requests = []
        self.acks = []
        self.responses = []
        self.on_request = None  # called with (transaction, request)

    # TransactionUser

    def request_received(self, transaction, request):
        self.events.append(("request", request.method))
        self.servers.append(transaction)
        self.requests.append(request)
        if self.on_request is not None:
            self.on_request(transaction, request)

    def ack_received(self, request, flow):
        self.events.append(("ack", request.cseq))
        self.acks.append(request)

    def cancel_received(self, invite, request):
        self.events.append(("cancel", request.cseq))

    def stray_response_received(self, response, flow):
        self.events.append(("stray", response.status))
        self.responses.append(response)

    def server_transaction_ended(self, transaction):
        self.events.append(("ended", transaction.method))

    # ClientTransactionUser

    def response_received(self, transaction, response):
        self.events.append(("response", response.status))
        self.responses.append(response)

    def timed_out(self, transaction):
        self.events.append(("timed_out", transaction.method))

    def transport_failed(self, transaction, cause):
        self.events.append(("transport_failed", cause))

    def take(self) -> list[tuple]:
        """The events since the last `take`."""
        events, self.events = self.events, []
        return events


class AnsweringUser(RecordingUser):
    """Answers each request with one status at once."""

    def __init__(self, status: int, to_tag: str = "here"):
        super().__init__()
        self.on_request = lambda transaction, request: transaction.respond(
            Response.for_request(request, status, to_tag=to_tag)
        )
