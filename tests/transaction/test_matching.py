"""Which transaction a message belongs to (RFC 3261 s.17.1.3, s.17.2.3)."""

import os

import pytest

from sbc.sip.message import Response
from sbc.transaction import Timers, TransactionLayer
from sbc.transaction.branches import ClientTable
from sbc.transaction.matching import MAGIC_COOKIE, from_rfc2543, new_branch, server_key
from tests.helpers.network import request, response_to


def answer(transaction, status, to_tag="here"):
    transaction.respond(Response.for_request(transaction.request, status, to_tag=to_tag))


def test_branches_are_unguessable_and_differ():
    branches = {new_branch() for _ in range(1000)}
    assert len(branches) == 1000
    assert all(branch.startswith(MAGIC_COOKIE) and len(branch) == len(MAGIC_COOKIE) + 24 for branch in branches)


# Requests, s.17.2.3


@pytest.mark.parametrize(
    "other",
    [{"branch": "z9hG4bKphone2"}, {"sent_by": "192.0.2.50:5062"}, {"sent_by": "192.0.2.51:5060"}],
    ids=["branch", "port of sent-by", "host of sent-by"],
)
def test_another_branch_or_sent_by_is_another_transaction(layer, user, phone, other):
    layer.request_received(request("REGISTER"), phone)
    layer.request_received(request("REGISTER", **other), phone)
    assert len(user.servers) == 2


def test_another_method_is_another_transaction(layer, user, phone):
    """A CANCEL has the branch of its INVITE; careless senders reuse it for more."""
    layer.request_received(request("REGISTER"), phone)
    layer.request_received(request("OPTIONS"), phone)
    assert len(user.servers) == 2


def test_spelling_of_the_sent_by_does_not_matter(layer, user, phone):
    """Host names are case-insensitive."""
    layer.request_received(request("REGISTER", sent_by="Phone.example.com:5060"), phone)
    layer.request_received(request("REGISTER", sent_by="phone.example.com:5060"), phone)
    assert len(user.servers) == 1


def test_what_else_changes_does_not_matter_with_the_cookie(layer, user, phone):
    """Branch, sent-by and method decide alone."""
    layer.request_received(request("REGISTER"), phone)
    layer.request_received(request("REGISTER", from_tag="x", call_id="y", cseq=9), phone)
    assert len(user.servers) == 1


def test_two_phones_started_in_the_same_second(layer, user, phone):
    """Two twinkles choose the same Call-ID, CSeq, From tag and branch; only the sent-by port tells them apart.

    Each must get its own answers, and its ACK and CANCEL must reach its own INVITE.
    """
    first, second = "192.0.2.50:5060", "192.0.2.50:5062"
    layer.request_received(request("INVITE", sent_by=first), phone)
    layer.request_received(request("INVITE", sent_by=second), phone)
    one, two = user.servers
    answer(one, 486)
    assert two.final_status is None
    layer.request_received(request("ACK", sent_by=first, to_tag="here"), phone)
    layer.request_received(request("CANCEL", sent_by=second), phone)
    assert (one.state.name, two.state.name) == ("CONFIRMED", "PROCEEDING")
    assert user.take() == [("request", "INVITE"), ("request", "INVITE"), ("cancel", 1)]
    layer.request_received(request("INVITE", sent_by=second), phone)
    assert len(user.servers) == 2


def test_ack_of_unknown_transaction_goes_up(layer, user, phone):
    layer.request_received(request("ACK"), phone)
    assert user.take() == [("ack", 1)]
    assert phone.summary() == []


def test_same_request_by_another_way_is_a_request_of_its_own(layer, user, phone):
    """Merged requests (s.8.2.2.2): same Call-ID, From tag and CSeq with another branch; 482 is the user's to say."""
    layer.request_received(request("INVITE", branch="z9hG4bKviaA"), phone)
    layer.request_received(request("INVITE", branch="z9hG4bKviaB"), phone)
    assert [received.call_id for received in user.requests] == ["call-1", "call-1"]


# RFC 2543 elements


@pytest.fixture(params=["", "1", "2543-branch", MAGIC_COOKIE], ids=["no branch", "1", "no cookie", "cookie alone"])
def old_branch(request):
    return request.param


