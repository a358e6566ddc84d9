"""One layer on a clock that stands still, and the promise that nothing of it outlives its timers."""

import pytest

from sbc.sip.message import Response
from sbc.transaction import Timers, TransactionLayer
from tests.helpers.clock import FakeClock
from tests.helpers.network import FakeFlow
from tests.helpers.transaction_users import RecordingUser

LONGER_THAN_ANY_TIMER = 200.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def user():
    return RecordingUser()


@pytest.fixture
def layer(clock, user):
    """A layer; after the test its timers run out, and then there must be neither a timer nor a transaction left.

    Transactions that wait for their user for ever, as they should, are ended here first.
    """
    layer = TransactionLayer(clock, Timers(), user.layer_user)
    yield layer
    for transaction in list(layer.clients.live()):
        transaction.terminate()
    for transaction in user.servers:
        user_still_owes_answer = transaction.final_status is None
        if user_still_owes_answer:
            transaction.respond(_final(transaction.request))
    clock.advance(LONGER_THAN_ANY_TIMER)
    assert clock.pending == 0
    assert set(layer.transactions.values()) == {0}
    assert not layer.clients.live()
    assert not layer._servers
    assert not layer._on_connections


def _final(request):
    return Response.for_request(request, 500)


@pytest.fixture
def flow(clock):
    """UDP to a server."""
    return FakeFlow(clock)


@pytest.fixture
def connection(clock):
    """TCP to a server."""
    return FakeFlow(clock, transport="tcp")


@pytest.fixture
def phone(clock):
    """UDP to a phone."""
    return FakeFlow(clock, side="phones", remote=("192.0.2.50", 5060))


@pytest.fixture
def phone_connection(clock):
    """TCP to a phone."""
    return FakeFlow(clock, transport="tcp", side="phones", remote=("192.0.2.50", 40000))
