"""Transactions: one request and its responses, hop by hop (RFC 3261 section 17, RFC 6026).

`layer` is the door: messages come in from the transport, requests go out for a transaction user (`interface`). `client` and
`server` hold the four machines as tables, `machine` what turns a table into steps, `timers` the letters, `matching` and
`branches` how a message finds its transaction, `hop_by_hop` the ACK and the CANCEL that a hop makes by itself. What to do
with a request is decided above; sockets are below.
"""

from sbc.sip.errors import LocalError
from sbc.transaction.client import ClientTransaction, InviteClientTransaction, NonInviteClientTransaction
from sbc.transaction.interface import ClientTransactionUser, TransactionUser, Unheard
from sbc.transaction.layer import TransactionLayer
from sbc.transaction.server import InviteServerTransaction, NonInviteServerTransaction, ServerTransaction
from sbc.transaction.timers import Timers

__all__ = [
    "ClientTransaction",
    "ClientTransactionUser",
    "InviteClientTransaction",
    "InviteServerTransaction",
    "LocalError",
    "NonInviteClientTransaction",
    "NonInviteServerTransaction",
    "ServerTransaction",
    "Timers",
    "TransactionLayer",
    "TransactionUser",
    "Unheard",
]