def test_old_request_repeated(layer, user, phone, old_branch):
    layer.request_received(request("REGISTER", branch=old_branch), phone)
    layer.request_received(request("REGISTER", branch=old_branch), phone)
    assert len(user.servers) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"uri": "sip:carol@example.com"},
        {"from_tag": "f2"},
        {"to_tag": "t2"},
        {"call_id": "call-2"},
        {"cseq": 2},
        {"sent_by": "192.0.2.51:5060"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_old_request_that_differs(layer, user, phone, old_branch, other):
    """s.17.2.3: Request-URI, tags, Call-ID, CSeq and the whole top Via must be equal."""
    layer.request_received(request("REGISTER", branch=old_branch), phone)
    layer.request_received(request("REGISTER", branch=old_branch, **other), phone)
    assert len(user.servers) == 2


def test_old_ack_matches_by_the_to_tag_that_we_sent(layer, user, phone, old_branch):
    layer.request_received(request("INVITE", branch=old_branch), phone)
    answer(user.servers[0], 486, to_tag="ours")
    layer.request_received(request("ACK", branch=old_branch, to_tag="foreign"), phone)
    assert user.servers[0].state.name == "COMPLETED"
    assert user.take()[-1] == ("ack", 1)
    layer.request_received(request("ACK", branch=old_branch, to_tag="ours"), phone)
    assert user.servers[0].state.name == "CONFIRMED"


def test_old_cancel_finds_its_invite(layer, user, phone, old_branch):
    layer.request_received(request("INVITE", branch=old_branch), phone)
    layer.request_received(request("CANCEL", branch=old_branch), phone)
    assert user.take() == [("request", "INVITE"), ("cancel", 1)]


def test_a_key_with_the_cookie_never_equals_one_without():
    assert not from_rfc2543(server_key(request("INVITE"), "INVITE"))
    assert from_rfc2543(server_key(request("INVITE", branch="1"), "INVITE"))


def test_pieces_of_a_key_cannot_be_taken_for_one_another():
    """An IPv6 address with a port spelled like a longer address, a branch that begins like a host."""
    sent_bys = ["[2001:db8::1]", "[2001:db8::1]:5060", "[2001:db8::1:5060]", "a", "a:5060"]
    branches = ["z9hG4bKx", "z9hG4bK5060", "z9hG4bKa"]
    keys = {server_key(request("INVITE", sent_by=by, branch=branch), "INVITE") for by in sent_bys for branch in branches}
    assert len(keys) == len(sent_bys) * len(branches)


# Responses, s.17.1.3


def test_response_matches_by_branch(layer, user, flow):
    one = layer.send_request(request("OPTIONS", received=False), flow, user)
    two = layer.send_request(request("OPTIONS", received=False), flow, user)
    layer.response_received(response_to(two.request, 200), flow)
    assert (one.state.name, two.state.name) == ("TRYING", "COMPLETED")


def test_response_of_another_method_is_stray(layer, user, flow):
    """The CSeq says what is answered: a CANCEL shares the branch of the INVITE."""
    transaction = layer.send_request(request("INVITE", received=False), flow, user)
    foreign = response_to(transaction.request, 200)
    foreign.set("CSeq", "1 CANCEL")
    layer.response_received(foreign, flow)
    assert user.take() == [("stray", 200)]
    assert transaction.state.name == "CALLING"


def test_response_of_unknown_branch_is_stray(layer, user, flow):
    layer.response_received(response_to(request("INVITE", branch="z9hG4bKnobody"), 200), flow)
    assert user.take() == [("stray", 200)]


def test_response_over_another_flow_matches_all_the_same(layer, user, flow, connection):
    """s.18.2.2: a server may answer over a connection of its own."""
    transaction = layer.send_request(request("OPTIONS", received=False), flow, user)
    layer.response_received(response_to(transaction.request, 200), connection)
    assert user.take() == [("response", 200)]


def test_responses_find_their_own_among_many(layer, user, flow, clock):
    """Places are used again when a transaction is over; a late response does not meet the next one there."""
    first = [layer.send_request(request("OPTIONS", received=False), flow, user) for _ in range(40)]
    late = response_to(first[7].request, 200)
    for transaction in first[:20]:
        transaction.terminate()
    second = [layer.send_request(request("OPTIONS", received=False), flow, user) for _ in range(30)]
    branches = [transaction.branch for transaction in first + second]
    assert len(set(branches)) == 70
    user.take()
    layer.response_received(late, flow)
    assert user.take() == [("stray", 200)]
    for transaction in [*second, *first[20:]]:
        layer.response_received(response_to(transaction.request, 200), flow)
        assert transaction.state.name == "COMPLETED"
    assert layer.transactions[("client", "non-invite")] == 50


@pytest.mark.parametrize("place", [22, 23, 28, 29, 44])
@pytest.mark.parametrize("digit", ["0", "f", "g", "A", "/", ":", "`", "\xb2", "\u0660", "\udc80"])
def test_branch_that_is_nearly_ours(layer, user, flow, place, digit):
    """Any other character anywhere, and it is nobody's; the place is read before the rest is compared."""
    transaction = layer.send_request(request("OPTIONS", received=False), flow, user)
    branch = transaction.branch
    forged = branch[:place] + digit + branch[place + 1 :]
    assert layer.client_for(forged, "OPTIONS") is (transaction if forged == branch else None)
    for wrong in (branch[:-1], branch + "0", branch[:place], ""):
        assert layer.client_for(wrong, "OPTIONS") is None


def test_branches_of_the_table_are_unguessable():
    """64 random bits behind the place, also where a place is used again."""
    table = ClientTable("abcdef")
    branches = {table.new_branch(0x123456789A) for _ in range(1000)}
    assert len(branches) == 1000
    assert {branch[:29] for branch in branches} == {"z9hG4bK123456789aabcdef000000"}
    assert {len(branch) for branch in branches} == {45}


def test_boot_is_made_up_when_not_given(clock, user):
    boots = {TransactionLayer(clock, Timers(), user.layer_user).clients.boot for _ in range(10)}
    assert len(boots) == 10
    assert {len(boot) for boot in boots} == {6}


def test_forked_process_makes_branches_of_its_own():
    """Random bits that were fetched in advance are not used by both."""
    table = ClientTable("abcdef")
    table.new_branch(0)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, table.new_branch(0).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read_end, 100).decode() != table.new_branch(0)
    os.close(read_end)
    os.close(write_end)
