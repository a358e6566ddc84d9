"""Transaction users that write down what they were told."""

from __future__ import annotations

from sbc.sip.message import Response
from sbc.transaction import ClientTransactionUser, TransactionUser


class RecordingUser(ClientTransactionUser):
    """The user of client transactions, and in `layer_user` that of the layer, which writes into the same story.

    `events` is the story; the objects are kept beside it.
    """

    def __init__(self):
        self.layer_user = _LayerUser(self)
        self.events: list[tuple] = []
        self.servers = []  # server transactions in the order of their requests
        self.requests = []
        self.acks = []
        self.responses = []
        self.on_request = None  # called with (transaction, request)

    def response_received(self, transaction, response):
        self.events.append(("response", response.status))
        self.responses.append(response)

    def timed_out(self, transaction):
        self.events.append(("timed_out", transaction.method))

    def transport_failed(self, transaction, cause):
        self.events.append(("transport_failed", cause))

    def connection_lost(self, transaction, cause):
        self.events.append(("connection_lost", cause))

    def take(self) -> list[tuple]:
        """The events since the last `take`."""
        events, self.events = self.events, []
        return events


class _LayerUser(TransactionUser):
    def __init__(self, story: RecordingUser):
        self.story = story

    def request_received(self, transaction, request):
        self.story.events.append(("request", request.method))
        self.story.servers.append(transaction)
        self.story.requests.append(request)
        if self.story.on_request is not None:
            self.story.on_request(transaction, request)

    def ack_received(self, request, flow):
        self.story.events.append(("ack", request.cseq))
        self.story.acks.append(request)

    def cancel_received(self, invite, request):
        self.story.events.append(("cancel", request.cseq))

    def stray_response_received(self, response, flow):
        self.story.events.append(("stray", response.status))
        self.story.responses.append(response)

    def server_transaction_ended(self, transaction):
        self.story.events.append(("ended", transaction.method))


class AnsweringUser(RecordingUser):
    """Answers each request with one status at once."""

    def __init__(self, status: int, to_tag: str = "here"):
        super().__init__()
        self.on_request = lambda transaction, request: transaction.respond(
            Response.for_request(request, status, to_tag=to_tag)
        )
