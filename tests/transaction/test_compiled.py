"""Timers and transactions are compiled, unless the tests run the sources on purpose."""

import importlib.machinery
import os

import pytest

from sbc import clock
from sbc.transaction import client, interface, layer, ledger, machine, matching, server

MODULES = [clock, client, interface, layer, ledger, machine, matching, server]
PURE = os.environ.get("SBC_PURE_PYTHON") == "1"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_is_what_was_asked_for(module):
    suffixes = importlib.machinery.SOURCE_SUFFIXES if PURE else importlib.machinery.EXTENSION_SUFFIXES
    assert module.__file__.endswith(tuple(suffixes))
    assert module.COMPILED is not PURE


@pytest.mark.skipif(PURE, reason="the sources are run on purpose")
@pytest.mark.parametrize(
    "kind",
    [
        clock.Timer, clock.Call, clock.Lane, clock.Heap, clock.TimerQueue,
        ledger.Ledger, layer.TransactionLayer, machine.Table, machine.Machine,
        interface.Transaction, interface.TransactionUser, interface.ClientTransactionUser, interface.Unheard,
        client.ClientTransaction, client.InviteClientTransaction, client.NonInviteClientTransaction,
        server.ServerTransaction, server.InviteServerTransaction, server.NonInviteServerTransaction,
    ],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_class_is_compiled(kind):
    """A compiled class has no instance dictionary, and the type itself is immutable.

    (A .pxd that the build overlooks leaves ordinary classes in an extension module, silently.)
    """
    assert not kind.__dictoffset__
    with pytest.raises(TypeError):
        kind.not_there = 1
